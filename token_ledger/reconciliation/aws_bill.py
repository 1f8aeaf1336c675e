"""Reads rows of AWS' Cost and Usage Report for Bedrock, in CSV: of CUR 2.0, or the older one with slashes in names.

Rows of other services are left out. A row has a model if its usage type names tokens, such as
`USE1-Claude4Sonnet-input-tokens`, as AWS' guide to Bedrock's rows has them, or if it is of the marketplace, such as
`USE1-MP:USE1_InputTokenCount-Units`. How many tokens a unit is, the pricing unit or the description says; where
neither does, the row has an amount only. All other rows, such as guardrails, tax and credits, are fees.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from token_ledger.core.model.price import STANDARD
from token_ledger.core.model.usage import Usage
from token_ledger.imports.csv_table import CsvRows, wrong_width
from token_ledger.imports.instants import AUTOMATIC, instant_reader
from token_ledger.imports.rows import Place, UnreadableFile
from token_ledger.reconciliation.bill_lines import CURRENCY, GLOBAL, BillLine, Once, read_amount

PROVIDER: Final = "aws"
_START, _TYPE, _COST = "line_item_usage_start_date", "line_item_usage_type", "line_item_unblended_cost"
_NEEDED: Final = (_START, _TYPE, _COST)
_NAMES: Final = (
    "line_item_product_code", "product_servicecode", "product_product_name", "product_servicename",
    "line_item_line_item_description",
)  # fmt: skip
_OF_USE: Final = ("", "Usage", "DiscountedUsage")
_INVOCATION: Final = re.compile(
    r"(?:[A-Z]{2,5}\d-)?(?P<model>[\w.-]+?)-(?:mantle-)?"
    r"(?P<kind>cache-read-input|cache-write-input|input|output)-token(?:s|-count)(?P<rest>-[\w-]+)?",
)
_MARKETPLACE: Final = re.compile(
    r".*MP:\w*?_?(?P<kind>CacheReadInput|CacheWriteInput|Input|Output)TokenCount(?P<rest>.*)"
)
_EDITION: Final = re.compile(r"(.+?) *\(Amazon Bedrock Edition\)")
_TIER: Final = re.compile(r"batch|flex|priority")
_UNITS: Final = (("million", "1m "), 1_000_000), (("thousand", "1k ", "1,000 ", "1000 "), 1_000), (("token",), 1)
"""What is written of a unit, and how many tokens it is; the first that is found counts."""
_READ: Final = instant_reader(AUTOMATIC, ZoneInfo("UTC"))


def read(paths: Sequence[Path], tag: str | None = None) -> Iterator[BillLine]:
    """Yield the lines of all files; the project is what the resource tag of a name says. Raises UnreadableFile."""
    once = Once()
    for path in paths:
        table = CsvRows(path)
        header = [_snake(name) for name in table.header]
        for name in _NEEDED:
            if name not in header:
                raise UnreadableFile(table.place, f"there is no column {name}: export the report with its line items")
        for line, cells in table.rows():
            place = Place(str(path), line)
            if len(cells) != len(header):
                raise UnreadableFile(place, wrong_width(len(cells), len(header)))
            row = dict(zip(header, cells, strict=True))
            if any("bedrock" in row.get(name, "").lower() for name in _NAMES):
                begin = _begin(place, row[_START])
                if identity := row.get("identity_line_item_id"):
                    once.check(place, begin, {"line item": identity, "type": row[_TYPE]})
                yield _line(place, begin, row, tag)


def _line(place: Place, begin: datetime, row: Mapping[str, str], tag: str | None) -> BillLine:
    amount = read_amount(place, row[_COST], row.get("line_item_currency_code") or CURRENCY)
    kind = row.get("line_item_line_item_type", "")
    project = None if tag is None else _tag(row, tag)
    found = _invocation(row) if kind in _OF_USE else None
    if found is None:
        item = row[_TYPE] if kind in _OF_USE else kind
        return BillLine(place, begin, PROVIDER, None, item or "other", project, amount)
    model, tokens, tier = found
    return BillLine(place, begin, PROVIDER, model, None, project, amount, _usage(place, row, tokens), tier)


def _invocation(row: Mapping[str, str]) -> tuple[str, str, str] | None:
    """Return model, kind of tokens and service tier of a row; None if it is of no tokens."""
    match = _INVOCATION.fullmatch(row[_TYPE]) or _MARKETPLACE.fullmatch(row[_TYPE])
    if match is None:
        return None
    kind = "-".join(re.findall(r"[A-Z]?[a-z]+", match["kind"])).lower()
    tier = _TIER.search((match["rest"] or "").lower())
    if "model" in match.groupdict():
        prefix = GLOBAL if "global" in (match["rest"] or "") else ""
        return prefix + match["model"], kind, tier[0] if tier else STANDARD
    edition = _EDITION.match(row.get("product_product_name", "") or row.get("product_servicename", ""))
    return None if edition is None else (edition[1], kind, tier[0] if tier else STANDARD)


def _usage(place: Place, row: Mapping[str, str], kind: str) -> Usage:
    unit = _tokens_a_unit(row)
    if unit is None:
        return Usage()
    try:
        tokens = int((Decimal(row.get("line_item_usage_amount", "").strip() or 0) * unit).to_integral_value())
    except (InvalidOperation, ValueError, OverflowError):
        raise UnreadableFile(place, f"{row['line_item_usage_amount']!r} is no amount of tokens") from None
    return {
        "input": Usage(input_tokens=tokens), "output": Usage(output_tokens=tokens),
        "cache-read-input": Usage(input_tokens=tokens, cache_read_tokens=tokens),
        "cache-write-input": Usage(input_tokens=tokens, cache_write_5m_tokens=tokens),
    }[kind]  # fmt: skip


def _tokens_a_unit(row: Mapping[str, str]) -> int | None:
    for name in ("pricing_unit", "line_item_line_item_description"):
        said = row.get(name, "").lower()
        if "token" in said:
            return next(tokens for words, tokens in _UNITS if any(word in said for word in words))
    return None


def _tag(row: Mapping[str, str], tag: str) -> str | None:
    """Return what a resource tag says: of a column of its own, or of the one column of all tags of CUR 2.0."""
    name = _snake(tag)
    if own := row.get(f"resource_tags_user:{name}") or row.get(f"resource_tags_user_{name}"):
        return own
    try:
        tags = json.loads(row.get("resource_tags", "") or "{}")
    except ValueError:
        return None
    return tags.get(f"user_{name}") if isinstance(tags, dict) else None


def _begin(place: Place, text: str) -> datetime:
    try:
        return datetime.fromisoformat(_READ(text))
    except ValueError as error:
        raise UnreadableFile(place, f"{_START}: {error}") from None


def _snake(name: str) -> str:
    """Return what CUR 2.0 calls a column: `lineItem/UsageType` is `line_item_usage_type`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.replace("/", "_")).lower().replace("__", "_")
