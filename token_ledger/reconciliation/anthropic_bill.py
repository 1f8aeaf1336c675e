"""Reads Anthropic's bill: the cost report, and the usage report of messages for its tokens.

Costs name models only if they are grouped by `description`. They are in cents. What is no tokens, such as web searches,
code execution and sessions, is a fee.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from token_ledger_sdk.providers.reading import tier_named

from token_ledger.core.model.usage import usage_from
from token_ledger.imports.anthropic_usage import PROVIDER, begin_of, usage_of
from token_ledger.imports.json_values import Object
from token_ledger.imports.rows import Place
from token_ledger.imports.usage_buckets import results_of
from token_ledger.reconciliation.bill_lines import BillLine, Once, check_day, read_amount

_TOKENS: Final = "tokens"
_CENTS: Final = 100


def read(paths: Sequence[Path]) -> Iterator[BillLine]:
    """Yield the lines of all files of a bill, costs and usage in any order; raises UnreadableFile."""
    once = Once()
    for path in paths:
        for place, bucket, result in results_of(path, "starting_at"):
            begin = datetime.fromisoformat(begin_of(place, bucket))
            if "ending_at" in bucket:
                check_day(place, begin, datetime.fromisoformat(begin_of(place, {"starting_at": bucket["ending_at"]})))
            once.check(place, begin, result)
            yield (_cost if "amount" in result else _usage)(place, begin, result)


def _cost(place: Place, begin: datetime, result: Object) -> BillLine:
    model, kind = _text(result.get("model")), result.get("cost_type")
    item = _text(result.get("description")) or _text(kind)
    if kind not in (None, _TOKENS):
        model = None
    return BillLine(
        place, begin, PROVIDER, model, item if model is None else None, _text(result.get("workspace_id")),
        read_amount(place, result["amount"], result.get("currency"), per_dollar=_CENTS),
        service_tier=_tier(result),
    )  # fmt: skip


def _usage(place: Place, begin: datetime, result: Object) -> BillLine:
    return BillLine(
        place, begin, PROVIDER, _text(result.get("model")), None, _text(result.get("workspace_id")),
        usage=usage_from(usage_of(place, result)).without_others, service_tier=_tier(result),
    )  # fmt: skip


def _tier(result: Object) -> str | None:
    said = [name for name in (result.get("speed"), result.get("service_tier")) if name is not None]
    return tier_named(*said) if said else None


def _text(value: Any) -> str | None:
    return str(value) if value else None
