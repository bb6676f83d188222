"""The same application, unmodified, in simulated time."""
