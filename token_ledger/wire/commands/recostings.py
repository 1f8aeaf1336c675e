"""The command of a re-costing, and which calls it is about."""

from datetime import datetime

from token_ledger.core.batch.administration import Recost
from token_ledger.core.model.name_patterns import check_pattern
from token_ledger.core.model.window import FIRST_INSTANT, LAST_INSTANT
from token_ledger.storage.reads.recostings import Look, Wanted
from token_ledger.wire.bodies.recostings import RecostingBody
from token_ledger.wire.commands.fields import fingerprint_of
from token_ledger.wire.problems import invalid_field


def wanted_calls(
    provider: str | None, model: str | None, since: datetime | None, until: datetime | None, *, also_priced: bool
) -> Wanted:  # fmt: skip
    """Return which calls are meant; a model may be a pattern."""
    if model is not None:
        try:
            check_pattern(model)
        except ValueError as error:
            raise invalid_field("model", str(error)) from None
    return Wanted(provider, model, since or FIRST_INSTANT, until or LAST_INSTANT, also_priced)


def recost_command(body: RecostingBody, found: Look, actor: str) -> Recost:
    """Return the command that re-costs what a look has found."""
    return found.command(body.idempotency_key, fingerprint_of(body), actor)
