"""The command line: start, migrate, prove."""
