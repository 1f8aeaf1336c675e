"""What is particular to one client library: how its requests are read and changed, and its answers watched."""
