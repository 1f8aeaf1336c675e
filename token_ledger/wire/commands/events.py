"""The command of an event."""

from token_ledger.core.batch import commands
from token_ledger.core.model.usage import LARGEST_USE
from token_ledger.wire.bodies.events import EventBody
from token_ledger.wire.commands.fields import check_user, fingerprint_of, service_tier_of, tags_of
from token_ledger.wire.problems import invalid_field
from token_ledger.wire.token_kinds import usage_of


def record_command(body: EventBody, within: str) -> commands.Record:
    """Return the command for an event without a hold; `within` is where its body stands in the request."""
    check_user(body.run_id, body.user, body.cost_center, within)
    usage = usage_of(body.usage)
    for kind, count in usage.by_kind.items():
        if count > LARGEST_USE:
            raise invalid_field(f"{within}usage.{kind}", f"no call uses more than {LARGEST_USE} of a kind")
    return commands.Record(
        event_source=body.source,
        key=body.idempotency_key,
        fingerprint=fingerprint_of(body),
        agent_type=body.agent_type,
        provider=body.provider,
        model=body.model,
        usage=usage,
        run_id=None if body.run_id is None else int(body.run_id),
        user=body.user,
        cost_center=body.cost_center,
        request_type=body.request_type,
        occurred_at=body.occurred_at,
        failed=body.outcome == "error",
        estimated=body.estimated,
        response_id=body.response_id,
        tool=body.tool,
        service_tier=service_tier_of(body.service_tier),
        tags=tags_of(body.tags),
        body=body.model_dump(mode="json", exclude_defaults=True),
    )
