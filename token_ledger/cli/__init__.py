"""The command line: every command of `token-ledger` is one row of the table in `commands`."""
