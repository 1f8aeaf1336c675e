"""Chance that a failure can be repeated with."""

import os
import random


def seeded() -> random.Random:
    """Return a source of chance; what it began with is printed, so a failing test shows it."""
    number = int(os.environ.get("TOKEN_LEDGER_CLIENT_SEED", random.randrange(2**32)))
    print(f"TOKEN_LEDGER_CLIENT_SEED={number}")
    return random.Random(number)
