"""The group `usage`: how long a usage takes to be read and priced, and how many events a second are taken in."""

import asyncio
import csv
import gzip
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

from token_ledger_sdk.providers import reading_of

from tests.bench.imports import import_claude_code, import_csv
from tests.bench.ingest import ingest
from tests.bench.ledger import LedgerBench
from tests.bench.plan import Measurements, Plan
from tests.bench.recosting import recost
from tests.bench.rows import Figure, Row, Target, interleave
from tests.bench.servers import bench_server
from tests.bench.shapes import ONE_ACCOUNT, filling
from token_ledger.core.model.charge import charge
from token_ledger.core.model.money import cost_nanos
from token_ledger.core.model.price import PriceBook
from token_ledger.core.model.usage import Usage, clamp, usage_from
from token_ledger.storage.database import Database
from token_ledger.storage.prices import load_price_book

GROUP: Final = "usage"
_RECORDED: Final = Path(__file__).resolve().parents[2] / "sdk" / "tests" / "data"
_ROUNDS: Final = 20
_PARSING: Final = "json.loads of the same bodies, µs"
_ONE_KIND: Final = "the cost of one kind of tokens, µs"


@contextmanager
def bench(plan: Plan) -> Iterator[Measurements]:
    """Load the recorded bodies, start the database server, and yield the measurements."""
    with bench_server() as server:
        ledger = LedgerBench(plan, server)
        bodies = recorded_bodies()
        yield {
            "extract": partial(extract, plan, bodies),
            "price": partial(price, ledger, plan, bodies),
            "ingest_500": partial(ingest, ledger),
            "recost": partial(recost, ledger),
            "import_csv": partial(import_csv, ledger),
            "import_claude_code": partial(import_claude_code, ledger),
        }


def recorded_bodies() -> list[str]:
    """Return every recorded body that was not streamed and has a usage."""
    with gzip.open(_RECORDED / "others.jsonl.gz", "rt", encoding="utf-8", newline="") as lines:
        archived = {each["file"]: each["body"] for each in map(json.loads, lines)}
    with (_RECORDED / "index.csv").open(encoding="utf-8", newline="") as rows:
        names = [row["file"] for row in csv.DictReader(rows) if row["stream"] == "0" and row["input_raw"]]
    return [archived.get(name) or (_RECORDED / name).read_text(encoding="utf-8") for name in names]


def extract(plan: Plan, texts: list[str]) -> list[Row]:
    """Measure how long the median body takes to be read."""
    bodies = [json.loads(text) for text in texts]
    parse, read = partial(_median_micros, json.loads, texts), partial(_median_micros, reading_of, bodies)
    (runs,) = interleave(plan.repetitions, parse, read)
    return [Row(GROUP, "extract", "µs", _PARSING, runs, Target(Figure.VALUE, 30, at_most=True))]


def price(ledger: LedgerBench, plan: Plan, texts: list[str]) -> list[Row]:
    """Measure how long the median usage of a recorded body takes to be priced: its model found, its cost added up."""
    book, at = asyncio.run(_seeded_book(ledger)), datetime.now(UTC)
    usages = [usage_from(reading_of(json.loads(text)).usage.to_json()) for text in texts]
    whole = partial(_median_micros, partial(_priced, book, at), usages)
    (runs,) = interleave(plan.repetitions, partial(_median_micros, _one_kind, usages), whole)
    return [Row(GROUP, "price", "µs", _ONE_KIND, runs, Target(Figure.VALUE, 8, at_most=True))]


def _priced(book: PriceBook, at: datetime, usage: Usage) -> object:
    found = book.find("openai", "gpt-5.4")
    return charge(None if found is None else found.at(at), clamp(usage)[0], None, 1, at)


def _one_kind(usage: Usage) -> object:
    return cost_nanos(usage.input_tokens, 2_500_000_000_000_000_000)


async def _seeded_book(ledger: LedgerBench) -> PriceBook:
    url = await asyncio.to_thread(ledger.server.template, ONE_ACCOUNT.name, filling(ONE_ACCOUNT))
    database = Database(url)
    try:
        async with database.reading() as connection:
            return await load_price_book(connection)
    finally:
        await database.close()


def _median_micros(work: Callable[[Any], object], items: list[Any]) -> float:
    return median(_micros(work, item) for item in items)


def _micros(work: Callable[[Any], object], item: Any) -> float:
    started = time.perf_counter_ns()
    for _ in range(_ROUNDS):
        work(item)
    return (time.perf_counter_ns() - started) / _ROUNDS / 1_000
