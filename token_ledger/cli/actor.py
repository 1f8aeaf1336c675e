"""Says who the audit log names for what is done on the command line."""

import getpass
import os


def actor() -> str:
    """Return who runs this process: the name of the system's user, or the number where there is no name."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a container that runs under a number of its own; Python 3.13 says OSError
        return f"cli:{os.getuid()}"
