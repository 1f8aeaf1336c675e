"""Reads OpenAI's bill of an organization: `/v1/organization/costs`, and `/v1/organization/usage/…` for its tokens.

Costs name a model only if they are grouped by `line_item`, as `gpt-5.4-2026-03-05, cached input`; a line item that is
no model is a fee. What they may say as `quantity` is left out, because nothing says what is counted.
"""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from token_ledger_sdk.providers.reading import tier_named

from token_ledger.core.model.usage import usage_from
from token_ledger.imports.json_values import Object
from token_ledger.imports.openai_usage import PROVIDER, begin_of, kind_of, usage_of
from token_ledger.imports.rows import Place, UnreadableFile
from token_ledger.imports.usage_buckets import results_of
from token_ledger.reconciliation.bill_lines import BillLine, Once, check_day, read_amount

_CALLS: Final = ("completions", "embeddings", "moderations")
"""The kinds of usage that count tokens; others are counted by the piece, which costs say."""
_TOKENS: Final = re.compile(r"(?:(batch|flex|priority) )?(?:(?:cached|text|audio|image) )*(?:input|output)(?: tokens)?")
_MODEL: Final = re.compile(r"(?=\S*\d)\S+")


def read(paths: Sequence[Path]) -> Iterator[BillLine]:
    """Yield the lines of all files of a bill, costs and usage in any order; raises UnreadableFile."""
    once = Once()
    for path in paths:
        for place, bucket, result in results_of(path, "start_time"):
            begin = datetime.fromisoformat(begin_of(place, bucket))
            if "end_time" in bucket:
                check_day(place, begin, datetime.fromisoformat(begin_of(place, {"start_time": bucket["end_time"]})))
            once.check(place, begin, result)
            if "amount" in result:
                yield _cost(place, begin, result)
            elif kind_of(place, result) in _CALLS:
                yield _tokens(place, begin, result)


def _cost(place: Place, begin: datetime, result: Object) -> BillLine:
    amount = result["amount"]
    if not isinstance(amount, dict) or "value" not in amount:
        raise UnreadableFile(
            place, "'amount' must be an object with 'value' and 'currency': save the answer as it came"
        )
    model, item, tier = _line_item(result.get("line_item"))
    return BillLine(
        place, begin, PROVIDER, model, item, _text(result.get("project_id")),
        read_amount(place, amount["value"], amount.get("currency")), service_tier=tier,
    )  # fmt: skip


def _tokens(place: Place, begin: datetime, result: Object) -> BillLine:
    tier = "batch" if result.get("batch") is True else None
    if tier is None and result.get("service_tier") is not None:
        tier = tier_named(result["service_tier"])
    usage = usage_from(usage_of(place, kind_of(place, result), result)).without_others
    return BillLine(
        place, begin, PROVIDER, _text(result.get("model")), None, _text(result.get("project_id")),
        usage=usage, service_tier=tier,
    )  # fmt: skip


def _line_item(name: Any) -> tuple[str | None, str | None, str | None]:
    """Return the model of a line item, or what it is else, and the service tier that it says."""
    text = _text(name)
    if text is None:
        return None, None, None
    model, comma, kind = text.partition(", ")
    tokens = _TOKENS.fullmatch(kind.lower())
    if _MODEL.fullmatch(model) and (tokens is not None or not comma):
        return model, None, None if tokens is None else tokens[1]
    return None, text, None


def _text(value: Any) -> str | None:
    return str(value) if value else None
