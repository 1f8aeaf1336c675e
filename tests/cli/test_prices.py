"""`prices list`, `show`, `set` and `alias`: what a person tries first works; complaints say what would be right."""

import json
import re
from pathlib import Path

import pytest

from tests.cli.commands import rows, run, without_database
from token_ledger.cli.connections import open_ledger, tenant_named
from token_ledger.core.batch.commands import Record, Reserve
from token_ledger.core.batch.outcomes import Recorded, Refused
from token_ledger.core.model.usage import Usage
from token_ledger.proof.verify import verify_database

Capture = pytest.CaptureFixture[str]


@pytest.fixture
async def acme(settings: Path, database_url: str, capsys: Capture) -> str:
    """A database with a tenant, which commands work on."""
    await run("tenant", "acme")
    capsys.readouterr()
    return database_url


async def said(capsys: Capture, *words: str, status: int = 0) -> str:
    """Return what a command prints: on standard output, or if it fails on standard error."""
    ended = await run(*words)
    captured = capsys.readouterr()
    assert ended == status, captured.err
    return captured.out if status == 0 else without_database(captured.err)


async def test_the_family_alone_names_its_commands(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        await run("prices")
    assert ended.value.code == 2
    assert "COMMAND" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        await run("prices", "--help")
    shown = capsys.readouterr().out
    for name in ("list", "show", "set", "alias"):
        assert re.search(rf"^  {name} +\w", shown, re.MULTILINE)


async def test_the_list_has_a_line_for_every_model(acme: str, capsys: Capture) -> None:
    everything = (await said(capsys, "prices", "list")).splitlines()
    assert len(everything) > 1_500
    rates = "openai/gpt-4o  input 2.5, output 10, cache_read 1.25, web_searches 10"
    assert [line for line in everything if line.startswith(rates)]
    of_one = (await said(capsys, "prices", "list", "--provider", "openai")).splitlines()
    assert of_one == [line for line in everything if line.startswith("openai/")]
    filtered = await said(capsys, "prices", "list", "--provider", "OpenAI", "--model", "GPT-4o*")
    assert filtered.splitlines() == [line for line in everything if line.startswith("openai/gpt-4o")]
    assert "no model with this name" in await said(capsys, "prices", "list", "--model", "nonsense")
    assert (await said(capsys, "prices", "list", "OpenAI")).splitlines() == of_one
    for name in ("openai/gpt-4o*", "OpenAI/GPT-4o*"):
        assert await said(capsys, "prices", "list", name) == filtered
    by_name = (await said(capsys, "prices", "list", "gpt-4o*")).splitlines()
    assert by_name == [line for line in everything if line.partition("/")[2].startswith("gpt-4o")]
    assert (await said(capsys, "prices", "list", "openai", "--model", "gpt-4o*")) == filtered
    assert await said(capsys, "prices", "list", "xai/grok-3") == await said(capsys, "prices", "list", "x-ai/grok-3")
    listed = json.loads(await said(capsys, "prices", "list", "--model", "gpt-4o", "--json"))
    assert {each["provider"] for each in listed["prices"]} == {"openai"}


@pytest.mark.parametrize("name", ["openai/gpt-4o", "gpt-4o", "openai/gpt-4o-2024-08-06", "OpenAI/GPT-4o"])
async def test_a_model_is_shown_by_any_of_its_names(name: str, acme: str, capsys: Capture) -> None:
    shown = await said(capsys, "prices", "show", name)
    assert "costs input 2.5, output 10, cache_read 1.25, web_searches 10" in shown
    assert "(dollars per million tokens, per thousand of what is counted, per hour of audio)" in shown
    assert re.search(r"by price \d+ for openai/gpt-4o, always, set by genai-prices", shown)


async def test_a_model_without_a_price_is_shown_with_its_neighbours(acme: str, capsys: Capture) -> None:
    complaint = await said(capsys, "prices", "show", "openai/gtp-4o", status=1)
    assert "no price is known for openai/gtp-4o; the nearest known names are openai/gpt-4o" in complaint
    assert "token-ledger prices set TENANT openai/gtp-4o --input DOLLARS --output DOLLARS sets one" in complaint
    assert "or --free if it costs nothing" in complaint
    assert "write the provider too" in await said(capsys, "prices", "show", "gtp-4o", status=1)


async def test_a_price_is_set_shown_and_withdrawn(acme: str, capsys: Capture) -> None:
    price = ("prices", "set", "acme", "openai/gpt-4o")
    assert re.fullmatch(
        r"acme: openai/gpt-4o from \d{4}-\d\d-\d\d \d\d:\d\d UTC: input 2, output 8.5\n",
        await said(capsys, *price, "--input", "$2.00", "--output", "8.50"),
    )
    again = await said(capsys, *price, "--input", "2", "--output", "8.5")
    assert again == "acme: openai/gpt-4o has this price already; nothing changes\n"
    shown = await said(capsys, "prices", "show", "gpt-4o", "--tenant", "acme")
    assert "costs input 2, output 8.5  own" in shown
    assert "other entries:" in shown
    assert "costs input 2.5" in await said(capsys, "prices", "show", "gpt-4o")
    own = await said(capsys, "prices", "list", "--provider", "openai", "--model", "gpt-4o", "--tenant", "acme")
    assert own == "openai/gpt-4o  input 2, output 8.5  own\n"
    withdrawn = await said(capsys, *price, "--withdraw")
    assert "withdrawn: the global price counts (it was input 2, output 8.5)" in withdrawn
    assert "costs input 2.5" in await said(capsys, "prices", "show", "gpt-4o", "--tenant", "acme")
    never = await said(capsys, "prices", "set", "acme", "openai/gpt-5.4", "--withdraw")
    assert never == "acme: openai/gpt-5.4 has no price of the tenant's own; nothing changes\n"
    entries = await rows(acme, "select actor, action, target from audit_log where action = 'price.set'")
    assert [entry["target"] for entry in entries] == [*["openai/gpt-4o"] * 3, "openai/gpt-5.4"]
    assert all(entry["actor"].startswith("cli:") for entry in entries)
    assert (await verify_database(acme)).clean


async def test_a_price_can_begin_later(acme: str, capsys: Capture) -> None:
    words = ("prices", "set", "acme", "openai/gpt-4o", "--input", "1", "--output", "1", "--from", "2099-12-01")
    assert "openai/gpt-4o from 2099-12-01 00:00 UTC: input 1, output 1" in await said(capsys, *words)
    shown = await said(capsys, "prices", "show", "openai/gpt-4o", "--tenant", "acme")
    assert "costs input 2.5" in shown
    assert "for openai/gpt-4o, from 2099-12-01 00:00 UTC, set by tenant: input 1, output 1  own" in shown
    later = await said(capsys, "prices", "show", "openai/gpt-4o", "--tenant", "acme", "--at", "2099-12-02")
    assert "costs input 1, output 1  own" in later


async def test_a_model_whose_first_price_begins_later_has_none_before(acme: str, capsys: Capture) -> None:
    await said(
        capsys, "prices", "set", "acme", "house/x", "--input", "1", "--output", "1", "--from", "2099-12-01"
    )  # fmt: skip
    complaint = await said(capsys, "prices", "show", "house/x", "--tenant", "acme", status=1)
    assert "house/x has no price before 2099-12-01 00:00 UTC; token-ledger prices set TENANT house/x" in complaint
    async with open_ledger(acme) as (database, commits):
        call = Reserve("k", b"x", "data", "house", "x", 10, 10, user="ada")
        refused = await commits.submit(await tenant_named(database, "acme"), call)
    assert isinstance(refused, Refused)
    assert "has no price before 2099-12-01 00:00 UTC; to price it until then: token-ledger prices" in refused.detail
    await said(capsys, "prices", "set", "acme", "house/y", "--free")
    await said(capsys, "prices", "set", "acme", "house/y", "--withdraw")
    gone = await said(capsys, "prices", "show", "house/y", "--tenant", "acme", status=1)
    assert "no price is known for house/y; the nearest known names are house/x; token-ledger prices set" in gone


async def test_ways_of_serving_have_rates_too(acme: str, capsys: Capture) -> None:
    price = ("prices", "set", "acme", "house/chat", "--input", "1", "--output", "2")
    served = ("--service-tiers", "batch:input=$0.5, output=1; priority:input=2,output=4,cache-read=0.2")
    words = "input 1, output 2; priority input 2, output 4, cache_read 0.2; batch input 0.5, output 1"
    set_now = await said(capsys, *price, *served)
    assert sorted(set_now.partition("UTC: ")[2].strip().split("; ")) == sorted(words.split("; "))
    assert await said(capsys, *price, *served) == "acme: house/chat has this price already; nothing changes\n"
    shown = await said(capsys, "prices", "show", "house/chat", "--tenant", "acme")
    assert "; batch input 0.5, output 1" in shown
    assert "; priority input 2, output 4, cache_read 0.2" in shown
    async with open_ledger(acme) as (database, commits):
        event = Record(
            "k", b"x", "test", "data", "house", "chat", Usage(1_000, 100), user="ada", service_tier="batch"
        )  # fmt: skip
        outcome = await commits.submit(await tenant_named(database, "acme"), event)
    assert isinstance(outcome, Recorded)
    assert (outcome.event.cost_nanos, outcome.event.unpriced) == (600_000, False)


async def test_a_discount_is_shown_with_the_prices_it_is_off(acme: str, capsys: Capture) -> None:
    discount = ("prices", "discount", "acme")
    assert (await said(capsys, *discount, "openai/gpt-4o*", "--off", "20")).count("\n") == 1
    shown = await said(capsys, "prices", "show", "gpt-4o", "--tenant", "acme")
    assert re.search(r"\n  less the discount openai/gpt-4o\*: 20 % off, from .* UTC\n", shown)
    listed = (await said(capsys, "prices", "list", "openai/gpt-*", "--tenant", "acme")).splitlines()
    assert {line for line in listed if line.endswith("  20 % off")} == {
        line for line in listed if line.startswith("openai/gpt-4o")
    }
    assert json.loads(await said(capsys, "prices", "show", "gpt-4o", "--tenant", "acme", "--json"))["factor"] == "0.8"
    assert "less the discount" not in await said(capsys, "prices", "show", "gpt-4o")
    never = await said(capsys, *discount, "openai/gpt-5*", "--remove")
    assert never == "acme: openai/gpt-5* has no discount; nothing changes\n"


@pytest.mark.parametrize(
    ("name", "note"),
    [
        ("opanai/*", "no published price has the name opanai/* now, so nothing is off: token-ledger prices list"),
        ("house/chat", "no published price has the name house/chat now, so nothing is off"),
        ("openai/gpt-4o-2024-08-06", "openai/gpt-4o-2024-08-06 is openai/gpt-4o in the price book: give the discount"),
        ("xai/*", None),
        ("*/*", None),
    ],
)
async def test_a_discount_that_is_off_nothing_is_set_and_noted(
    name: str, note: str | None, acme: str, capsys: Capture
) -> None:
    await said(capsys, "prices", "set", "acme", "house/chat", "--free")
    lines = (await said(capsys, "prices", "discount", "acme", name, "--off", "5")).splitlines()
    assert "5 % off" in lines[0]
    assert [line[: len(note or "")] for line in lines[1:]] == ([] if note is None else [note])


async def test_local_models_are_free_by_one_line(acme: str, capsys: Capture) -> None:
    assert ": free" in await said(capsys, "prices", "set", "acme", "ollama/*", "--free")
    shown = await said(capsys, "prices", "show", "ollama/llama3.3", "--tenant", "acme")
    assert shown.startswith("ollama/llama3.3\n  free  own\n")
    async with open_ledger(acme) as (database, commits):
        event = Record("k", b"x", "test", "data", "ollama", "llama3.3", Usage(10, 1), user="ada")
        outcome = await commits.submit(await tenant_named(database, "acme"), event)
    assert isinstance(outcome, Recorded)
    booked = outcome.event
    assert (booked.cost_nanos, booked.unpriced, booked.price_id < 0) == (0, False, True)


async def test_a_stand_in_is_set_and_withdrawn(acme: str, capsys: Capture) -> None:
    assert "*/* from " in await said(capsys, "prices", "set", "acme", "*/*", "--input", "15", "--output", "75")
    assert "withdrawn" in await said(capsys, "prices", "set", "acme", "*/*", "--withdraw")


async def test_a_name_of_ones_own_stands_for_a_model(acme: str, capsys: Capture) -> None:
    assert await said(capsys, "prices", "alias", "acme") == "no aliases are set\n"
    stands = "azure/prod-chat stands for openai/gpt-4o\n"
    assert await said(capsys, "prices", "alias", "acme", "azure/prod-chat", "openai/gpt-4o") == f"acme: {stands}"
    assert await said(capsys, "prices", "alias", "acme") == stands
    chained = await said(capsys, "prices", "alias", "acme", "azure/other", "azure/prod-chat", status=1)
    assert "azure/prod-chat is an alias itself, of openai/gpt-4o, and an alias stands for no other alias" in chained
    shown = await said(capsys, "prices", "show", "azure/prod-chat", "--tenant", "acme")
    assert shown.startswith("azure/prod-chat is openai/gpt-4o\n  costs input 2.5")
    await said(capsys, "prices", "show", "azure/prod-chat", status=1)
    await said(capsys, "prices", "alias", "acme", "azure/prod-chat", "--remove")
    assert await said(capsys, "prices", "alias", "acme") == "no aliases are set\n"


async def test_the_operator_names_models_for_all_tenants(acme: str, capsys: Capture) -> None:
    words = ("prices", "alias", "-", "azure/shared-*", "openai/gpt-4o")
    assert await said(capsys, *words) == "all tenants: azure/shared-* stands for openai/gpt-4o\n"
    assert await said(capsys, "prices", "alias", "-") == "azure/shared-* stands for openai/gpt-4o\n"
    for tenant in ((), ("--tenant", "acme")):
        assert "is openai/gpt-4o" in await said(capsys, "prices", "show", "azure/shared-1", *tenant)
    await said(capsys, "prices", "alias", "-", "azure/shared-*", "--remove")
    await said(capsys, "prices", "show", "azure/shared-1", status=1)
    logged = await rows(acme, "select target from audit_log where tenant_id = 0 and action = 'alias.set'")
    assert [row["target"] for row in logged] == ["azure/shared-*"] * 2


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("set acme openai/gpt-4o", "say what it costs with --input DOLLARS and --output DOLLARS"),
        ("set acme openai/gpt-4o --input 2", "--output is missing: what do a million tokens of output cost?"),
        ("set acme openai/gpt-4o --output 2", "--input is missing"),
        ("set acme openai/gpt-4o --free --input 2", "say what it costs"),
        ("set acme openai/gpt-4o --input 2,5 --output 3", "--input '2,5': write dollars per million tokens, such as"),
        ("set acme openai/gpt-4o --input -1 --output 3", "--input '-1': write dollars"),
        ("set acme openai/gpt-4o --cache-read x --input 1 --output 3", "--cache-read 'x': write dollars"),
        ("set acme gpt-4o --free", "model 'gpt-4o': write the provider and the model, such as openai/gpt-5.4"),
        ("set acme openai/a*b*c* --free", "more than 2 `*`"),
        ("set acme */x --free", "a provider is no pattern"),
        ("set nobody openai/gpt-4o --free", "there is no tenant named 'nobody'"),
        ("set acme openai/gpt-4o --free --from tomorrow", "--from 'tomorrow': write an instant"),
        ("set acme openai/a --free --tiers 9:input=1", "--tiers are beside a base: say what it costs with --input"),
        ("set acme openai/a --free --service-tiers batch:input=1", "--service-tiers are beside a base: say what it"),
        ("set acme openai/a --input 1 --output 2 --service-tiers bach:input=1", "--service-tiers 'bach:input=1': "),
        ("set acme openai/a --input 1 --output 2 --service-tiers batch:input=x", "flex, priority, batch or fast, and"),
        ("set acme openai/a --input 1 --output 2 --service-tiers batch:input=1", "there is no rate of output"),
        ("set acme openai/a --input 1 --output 2 --service-tiers standard:input=1", "write flex, priority, batch or"),
        ("set acme openai/a --input 1 --output 2 --tiers 9", "--tiers '9': write a number of input tokens and rates"),
        ("set acme openai/a --input 1 --output 2 --tiers x:input=1", "--tiers 'x:input=1': write a number of input"),
        ("set acme openai/a --input 1 --output 2 --tiers 9:input=x", "--tiers '9:input=x': write a number of input"),
        ("set acme openai/a --input 1 --output 2 --tiers 9:input=1", "there is no rate of output"),
        ("set acme openai/a --input 1 --output 2 --tiers 0:input=1,output=1", "rates.tiers.0.above: "),
        ("set acme openai/a --input 1 --output 2 --tier-mode marginal", "give them with --tiers"),
        ("set acme openai/a --input 1 --output 2 --tier-mode marginal --tiers 9:input=1,output=1",
         "'output' is no kind of input, so a marginal tier has no rate of it; leave it out"),
        ("alias acme azure/prod", "name the model that it stands for"),
        ("alias acme azure/prod openai/gtp-4o", "the nearest known names are openai/gpt-4o"),
        ("alias acme azure/prod gpt-4o", "stands_for 'gpt-4o': write the provider and the model"),
        ("alias acme azure/prod openai/gpt*", "a pattern is no model"),
        ("alias - azure/prod openai/gtp-4o", "the nearest known names are openai/gpt-4o"),
        ("show gpt-4o --tenant nobody", "there is no tenant named 'nobody'"),
        ("list --at noon", "--at 'noon': "),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_said_with_what_would_be_right(
    words: str, complaint: str, acme: str, capsys: Capture
) -> None:
    found = await said(capsys, "prices", *words.split(), status=1)
    assert complaint in found, found
    assert found.count("\n") == 1
    assert await rows(acme, "select from tenant_prices") == []
    assert await rows(acme, "select from tenant_aliases") == []


async def test_other_kinds_have_rates_too(acme: str, capsys: Capture) -> None:
    price = ("prices", "set", "acme")
    both = await said(
        capsys, *price, "house/chat", "--input", "1", "--output", "2", "--other", "web_searches=$10, images=4"
    )
    assert both.endswith(": input 1, output 2, web_searches 10, images 4\n")
    assert (await said(capsys, *price, "house/ocr", "--other", "pages=1.5")).endswith("UTC: pages 1.5\n")
    for wrong in ("pages", "pages=much", "sides=1"):
        complaint = await said(capsys, *price, "house/ocr", "--other", wrong, status=1)
        assert f"--other {wrong!r}: write a kind and dollars, such as web_searches=10; kinds are " in complaint
    assert "--output is missing" in await said(
        capsys, *price, "house/x", "--input", "1", "--other", "pages=1", status=1
    )


async def test_tiers_are_set_and_shown_with_what_they_are_for(acme: str, capsys: Capture) -> None:
    price = ("prices", "set", "acme", "house/chat", "--input", "1", "--output", "2", "--cache-read", "0.1")
    cliff = await said(capsys, *price, "--tiers", "9000:input=$2, output=4; 20000:input=3,output=6")
    tiers = "above 9,000 input tokens input 2, output 4; above 20,000 input tokens input 3, output 6"
    assert cliff.endswith(f"UTC: input 1, output 2, cache_read 0.1; {tiers}\n")
    marginal = ("--tier-mode", "marginal", "--tiers", "9000:input=2,cache-read=0.2")
    assert "input beyond 9,000 tokens" in await said(capsys, *price, *marginal)
    assert await said(capsys, *price, *marginal) == "acme: house/chat has this price already; nothing changes\n"
    assert len(await rows(acme, "select from tenant_prices")) == 2
    shown = await said(capsys, "prices", "show", "house/chat", "--tenant", "acme")
    assert "costs input 1, output 2, cache_read 0.1; input beyond 9,000 tokens input 2, cache_read 0.2  own" in shown
    listed = json.loads(await said(capsys, "prices", "show", "house/chat", "--tenant", "acme", "--json"))
    assert [each["rates"].get("tier_mode") for each in listed["prices"]] == [None, "marginal"]
    assert (await verify_database(acme)).clean


async def test_a_model_is_described_shown_and_described_no_more(acme: str, capsys: Capture) -> None:
    assert "  128,000 tokens of context; not deprecated\n" in await said(capsys, "prices", "show", "gpt-4o") + "\n"
    describe = ("prices", "describe", "acme", "openai/gpt-4o")
    options = ("--max-output-tokens", "16384", "--capabilities", "tools, vision", "--end-of-life", "2027-03-01")
    words = "at most 16,384 tokens of output; can tools, vision; served until 2027-03-01"
    assert await said(capsys, *describe, *options) == f"acme: openai/gpt-4o: {words}\n"
    again = await said(capsys, *describe, *options)
    assert again == "acme: openai/gpt-4o: this is said already; nothing changes\n"
    shown = await said(capsys, "prices", "show", "gpt-4o", "--tenant", "acme")
    assert (
        "  128,000 tokens of context; at most 16,384 tokens of output; can tools, vision; deprecated; served" in shown
    )
    listed = json.loads(await said(capsys, "prices", "show", "gpt-4o", "--tenant", "acme", "--json"))
    assert listed["known"]["capabilities"] == ["tools", "vision"]
    removed = await said(capsys, *describe, "--remove")
    assert removed == f"acme: openai/gpt-4o: what is published counts (it was {words})\n"
    assert "served until" not in await said(capsys, "prices", "show", "gpt-4o", "--tenant", "acme")
    assert (await verify_database(acme)).clean


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("openai/gpt-4o", "say what is known, such as --end-of-life 2027-03-01, or take back"),
        ("openai/gpt-4o --deprecated --remove", "say what is known"),
        ("openai/gpt-4o --context-tokens many", "--context-tokens 'many': write a number of tokens"),
        ("openai/gpt-4o --max-output-tokens 0", "max_output_tokens: "),
        ("openai/gpt-4o --end-of-life soon", "end_of_life: "),
        ("openai/gtp-4o --deprecated", "no price is known for model 'gtp-4o'"),
        ("gpt-4o --deprecated", "write the provider and the model"),
    ],
)
async def test_what_no_model_can_be_is_refused(words: str, complaint: str, acme: str, capsys: Capture) -> None:
    assert complaint in await said(capsys, "prices", "describe", "acme", *words.split(), status=1)
    assert await rows(acme, "select from tenant_models") == []
