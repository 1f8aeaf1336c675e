"""Leases without I/O: what a lease covers, and when its calls are booked."""
