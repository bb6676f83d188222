"""Background jobs that can be trusted because they can be simulated."""
