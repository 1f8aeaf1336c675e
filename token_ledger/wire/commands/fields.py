"""Turns parts that many bodies share into values of the core: fingerprints, limits, tags."""

from pydantic import BaseModel

from token_ledger.core.batch.idempotency import fingerprint
from token_ledger.core.model.budget import Limits, Unit
from token_ledger.core.model.details import NO_DETAILS, Details
from token_ledger.core.model.money import parse_money
from token_ledger.core.model.price import STANDARD
from token_ledger.wire.bodies.limits import LimitsBody
from token_ledger.wire.bodies.measured import MeasuredBody
from token_ledger.wire.problems import invalid_field

_KEY = {"idempotency_key"}


def fingerprint_of(body: BaseModel, named: int | None = None) -> bytes:
    """Return what tells whether two requests say the same, whatever their keys are; `named` is the id in the path."""
    # Defaults are left out, so that a field added in a later version does not turn a retry into a conflict.
    # Every request comes through here: `model_dump_json` would take a quarter longer for the same text.
    print_ = fingerprint(body.__pydantic_serializer__.to_json(body, exclude_defaults=True, exclude=_KEY))
    return print_ if named is None else print_ + named.to_bytes(8, "big")


def change_fingerprint_of(body: BaseModel, named: int) -> bytes:
    """Return the fingerprint of a change of what `named` says, in which a field that is null and none are different."""
    print_ = fingerprint(body.model_dump_json(exclude_unset=True, exclude=_KEY).encode())
    return print_ + named.to_bytes(8, "big")


def removed_units(body: BaseModel, field: str) -> tuple[Unit, ...]:
    """Return the units that a change removes from its limits in a field: those that are null, all where it is null."""
    if field not in body.model_fields_set:
        return ()
    limits = getattr(body, field)
    if limits is None:
        return tuple(Unit)
    return tuple(unit for unit in Unit if unit in limits.model_fields_set and getattr(limits, unit) is None)


def limits_of(body: LimitsBody) -> Limits:
    """Return limits as the core counts them, money in nano-dollars."""
    return Limits(body.tokens, None if body.cost is None else parse_money(body.cost), body.calls)


def tags_of(tags: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """Return names and values, sorted by name."""
    return tuple(sorted(tags.items()))


def details_of(
    measured: MeasuredBody | None, tool_source: str | None = None, *, from_cache: bool = False
) -> Details | None:
    """Return what was measured and said of a call, None where nothing was."""
    if measured is None and tool_source is None and not from_cache:
        return None
    body = measured or MeasuredBody()
    details = Details(
        body.latency_ms, body.first_token_ms, tuple(sorted(body.stages.items())), body.retries, body.error_kind,
        body.finish_reason, body.estimate_rule, tool_source, from_cache,
    )  # fmt: skip
    # Nearly every call has its latency, and comparing takes as long as making them.
    return None if details.latency_ms is None and details == NO_DETAILS else details


def service_tier_of(tier: str) -> str | None:
    """Return how a call was served, None for the standard way."""
    return None if tier == STANDARD else tier


def check_user(run_id: str | None, user: str | None, cost_center: str | None, within: str = "") -> None:
    """Raise unless a call names either its run, which has a user and a cost center, or its user."""
    if run_id is None and user is None:
        raise invalid_field(within + "user", "give a user or a run_id")
    if run_id is not None and (user is not None or cost_center is not None):
        field = "user" if user is not None else "cost_center"
        raise invalid_field(within + field, f"a run has its own {field}; leave it out where run_id is given")
