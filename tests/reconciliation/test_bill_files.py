"""Exports of providers as they come, and what is wrong with those that are refused."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.imports.reading import a_file
from token_ledger.core.model.usage import Usage
from token_ledger.imports.rows import Place, UnreadableFile
from token_ledger.reconciliation.bill_files import read_bill
from token_ledger.reconciliation.bill_kinds import BillKind
from token_ledger.reconciliation.bill_lines import Amount, BillLine, read_amount

DAY = datetime(2026, 11, 21, tzinfo=UTC)
START = 1_795_219_200
Read = Callable[..., list[BillLine]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def reader(kind: str, *contents: Any, **options: Any) -> list[BillLine]:
        texts = [each if isinstance(each, str) else json.dumps(each) for each in contents]
        paths = [a_file(tmp_path, text, f"bill-{number}") for number, text in enumerate(texts)]
        return read_bill(BillKind(kind), paths, **options)

    return reader


def openai_page(*results: dict[str, Any], days: int = 1) -> dict[str, Any]:
    bucket = {"object": "bucket", "start_time": START, "end_time": START + days * 86_400, "results": [*results]}
    return {"object": "page", "data": [bucket], "has_more": False, "next_page": None}


def openai_cost(value: Any = 0.06, line_item: str | None = None, currency: str = "usd") -> dict[str, Any]:
    return {
        "object": "organization.costs.result", "amount": {"value": value, "currency": currency},
        "line_item": line_item, "project_id": "proj_1",
    }  # fmt: skip


OPENAI_USAGE = {
    "object": "organization.usage.completions.result", "input_tokens": 1_000, "output_tokens": 50,
    "input_cached_tokens": 800, "input_audio_tokens": 0, "output_audio_tokens": 0, "num_model_requests": 5,
    "project_id": "proj_1", "user_id": None, "api_key_id": None, "model": "gpt-4o-2024-08-06", "batch": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("line_item", "model", "item", "tier"),
    [
        ("gpt-4o-2024-08-06, input", "gpt-4o-2024-08-06", None, None),
        ("gpt-4o-2024-08-06, cached input", "gpt-4o-2024-08-06", None, None),
        ("gpt-4o-2024-08-06, batch output", "gpt-4o-2024-08-06", None, "batch"),
        ("gpt-4o-realtime-preview, cached audio input", "gpt-4o-realtime-preview", None, None),
        ("text-embedding-3-small", "text-embedding-3-small", None, None),
        ("gpt-4o, web search tool calls", None, "gpt-4o, web search tool calls", None),
        ("web search tool calls", None, "web search tool calls", None),
        ("assistants api | file search", None, "assistants api | file search", None),
        (None, None, None, None),
    ],
)
def test_line_items_of_openai(line_item: str, model: str, item: str, tier: str, read: Read) -> None:
    (line,) = read("openai", openai_page(openai_cost(line_item=line_item)))
    assert (line.model, line.item, line.service_tier) == (model, item, tier)
    assert (line.begin, line.project, line.amount) == (DAY, "proj_1", Amount(60_000_000, 5_000_000))


def test_usage_of_openai_has_tokens_and_no_amount(read: Read) -> None:
    (_, line) = read("openai", openai_page(openai_cost()), openai_page(OPENAI_USAGE))
    assert (line.model, line.usage, line.service_tier) == ("gpt-4o-2024-08-06", Usage(1_000, 50, 800), "batch")
    assert line.amount == Amount(0, 0)


def test_what_openai_counts_by_the_piece_has_its_costs_only(read: Read) -> None:
    images = {"object": "organization.usage.images.result", "images": 3, "model": "dall-e-3"}
    assert len(read("openai", openai_page(openai_cost(), images))) == 1


def anthropic_page(*results: dict[str, Any], end: str = "2026-11-22T00:00:00Z") -> dict[str, Any]:
    bucket = {"starting_at": "2026-11-21T00:00:00Z", "ending_at": end, "results": [*results]}
    return {"data": [bucket], "has_more": False, "next_page": None}


ANTHROPIC_COST = {
    "amount": "123.78912", "currency": "USD", "cost_type": "tokens", "model": "claude-opus-4-8",
    "description": "Claude Opus 4.8 Usage - Input Tokens", "token_type": "uncached_input_tokens",
    "service_tier": "batch", "context_window": "0-200k", "workspace_id": "wrkspc_1", "inference_geo": None,
}  # fmt: skip
WEB_SEARCH = {
    **ANTHROPIC_COST, "amount": "50", "cost_type": "web_search", "model": None, "token_type": None,
    "description": "Web Search Usage", "service_tier": None, "context_window": None, "workspace_id": None,
}  # fmt: skip
ANTHROPIC_USAGE = {
    "uncached_input_tokens": 100, "output_tokens": 20, "cache_read_input_tokens": 1_000,
    "cache_creation": {"ephemeral_1h_input_tokens": 7, "ephemeral_5m_input_tokens": 30},
    "server_tool_use": {"web_search_requests": 5}, "model": "claude-opus-4-8", "service_tier": "standard",
    "workspace_id": "wrkspc_1", "context_window": None, "api_key_id": None,
}  # fmt: skip


def test_costs_of_anthropic_are_cents(read: Read) -> None:
    tokens, search = read("anthropic", anthropic_page(ANTHROPIC_COST, WEB_SEARCH))
    assert (tokens.begin, tokens.model, tokens.item) == (DAY, "claude-opus-4-8", None)
    assert (tokens.amount, tokens.service_tier, tokens.project) == (Amount(1_237_891_200, 50), "batch", "wrkspc_1")
    assert (search.model, search.item, search.project) == (None, "Web Search Usage", None)
    assert (search.amount, search.service_tier) == (Amount(500_000_000, 5_000_000), None)


def test_what_is_no_tokens_is_no_model(read: Read) -> None:
    (line,) = read("anthropic", anthropic_page({**WEB_SEARCH, "model": "claude-opus-4-8"}))
    assert (line.model, line.item) == (None, "Web Search Usage")


def test_usage_of_anthropic_has_all_of_the_prompt(read: Read) -> None:
    (line,) = read("anthropic", anthropic_page(ANTHROPIC_USAGE))
    assert line.usage == Usage(1_137, 20, 1_000, 30, 7)
    assert (line.model, line.service_tier) == ("claude-opus-4-8", "standard")


OLD_CUR = (
    "identity/LineItemId,lineItem/UsageStartDate,lineItem/ProductCode,lineItem/UsageType,lineItem/UsageAmount,"
    "pricing/unit,lineItem/UnblendedCost,lineItem/CurrencyCode,lineItem/LineItemType,product/ProductName,"
    "lineItem/LineItemDescription,resourceTags/user:project\n"
)


def cur(kind: str, amount: str = "1.5", unit: str = "1K tokens", **changes: str) -> str:
    row = {
        "id": "a", "start": "2026-11-21T10:00:00Z", "code": "AmazonBedrock", "type": kind, "amount": amount,
        "unit": unit, "cost": "0.0045000000", "currency": "USD", "line": "Usage", "name": "", "says": "", "tag": "web",
    } | changes  # fmt: skip
    return ",".join(row.values()) + "\n"


@pytest.mark.parametrize(
    ("row", "model", "usage", "tier"),
    [
        (cur("USE1-Claude4Sonnet-input-tokens"), "Claude4Sonnet", Usage(1_500), "standard"),
        (cur("EUC1-Claude4.5Sonnet-output-tokens-batch"), "Claude4.5Sonnet", Usage(0, 1_500), "batch"),
        (cur("USE1-Nova2.0Lite-input-tokens-flex"), "Nova2.0Lite", Usage(1_500), "flex"),
        (cur("USE1-Claude4Sonnet-cache-read-input-token-count"), "Claude4Sonnet", Usage(1_500, 0, 1_500), "standard"),
        (
            cur("USE1-Claude4Sonnet-cache-write-input-token-count-cross-region-global"),
            "global.Claude4Sonnet", Usage(1_500, 0, 0, 1_500), "standard",
        ),
        (cur("USE1-gpt-oss-20b-mantle-input-tokens-standard"), "gpt-oss-20b", Usage(1_500), "standard"),
        (cur("USE1-NovaLite-input-tokens", "1500", "Tokens"), "NovaLite", Usage(1_500), "standard"),
        (cur("USE1-NovaLite-input-tokens", "0.0015", "1M tokens"), "NovaLite", Usage(1_500), "standard"),
        (cur("USE1-NovaLite-input-tokens", "1500", "Units"), "NovaLite", Usage(), "standard"),
        (
            cur(
                "USE1-MP:USE1_InputTokenCount-Units", "0.0015", "Units", code="a1b2c3",
                name="Claude 3.5 Sonnet (Amazon Bedrock Edition)", says="AWS Marketplace usage|Million Input Tokens",
            ),
            "Claude 3.5 Sonnet", Usage(1_500), "standard",
        ),
    ],
)  # fmt: skip
def test_rows_of_aws(row: str, model: str, usage: Usage, tier: str, read: Read) -> None:
    (line,) = read("aws", OLD_CUR + row, tag="project")
    assert (line.provider, line.model, line.usage, line.service_tier) == ("aws", model, usage, tier)
    assert (line.begin, line.project, line.amount) == (DAY.replace(hour=10), "web", Amount(4_500_000, 1))


def test_rows_of_aws_that_are_no_model(read: Read) -> None:
    rows = cur("USE1-Guardrail-ContentPolicyUnits", id="b") + cur("USE1-NovaLite-input-tokens", line="Tax", id="c")
    others = cur("BoxUsage:m5.large", code="AmazonEC2", id="d")
    assert [line.item for line in read("aws", OLD_CUR + rows + others)] == ["USE1-Guardrail-ContentPolicyUnits", "Tax"]


def test_the_new_report_of_aws_has_other_names_and_one_column_of_tags(read: Read) -> None:
    header = (
        "line_item_usage_start_date,line_item_product_code,line_item_usage_type,line_item_usage_amount,pricing_unit,"
        "line_item_unblended_cost,resource_tags\n"
    )
    row = '2026-11-21 10:00:00,AmazonBedrock,USE1-NovaLite-input-tokens,1.5,1K tokens,0.01,"{""user_team"": ""web""}"\n'
    (line,) = read("aws", header + row, tag="team")
    assert (line.begin, line.project, line.usage) == (DAY.replace(hour=10), "web", Usage(1_500))


def test_a_plain_table(read: Read) -> None:
    text = (
        "Date;Model;Project;Amount;input_tokens;output_tokens;cache_read_tokens;service_tier;note\n"
        "2026-11-21;m;web;1,5;1000;10;400;batch;x\n2026-11-22T05:00:00+02:00;;;0,07;;;;;\n"
    )
    first, second = read("csv", text, provider="openai")
    assert (first.provider, first.model, first.project) == ("openai", "m", "web")
    assert (first.begin, first.usage, first.service_tier) == (DAY, Usage(1_000, 10, 400), "batch")
    assert first.amount == Amount(1_500_000_000, 5_000_000)
    assert (second.begin, second.model, second.item) == (DAY.replace(day=22, hour=3), None, None)
    assert second.amount == Amount(70_000_000, 5_000_000)


@pytest.mark.parametrize(
    ("value", "per_dollar", "amount"),
    [
        ("0.1234567891", 1, Amount(123_456_789, 1)), ("0.0000000005", 1, Amount(0, 1)),
        (0.1, 1, Amount(100_000_000, 5_000_000)), (0.12345, 1, Amount(123_450_000, 5_000)),
        (12, 1, Amount(12_000_000_000, 5_000_000)), ("-3.20", 1, Amount(-3_200_000_000, 5_000_000)),
        ("0.00012340000000000000000000000000", 1, Amount(123_400, 1)), ("1E-9999", 1, Amount(0, 1)),
        ("123.45", 100, Amount(1_234_500_000, 50_000)), (Decimal("7"), 100, Amount(70_000_000, 5_000_000)),
    ],
)  # fmt: skip
def test_amounts_are_exact_and_know_how_far_they_may_be_rounded(value: object, per_dollar: int, amount: Amount) -> None:
    assert read_amount(Place("", 0), value, per_dollar=per_dollar) == amount


CSV = "date,provider,amount,input_tokens,output_tokens,cache_read_tokens\n"


@pytest.mark.parametrize(
    ("kind", "content", "place", "problem"),
    [
        ("openai", openai_page(openai_cost(currency="eur")), "line 1", "only bills in USD"),
        ("openai", openai_page(openai_cost("many")), "line 1", "is not an amount of money"),
        ("openai", openai_page(openai_cost(True)), "line 1", "is not an amount of money"),
        ("openai", openai_page(openai_cost("1e20")), "line 1", "more than the largest amount"),
        ("openai", openai_page({**openai_cost(), "amount": 5}), "line 1", "'value' and 'currency'"),
        ("openai", openai_page(openai_cost(), days=7), "line 1", "longer than a day"),
        ("openai", openai_page(openai_cost(), openai_cost()), "line 1", "stands in the files twice"),
        ("openai", '{"data": [\n{"start_time": 1, "results": [}]}', "line 2", "is not JSON"),
        ("openai", openai_page(), "bill-0", "no line of a bill"),
        ("anthropic", anthropic_page({**ANTHROPIC_COST, "currency": None}), "line 1", "only bills in USD"),
        ("anthropic", anthropic_page(ANTHROPIC_COST, end="2026-11-23T00:00:00Z"), "line 1", "longer than a day"),
        ("anthropic", {"data": [{"results": []}]}, "line 1", "'starting_at'"),
        ("aws", "a,b\n1,2\n", "line 1", "no column line_item_usage_start_date"),
        ("aws", OLD_CUR + cur("x", start="yesterday"), "line 2", "line_item_usage_start_date: 'yesterday'"),
        ("aws", OLD_CUR + cur("USE1-N-input-tokens", "?"), "line 2", "no amount of tokens"),
        ("aws", OLD_CUR + cur("x", currency="EUR"), "line 2", "only bills in USD"),
        ("aws", OLD_CUR + cur("x") + cur("x"), "line 3", "stands in the files twice"),
        ("aws", OLD_CUR + "a,b\n", "line 2", "has 2 cells"),
        ("csv", "day,cost\n", "line 1", "no column 'date'"),
        ("csv", CSV + "2026-11-21,,1,0,0,0\n", "line 2", "names no provider"),
        ("csv", CSV + "21.11.2026,x,1,0,0,0\n", "line 2", "date: "),
        ("csv", CSV + "2026-11-21,x,one,0,0,0\n", "line 2", "is not an amount of money"),
        ("csv", CSV + "2026-11-21,x,1,1.5,0,0\n", "line 2", "write a whole number of tokens"),
        ("csv", CSV + "2026-11-21,x,1,10,0,20\n", "line 2", "tokens of the cache in them"),
        ("csv", CSV.replace(",", ";") + "2026-11-21;x;1,234;0;0;0\n", "line 2", "with a point and no commas"),
    ],
)  # fmt: skip
def test_what_is_refused_says_where_and_why(kind: str, content: Any, place: str, problem: str, read: Read) -> None:
    with pytest.raises(UnreadableFile) as refused:
        read(kind, content)
    assert place in str(refused.value)
    assert problem in str(refused.value)
