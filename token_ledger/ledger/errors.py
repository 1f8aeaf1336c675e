"""Owns the errors of a command that gets no outcome.

LedgerError
├── Unavailable      the database is away or too slow: nothing was changed, try again
│   └── NoRoom       too much is under way already: nothing was changed, try again
├── OutcomeUnknown   the connection was lost at commit: the same key again resolves it
│   └── AnswerLost   it was lost while a batch was booked by one statement: running it again resolves it
└── Unstorable       the database refuses this command's data: it will never be accepted
"""


class LedgerError(Exception):
    """The command has no outcome."""


class Unavailable(LedgerError):
    """Nothing was changed; try again in a moment."""


class NoRoom(Unavailable):
    """So much is under way, of all tenants, a tenant or a key, that nothing more may begin."""


class OutcomeUnknown(LedgerError):
    """The connection was lost at commit: the command may be booked or not; sending its key again gives the outcome."""


class AnswerLost(OutcomeUnknown):
    """The connection was lost while one statement booked a batch whose commands all have keys: it may be run again."""


class Unstorable(LedgerError):
    """The database refuses a value of this command, and always will."""
