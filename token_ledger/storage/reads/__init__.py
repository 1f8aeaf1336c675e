"""Plain reads, one module a noun."""
