"""Says whom the audit log names for a change made on the command line."""

import getpass
import os


def actor() -> str:
    """Return `cli:` and the user of this process, or its number where it has no name."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a container may run under a number without a name; Python 3.13 raises OSError
        return f"cli:{os.getuid()}"
