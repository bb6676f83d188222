"""The stores behind the port, one module each; they know the floors below and never one another."""
