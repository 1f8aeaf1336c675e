"""The spool: what was spent, in files of this machine until the service has it. No I/O but that of files."""
