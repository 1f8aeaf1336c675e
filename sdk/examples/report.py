"""Prints the results of a replay: the service's reports, and its costs compared with independent ones."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx2
from pricing import independent_cost
from replay import Booked, Replay
from rich.console import Console
from rich.table import Table

SHOWN_DENIALS = 12


async def print_reports(console: Console, admin: httpx2.AsyncClient, done: Replay, page: Path) -> bool:
    """Print every table, and write the page; return whether the service's totals equal the independent ones."""
    totals = [await _print_spend(console, admin, group) for group in ("user", "agent_type", "model")]
    await _print_denials(console, admin)
    await _print_triggers(console, admin)
    await _write_page(console, admin, page)
    _print_replay(console, done)
    return costs_are_equal(console, totals, done.booked)


async def _write_page(console: Console, admin: httpx2.AsyncClient, file: Path) -> None:
    """Write the cost report as a page, and say where it is."""
    answer = await admin.get("/v1/reports/cost", params={"by": "user", "format": "html"})
    await asyncio.to_thread(_write, file, answer.raise_for_status().text)
    console.print(f"the cost report as a page: {file.as_uri()}", soft_wrap=True, highlight=False)


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


async def _print_spend(console: Console, admin: httpx2.AsyncClient, group: str) -> dict[str, Any]:
    report = (await admin.get("/v1/reports/spend", params={"group_by": group})).raise_for_status().json()
    table = _table(f"Spend by {group.replace('_', ' ')}", group, "calls", "input", "output", "from cache", "cost $")
    for row in [*report["rows"], {"by": {group: "total"}, **report["total"]}]:
        if row["by"][group] == "total":
            table.add_section()
        table.add_row(
            row["by"][group],
            f"{row['calls']:,}",
            f"{row['input_tokens']:,}",
            f"{row['output_tokens']:,}",
            _percent(row["cache_read_tokens"], row["input_tokens"]),
            _dollars(Decimal(row["cost"])),
        )
    console.print(table)
    total: dict[str, Any] = report["total"]
    return total


async def _print_denials(console: Console, admin: httpx2.AsyncClient) -> None:
    rows = (await admin.get("/v1/reports/denials")).raise_for_status().json()["rows"]
    table = _table("Denials by account", "budget", "subject", "unit", "enforcement", "denials", text_columns=4)
    for row in rows[:SHOWN_DENIALS]:
        subject = ", ".join(f"{name}={value}" for name, value in _subject(row["subject"]).items())
        denied = row["denials"] if row["enforcement"] == "hard" else f"would be {row['denials']}"
        table.add_row(row["budget"], subject, row["unit"], row["enforcement"], str(denied))
    if rest := rows[SHOWN_DENIALS:]:
        table.add_row("…", f"{len(rest)} more accounts", "", "", str(sum(row["denials"] for row in rest)))
    console.print(table)


async def _print_triggers(console: Console, admin: httpx2.AsyncClient) -> None:
    rows = (await admin.get("/v1/reports/triggers")).raise_for_status().json()["rows"]
    fired: Counter[tuple[str, str]] = Counter()
    applied: Counter[tuple[str, str]] = Counter()
    for row in rows:
        fired[row["trigger"], row["technique"]] += row["firings"]
        applied[row["trigger"], row["technique"]] += row["firings"] if row["applied"] else 0
    table = _table("Triggers", "trigger", "technique", "fired", "applied", text_columns=2)
    for name, firings in sorted(fired.items()):
        table.add_row(*name, f"{firings:,}", f"{applied[name]:,}")
    console.print(table)


def _print_replay(console: Console, done: Replay) -> None:
    booked = done.booked
    console.print(
        f"\n{len(booked) + len(done.denied):,} calls: {len(booked):,} settled, {len(done.denied):,} denied;"
        f" of the settled {sum(call.overrun for call in booked):,} overran their hold"
        " (less was read from the cache than in the call before),"
        f" {sum(call.warned for call in booked):,} carried a warning,"
        f" {sum(call.downgraded for call in booked):,} were booked at a cheaper model's price"
        " with their recorded token counts. Compression is only asked for here: there are no prompts to compress."
    )
    console.print(
        f"measured, service and replay sharing this machine: {done.calls_per_second:,.0f} calls/s"
        f" in {done.seconds:.1f} s;"
        f" reserve p50 {done.reserve_milliseconds(50):.1f} ms, p99 {done.reserve_milliseconds(99):.1f} ms"
    )


def costs_are_equal(console: Console, totals: Sequence[dict[str, Any]], booked: Sequence[Booked]) -> bool:
    """Compare every settlement and every report with costs from genai-prices alone; print and return the result."""
    expected = [independent_cost(call.provider, call.model, call.call.usage, call.booked_at) for call in booked]
    wrong = [call for call, cost in zip(booked, expected, strict=True) if call.cost != cost]
    total = sum(expected, Decimal(0))
    same = not wrong and all(
        (Decimal(reported["cost"]), reported["calls"]) == (total, len(booked)) for reported in totals
    )
    console.print(
        f"cost: the reports say {', '.join(sorted({reported['cost'] for reported in totals}))};"
        f" genai-prices, each token kind rounded to the nano-dollar, says {total:.9f}:"
        f" {'equal' if same else 'NOT EQUAL'} ({len(wrong)} of {len(booked):,} calls differ)"
    )
    for call in wrong[:5]:
        console.print(f"  {call.call.session}:{call.call.position} {call.provider} {call.model} {call.cost}")
    return same


def _table(title: str, *columns: str, text_columns: int = 1) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for number, name in enumerate(columns):
        table.add_column(name, justify="left" if number < text_columns else "right", no_wrap=True)
    return table


def _subject(value: Any) -> dict[str, str]:
    subject: dict[str, str] = json.loads(value) if isinstance(value, str) else value
    return subject


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _dollars(amount: Decimal) -> str:
    return f"{amount:,.4f}"
