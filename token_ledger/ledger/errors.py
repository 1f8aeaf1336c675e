"""Owns what can go wrong between a command and its outcome; none of these changes anything unless it says so.

LedgerError
├── Unavailable      the database is away or too slow: nothing was changed, try again
├── OutcomeUnknown   the connection was lost at commit: the same key again resolves it
└── Unstorable       the database refuses this command's data: it will never be accepted
"""


class LedgerError(Exception):
    """The command has no outcome."""


class Unavailable(LedgerError):
    """Nothing was changed; try again after a moment."""


class OutcomeUnknown(LedgerError):
    """The connection was lost at commit, so the command may or may not be booked; its key tells."""


class Unstorable(LedgerError):
    """The database refuses a value of this command."""
