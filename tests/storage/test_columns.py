"""Columns are listed once: types in the database, wire format and price data follow the lists that code uses."""

import asyncpg
import pytest

from token_ledger.core.batch.commands import Settle
from token_ledger.core.model.other_kinds import OTHER_KINDS, rate_name
from token_ledger.core.model.price import Rates
from token_ledger.core.model.usage import KINDS, Figures, Usage
from token_ledger.storage import published_prices as prices
from token_ledger.storage import rows
from token_ledger.storage.schema.batch_rows import BatchRow
from token_ledger.storage.schema.row_format import RowFormat
from token_ledger.storage.write import one_statement
from token_ledger.storage.write.bookings import ACCOUNT_BALANCE_ROW, RESERVATION_ROW, USAGE_EVENT_ROW
from token_ledger.storage.write.rollups import ROLLUPS
from token_ledger.wire.token_kinds import SumsAnswer, TierAnswer, UsageBody

BATCH_ROWS = (
    ACCOUNT_BALANCE_ROW, RESERVATION_ROW, USAGE_EVENT_ROW, *(rollup.row for rollup in ROLLUPS),
    *(row for row in vars(one_statement).values() if isinstance(row, BatchRow)),
)  # fmt: skip
FORMATS = {name: value for name, value in vars(rows).items() if isinstance(value, RowFormat)}
WRITTEN_ONLY = {"THRESHOLD", "NEW_ACCOUNT"}


@pytest.mark.parametrize("row", BATCH_ROWS, ids=lambda row: row.name)
async def test_a_batch_sends_rows_of_the_type_that_the_database_has(row: BatchRow, shared_url: str) -> None:
    connection = await asyncpg.connect(shared_url)
    try:
        stored = await connection.fetch(
            "select attname::text as name, format_type(atttypid, atttypmod) as kind from pg_attribute"
            " where attrelid = $1::text::regclass and attnum > 0 order by attnum", row.name,
        )  # fmt: skip
    finally:
        await connection.close()
    assert [(each["name"], each["kind"]) for each in stored] == [
        ("lock", "integer"), *((column.name, row.sent_type(column)) for column in row.columns)
    ]  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_has_every_column_that_the_table_can_not_fill(name: str) -> None:
    stored = FORMATS[name]
    instants = {"tenant_id", "booked_at", "kept_at", "set_at"}  # those of the batch
    instants |= {"budget_id", "terms_id"} if name == "TERMS" else set()  # those of the decision
    needed = {
        column.name
        for column in stored.table.columns
        if not column.nullable and column.server_default is None and column.name not in instants
    }
    assert needed <= {column.name for column in stored.columns}


def test_every_kind_of_tokens_is_on_the_wire_and_has_its_place_in_the_price_data() -> None:
    assert set(UsageBody.model_fields) == {*KINDS, *OTHER_KINDS}
    assert set(prices.PUBLISHED_OTHERS) == {rate_name(kind) for kind in OTHER_KINDS} - {"images"}
    assert set(TierAnswer.__annotations__) == {"above_input_tokens", "request", *Rates._fields}
    assert set(SumsAnswer.__annotations__) == {*Figures._fields, "cost"} - {"cost_nanos"}
    assert tuple(prices.PUBLISHED) == Rates._fields
    assert {f"{kind}_tokens" for kind in prices.PUBLISHED} == set(KINDS)
    assert Settle("k", b"", 1, Usage()).usage.counts == (0,) * len(KINDS)


async def test_no_table_has_generated_columns(shared_url: str) -> None:
    """PostgreSQL reads the definition of each again for every row that is updated, whichever columns change."""
    connection = await asyncpg.connect(shared_url)
    try:
        generated = await connection.fetch(
            "select attrelid::regclass, attname from pg_attribute where attgenerated <> ''"
        )
    finally:
        await connection.close()
    assert generated == []
