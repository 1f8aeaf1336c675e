"""Gives a tenant every kind of row that books can have, for tests of `verify`, retention, erasure and folding."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from tests.proof.assumed import PLAIN, USER, assume_rates
from tests.proof.corrected_prices import correct_prices
from tests.proof.ledger import HOLD, Ledger, reserve
from token_ledger.core.batch import administration, commands, outcomes
from token_ledger.core.model.allocation import Share
from token_ledger.core.model.budget import NO_LIMITS, Counts, Enforcement, Limits, Unassigned, Unit
from token_ledger.core.model.details import Details, Kind
from token_ledger.core.model.model_facts import ModelFacts
from token_ledger.core.model.other_kinds import others_of
from token_ledger.core.model.price import ModelName
from token_ledger.core.model.run import RunState
from token_ledger.core.model.selector import Selector
from token_ledger.core.model.subject import Subject
from token_ledger.core.model.tenant import User
from token_ledger.core.model.trigger import Mode, TriggerKind
from token_ledger.core.model.usage import Usage
from token_ledger.core.model.window import CalendarRule, Window
from token_ledger.storage.price_terms import load_tenant_book
from token_ledger.storage.prices import check_rates, load_price_book
from token_ledger.storage.quarantine import decide_quarantined
from token_ledger.storage.reads.recostings import Wanted, look
from token_ledger.worker.erasures import Erasures


async def make_every_kind_of_row(ledger: Ledger) -> None:
    """Give the tenant every kind of row."""
    await _set_up(ledger)
    await _make_calls(ledger)
    await _draw_on_leases(ledger)
    await _move_limits(ledger)
    await _take_limits_away(ledger)
    await _work_in_runs(ledger)
    await _set_prices(ledger)
    await _rename_models(ledger)
    await _reverse(ledger)
    await _report_again(ledger)
    await _call_tools(ledger)
    await _import(ledger)
    await assume_rates(ledger)
    await _recost(ledger)
    await correct_prices(ledger)
    await _reverse_calls(ledger, "e.event_id = (select max(recosts) from usage_events where user_id = 'peggy')")
    await _administer(ledger)


async def _set_up(ledger: Ledger) -> None:
    anyone, nobody = (("user", "*"),), (("user", "nobody"),)
    await _budget(
        ledger, "per user", anyone, Limits(100_000, 10**9, 50), Window.DAY,
        actor="root", rollover=Limits(50_000, None, 10),
    )  # fmt: skip
    await _budget(
        ledger, "uncached", (), Limits(tokens=10**6), Window.TOTAL,
        counts=Counts.UNCACHED, thresholds=(1, 2, 100), actor="root",
    )  # fmt: skip
    await _budget(ledger, "shadow", (), Limits(tokens=1), Window.DAY, enforcement=Enforcement.SHADOW, actor="root")
    await _budget(ledger, "soft", (("agent_type", "*"),), Limits(calls=3), Window.TOTAL, enforcement=Enforcement.SOFT)
    await _budget(ledger, "granted", (("user", "grace"),), Limits(3_000, None, 5), Window.TOTAL)
    await _budget(
        ledger, "dear model", (("model", "o1-pro"),), Limits(nanos=1), Window.TOTAL, enforcement=Enforcement.SOFT
    )
    await _budget(ledger, "per model", (("model", "*"),), Limits(tokens=10**7), Window.DAY)
    archived = await _budget(ledger, "gone", nobody, Limits(5), Window.DAY)
    await ledger.ask(administration.ArchiveBudget("k", b"x", archived, "root"), outcomes.BudgetAnswer)
    replaced = await _budget(ledger, "another", nobody, Limits(5), Window.DAY)
    await ledger.ask(
        administration.ReplaceBudget("k", b"x", "another", nobody, Limits(5), Window.WEEK, replaced_id=replaced),
        outcomes.BudgetAnswer,
    )
    for percent in (50, 60):
        await ledger.ask(
            administration.SetTrigger("k", b"x", TriggerKind.HIGH_TOKEN_USAGE, percent, Mode.OBSERVE),
            outcomes.TriggerAnswer,
        )


async def _budget(ledger: Ledger, name: str, selector: Selector, limits: Limits, window: Window, **fields: Any) -> int:
    """Make a budget and return its id."""
    command = administration.CreateBudget("k", b"x", name, selector, limits, window, **fields)
    return (await ledger.ask(command, outcomes.BudgetAnswer)).budget.budget_id


async def _make_calls(ledger: Ledger) -> None:
    tags = (("team", "core"), ("stage", "dev"))
    await ledger.settle(await ledger.hold(tags=tags, cost_center="research"), 900, 100, 300)
    await ledger.settle(await ledger.hold(tool="search"), 2_000, 1_500)  # an overrun
    searched = Usage(1_000, 100, others=others_of({"web_searches": 2, "images": 1, "audio_input_tokens": 40}))
    for tier in (None, "batch"):  # its rates for batches have no date, so that tests can move the call
        held = await ledger.hold(provider="anthropic", model="claude-fable-5-2")
        settle = commands.Settle("k", b"x", held, searched, service_tier=tier)
        await ledger.ask(settle, outcomes.Settled)
    late = await ledger.hold()
    await ledger.let_expire(late)
    await ledger.settle(late, 700, 50)
    await ledger.ask(commands.Release("k", b"x", await ledger.hold()), outcomes.Released)
    await ledger.ask(
        administration.ForceRelease("k", b"x", await ledger.hold(), "its client died", "root"), outcomes.Released
    )
    await ledger.ask(commands.Extend("k", b"x", await ledger.hold(user="bob"), 3_000), outcomes.Extended)
    await ledger.ask(reserve(max_output_tokens=200_000), outcomes.Denied)
    streamed = await ledger.hold()
    await ledger.settle(streamed, 1_000, 100, part=True)
    await ledger.settle(streamed, 0, 100, 0, part=True)
    await ledger.settle(streamed, 0, 150)
    await _settle_in_parts(ledger)
    cut_off = await ledger.hold()
    await ledger.settle(cut_off, 1_000, 100, part=True)
    await ledger.ask(commands.Release("k", b"x", cut_off), outcomes.Released)
    for model in ("o1-pro", "gpt-5.4-mini-2026-03-17", "nobody knows it"):  # served by another model than asked for
        await ledger.settle(await ledger.hold(model="GPT-5.4"), 900, 90, model=model)
    open_hold = await ledger.hold(user="bob")
    await ledger.settle(open_hold, 1_200, 100, part=True)
    when = datetime.now(UTC) - timedelta(days=2, hours=7)
    event = commands.Record("k", b"x", "batch", "triage", "openai", "gpt-5.4-mini", Usage(50, 5), user="carol",
                   occurred_at=when, tags=tags)  # fmt: skip
    await ledger.ask(event, outcomes.Recorded)
    await ledger.ask(replace(event, model="unheard of", occurred_at=None), outcomes.Recorded)
    await ledger.ask(replace(event, occurred_at=when - timedelta(days=60)), outcomes.Quarantined)
    await ledger.ask(
        commands.Quarantine("k", b"x", "batch", "invalid_request", "no model", {"user": "carol"}),
        outcomes.Quarantined,
    )


async def _settle_in_parts(ledger: Ledger) -> None:
    """Book a call of two tiers in parts, of which another model serves one, and one that turns out to be a batch."""
    held = await ledger.hold(provider="anthropic", model="claude-sonnet-4-5", user="eve")
    await ledger.settle(held, 120_000, 0, 119_000, others={"web_searches": 2, "audio_input_tokens": 40}, part=True)
    await ledger.settle(held, 1_000, 10, others={"images": 1}, model="claude-haiku-4-5", part=True)
    await ledger.settle(held, 120_000, 500, 118_000, part=True)
    await ledger.settle(held, 0, 500, others={"web_searches": 1})
    announced = {"max_usage": others_of({"web_searches": 3, "audio_output_tokens": 50}), "service_tier": "batch"}
    held = await ledger.hold(provider="anthropic", model="claude-fable-5-2", user="mallory", **announced)
    await ledger.settle(held, 1_000, others={"web_searches": 1}, part=True)
    await ledger.settle(held, 0, 100, service_tier="batch")
    held = await ledger.hold(provider="anthropic", model="claude-sonnet-4-5", user="trudy")  # goes on
    await ledger.settle(held, 120_000, 0, 119_000, others={"web_searches": 1}, part=True)


async def _draw_on_leases(ledger: Ledger) -> None:
    lease = commands.Lease("k", b"x", **HOLD, user="ada", calls=6)
    used = (await ledger.ask(lease, outcomes.Granted)).reservation.reservation_id
    for output in (100, 200, 900):
        await ledger.settle(used, 500, output, part=True)
    await ledger.settle(used, 500, 10)
    given_back = (await ledger.ask(lease, outcomes.Granted)).reservation.reservation_id
    await ledger.settle(given_back, 10, 10, part=True)
    await ledger.ask(commands.Release("k", b"x", given_back), outcomes.Released)
    dead = (await ledger.ask(lease, outcomes.Granted)).reservation.reservation_id
    await ledger.settle(dead, 1_000, 10, part=True)
    await ledger.let_expire(dead)
    await ledger.settle(dead, 1_000, 20, part=True)
    await ledger.ask(replace(lease, user="bob", calls=4), outcomes.Granted)


async def _move_limits(ledger: Ledger) -> None:
    await ledger.settle(await ledger.hold(user="grace"), 1_000, 500)
    account = await ledger.account_of("granted")
    soon = datetime.now(UTC) + timedelta(hours=1)
    for amounts, ends in ((Limits(2_000, None, 1), soon), (Limits(tokens=700), soon), (Limits(calls=2), None)):
        await ledger.ask(
            administration.GiveGrant("k", b"x", account, amounts, "a busy day", "root", ends), outcomes.GrantAnswer
        )
    each = await ledger.owner.fetchval("select budget_id from budgets where name = 'per user'")
    for subject in (Subject({"user": "heidi"}), Subject({"user": "heidi"})):  # heidi has made no call
        await ledger.ask(
            administration.GiveGrant(
                "k", b"x", None, Limits(tokens=10), "her first day", "root", None, each, subject
            ),
            outcomes.GrantAnswer,
        )  # fmt: skip
    await ledger.settle(await ledger.hold(user="grace"), 1_500, 500)
    await ledger.owner.execute(
        "update grants set expires_at = now() where expires_at is not null and account_id = $1", account
    )
    await ledger.owner.execute("update accounts set grants_until = now() where account_id = $1", account)
    await ledger.commits.submit(ledger.tenant, commands.TendAccounts((account,)))
    for amounts, approve, ends in (
        (Limits(tokens=4_000), True, None), (Limits(tokens=4_000), True, None), (Limits(calls=9), False, None),
        (Limits(calls=3), True, datetime.now(UTC) + timedelta(days=300)),
    ):  # fmt: skip
        asked = await ledger.ask(
            administration.AskIncrease("k", b"x", account, amounts, "more to do", "grace"), outcomes.IncreaseAnswer
        )
        decision = administration.DecideIncrease("k", b"x", asked.increase.increase_id, approve, "root", "fine", ends)
        await ledger.ask(decision, outcomes.IncreaseAnswer)
    await ledger.ask(
        administration.AskIncrease("k", b"x", account, Limits(calls=1), "and more", "grace"), outcomes.IncreaseAnswer
    )
    budgets = {row["name"]: row["budget_id"] for row in await ledger.owner.fetch("select name, budget_id from budgets")}
    for change in (
        administration.ChangeBudget("k", b"x", budgets["uncached"], Limits(tokens=200_000), actor="root"),  # fires
        administration.ChangeBudget("k", b"x", budgets["uncached"], Limits(tokens=3_000_000), actor="root"),  # re-arms
        administration.ChangeBudget("k", b"x", budgets["soft"], None, Enforcement.HARD, actor="root"),
        administration.ChangeBudget("k", b"x", budgets["per user"], Limits(calls=60), actor="root"),
    ):
        await ledger.ask(change, outcomes.BudgetAnswer)
        await ledger.ask(
            commands.Release("k", b"x", await ledger.hold(user="dan", agent_type="rare")), outcomes.Released
        )
    await ledger.ask(reserve(), outcomes.Denied)  # three calls were made while the budget was soft
    back = administration.ChangeBudget("k", b"x", budgets["soft"], Limits(calls=1_000), Enforcement.SOFT, actor="root")
    await ledger.ask(back, outcomes.BudgetAnswer)


async def _take_limits_away(ledger: Ledger) -> None:
    """Remove a limit that a grant has raised, use more than it was, and set another; and with it change thresholds."""
    named = (("user", ("grace", "heidi")),)
    budget = await _budget(
        ledger, "loosened", named, Limits(50_000, None, 50), Window.TOTAL, thresholds=(1, 2), actor="root"
    )
    await ledger.settle(await ledger.hold(user="heidi"), 1_000, 500)
    account = await ledger.account_of("loosened")
    soon = datetime.now(UTC) + timedelta(hours=1)
    grant = administration.GiveGrant("k", b"x", account, Limits(tokens=5_000), "a busy day", "root", soon)
    await ledger.ask(grant, outcomes.GrantAnswer)
    without = administration.ChangeBudget(
        "k", b"x", budget, thresholds=(2, 50), removed_limits=(Unit.TOKENS,), actor="root"
    )
    await ledger.ask(without, outcomes.BudgetAnswer)
    large = await ledger.hold(user="heidi", input_tokens=60_000)
    await ledger.ask(commands.Release("k", b"x", large), outcomes.Released)
    again = administration.ChangeBudget("k", b"x", budget, Limits(tokens=40_000), actor="root")
    await ledger.ask(again, outcomes.BudgetAnswer)
    await ledger.settle(await ledger.hold(user="heidi"), 1_000, 500)
    overrides = ((Subject({"cost_center": "research"}), Limits(10**6)), (Subject({"cost_center": "sales"}), NO_LIMITS))
    await _budget(
        ledger, "overridden", (("cost_center", "*"),), Limits(900_000), Window.TOTAL, actor="root",
        overrides=overrides, unassigned=Unassigned.PER_USER,
    )  # fmt: skip
    for center in (None, "research", "sales"):
        await ledger.settle(await ledger.hold(user="heidi", cost_center=center), 100, 50)


async def _work_in_runs(ledger: Ledger) -> None:
    shares = (Share("data", 3), Share("triage", 1))
    opened = commands.OpenRun("k", b"x", "ada", "research", "thread-1", Limits(40_000, None, 20), 10, shares)
    run = (await ledger.ask(opened, outcomes.RunAnswer)).run.run_id
    await ledger.ask(replace(opened, attach=True), outcomes.RunAnswer)
    part = (
        await ledger.ask(
            commands.OpenRun("k", b"x", parent_run_id=run, limits=Limits(tokens=9_000)), outcomes.RunAnswer
        )
    ).run.run_id
    leaf = (await ledger.ask(commands.OpenRun("k", b"x", parent_run_id=part), outcomes.RunAnswer)).run.run_id
    for each in (run, part, leaf, leaf):
        await ledger.ask(commands.Step("k", b"x", each, "think"), outcomes.StepTaken)
    await ledger.settle(await ledger.hold(run_id=leaf, tool="grep"), 800, 90)
    await ledger.settle(await ledger.hold(run_id=run), 900, 100)
    await ledger.hold(run_id=part)
    await ledger.ask(commands.Rebalance("k", b"x", run, (Share("data", 1), Share("action", 1))), outcomes.RunAnswer)
    await ledger.ask(
        administration.ChangeRun("k", b"x", run, Limits(60_000, 10**9), 12, "it takes longer", "root"),
        outcomes.RunAnswer,
    )
    await ledger.ask(commands.EndRun("k", b"x", leaf, RunState.CLOSED), outcomes.RunAnswer)
    await ledger.ask(reserve(run_id=leaf), outcomes.Refused)


async def _call_graduated(ledger: Ledger) -> None:
    """Book a call by marginal tiers in parts, which reach another band."""
    tiers = [{"above": 60, "rates": {"input": "3", "cache_read": "0.3"}}]
    base = {"input": "1.5", "output": "7", "cache_read": "0.1"}
    rates = {"base": base, "tiers": tiers, "tier_mode": "marginal"}
    price = administration.SetPrice("k", b"x", "openai", "graduated", rates, check_rates(rates), "root")
    await ledger.ask(price, outcomes.Changed)
    held = await ledger.hold(user="kim", model="graduated")
    await ledger.settle(held, 50, 0, 40, part=True)
    await ledger.settle(held, 50, 10)


async def _set_prices(ledger: Ledger) -> None:
    """Give a model that only the tenant has a price and another name, another a price of its own, others a discount."""
    stored = {"base": {"input": "1.5", "output": "7"}}
    rates, price = stored, check_rates(stored)
    for model in ("house-model", "o3"):
        await ledger.ask(
            administration.SetPrice("k", b"x", "openai", model, rates, price, "root"), outcomes.Changed
        )  # fmt: skip
    await _call_graduated(ledger)
    alias = administration.SetAlias("k", b"x", "azure", "deployed", ModelName("openai", "house-model"), "root")
    await ledger.ask(alias, outcomes.Changed)
    for facts in (ModelFacts(deprecated=True, end_of_life=date(2027, 3, 1)), ModelFacts(4_000, 500, ("tools",)), None):
        await ledger.ask(administration.SetModel("k", b"x", "openai", "o3", facts, "root"), outcomes.Changed)
    for factor in (None, 850_000_000):
        discount = administration.SetDiscount("k", b"x", "openai", "o4-*", factor, "root")
        await ledger.ask(discount, outcomes.Changed)
    for fields in (
        {"model": "house-model"}, {"model": "o3"}, {"provider": "azure", "model": "deployed"}, {"model": "o4-mini"},
    ):  # fmt: skip
        await ledger.settle(await ledger.hold(user="kim", **fields), 100, 10)


async def _rename_models(ledger: Ledger) -> None:
    """Rename a model twice, and let one of its names be a model again; holds of every kind follow."""
    fields: dict[str, Any] = {"user": "ivan", "model": "gpt-4o"}
    await ledger.settle(await ledger.hold(**fields), 500, 50)
    await ledger.settle(await ledger.hold(user="ivan", model="gpt-4o-mini"), 300, 30)
    late, streamed, left_open = [await ledger.hold(**fields) for _ in range(3)]
    await ledger.let_expire(late)
    await ledger.settle(streamed, 100, 10, part=True)
    lease = commands.Lease("k", b"x", **{**HOLD, **fields}, calls=4)
    lent = (await ledger.ask(lease, outcomes.Granted)).reservation.reservation_id
    await ledger.settle(lent, 10, 10, part=True)
    await _rename(ledger, "gpt-4o", "gpt-4o-mini")
    await ledger.settle(late, 70, 7)
    await ledger.settle(streamed, 5, 5, part=True)
    await ledger.settle(lent, 20, 20, part=True, model="gpt-4o")
    await _rename(ledger, "gpt-4o-mini", "gpt-4.1")
    await ledger.settle(streamed, 5, 5)
    await ledger.settle(lent, 30, 30, part=True, model="gpt-4o-mini")
    await ledger.settle(left_open, 40, 4, part=True, model="o1-pro")
    await _rename(ledger, "gpt-4o", "gpt-4o")
    await ledger.settle(await ledger.hold(**fields), 600, 60)
    await _reverse_calls(ledger, "user_id = 'ivan' and reservation_id is not null and not part")


async def _rename(ledger: Ledger, asked: str, becomes: str) -> None:
    names = ModelName("openai", asked), ModelName("openai", becomes)
    await ledger.ask(administration.RenameModel("k", b"x", *names, "one model", "root"), outcomes.Changed)


async def _reverse(ledger: Ledger) -> None:
    """Take back a recorded call, one of a lease, a whole streamed call, and a late call in a run."""
    await _reverse_calls(
        ledger,
        "user_id = 'carol' and not unpriced or part and late or tool = 'grep' or"
        " e.reservation_id = (select min(reservation_id) from usage_events where part)",
    )


async def _reverse_calls(ledger: Ledger, which: str) -> None:
    rows = await ledger.owner.fetch(
        "select k.source, k.key, e.event_id, e.booked_at from usage_events as e"
        " join operation_keys as k on k.tenant_id = e.tenant_id and k.target_id = e.event_id and k.answer = 'event'"
        f" where {which} order by e.event_id"
    )
    for row in rows:
        source = row["source"].removeprefix("event:") if row["source"].startswith("event:") else None
        await ledger.ask(
            administration.Reverse(
                row["key"], b"x", source, ((row["event_id"], row["booked_at"]),), "test traffic", "root"
            ),
            outcomes.Reversed,
        )


async def _report_again(ledger: Ledger) -> None:
    """Report responses more than once: on holds and without, with other usage, and where nothing tells them apart."""
    event = commands.Record("k", b"x", "batch", "data", "openai", "gpt-5.4", Usage(60, 6), user="carol",
                   response_id="resp_2")  # fmt: skip
    for output in (70, 70, 71):
        await ledger.settle(await ledger.hold(), 300, output, response_id="resp_1")
    await ledger.ask(event, outcomes.Recorded)
    await ledger.settle(await ledger.hold(), 60, 6, response_id="resp_2")
    await ledger.ask(event, outcomes.Recorded)
    await ledger.ask(replace(event, response_id=""), outcomes.Recorded)
    late = await ledger.hold()
    await ledger.let_expire(late)
    await ledger.settle(late, 300, 70, response_id="resp_1")
    lease = commands.Lease("k", b"x", **HOLD, user="ada", calls=2)
    lent = (await ledger.ask(lease, outcomes.Granted)).reservation.reservation_id
    for _ in range(3):
        await ledger.settle(lent, 100, 10, part=True, response_id="resp_3")
    await ledger.settle(lent, 100, 20, response_id="resp_3")
    beside = (commands.OtherModel(None, "o1-pro", Usage(70, 7)), commands.OtherModel("openai", "gpt-5.4", Usage(80, 8)))
    for _ in range(2):
        await ledger.settle(await ledger.hold(), 300, 30, response_id="resp_4", other_models=beside)
    for found in (False, True):
        await ledger.ask(administration.SetDuplicates("k", b"x", found, "root"), outcomes.Changed)
        await ledger.settle(await ledger.hold(), 300, 70, response_id="resp_1")


async def _call_tools(ledger: Ledger) -> None:
    """Call tools with and without a model, answer from a cache, and within a call call another model."""
    details = Details(412, 30, (("first_tool", 12),), 1, "timeout", "stop", "mcp:github", from_cache=True)
    tool = commands.Record("k", b"x", "batch", "data", "", "", Usage(), user="judy", tool="search",
                           event_kind=Kind.TOOL_CALL, cost_nanos=5_000_000, details=details)  # fmt: skip
    used = Usage(100, 10, others=others_of({"images": 2}))
    for fields in (
        {}, {"cost_nanos": 0}, {"provider": "openai", "model": "gpt-5.4", "usage": used},
        {"provider": "openai", "model": "gpt-5.4", "usage": used, "cost_nanos": None},
        {"provider": "openai", "model": "nobody-knows", "usage": Usage(100, 10), "cost_nanos": None},
    ):  # fmt: skip
        await ledger.ask(replace(tool, **fields), outcomes.Recorded)
    for model in ("gpt-5.4", "nobody-knows", "sonar"):
        hit = replace(tool, provider="perplexity" if model == "sonar" else "openai", model=model, usage=used,
                      event_kind=Kind.CACHE_HIT, cost_nanos=None)  # fmt: skip
        await ledger.ask(hit, outcomes.Recorded)
    inner = replace(tool, provider="openai", model="o1-pro", usage=Usage(60, 6), event_kind=Kind.OTHER_MODEL,
                    cost_nanos=None, key_space=commands.other_model_key_space(1), response_id="resp_9")  # fmt: skip
    await ledger.ask(inner, outcomes.Recorded)
    await _reverse_calls(ledger, "user_id = 'judy' and e.kind <> 'other_model'")


async def _import(ledger: Ledger) -> None:
    """Import calls of now, of ended days, and of days that are no longer kept; take one back."""
    now = datetime.now(UTC)
    event = commands.Record("k", b"x", "elsewhere", "importer", "openai", "gpt-5.4-mini", Usage(500, 50),
                            user="mallory", counts_since=now - timedelta(days=90))  # fmt: skip
    for days in (0, 1, 2, 2, 80, 400):
        await ledger.ask(replace(event, occurred_at=now - timedelta(days=days)), outcomes.Recorded)
    for nanos in (9_000_000, -4_000_000):  # of bills
        bill = commands.Record(
            "k", b"x", "reconciliation", "reconciliation", "openai", "gpt-5.4-mini", Usage(), user="reconciliation",
            tool="reconciliation", tags=(("bill", "openai"), ("reason", "a bill")), event_kind=Kind.TOOL_CALL,
            cost_nanos=nanos, counts_since=event.counts_since, occurred_at=now - timedelta(days=2),
        )  # fmt: skip
        await ledger.ask(bill, outcomes.Recorded)
    await _read_again(ledger, replace(event, may_grow=True, occurred_at=now - timedelta(days=3)))
    await _reverse_calls(ledger, f"user_id = 'mallory' and e.posted_at > now() - interval '{1.5 * 24} hours'")


async def _read_again(ledger: Ledger, event: commands.Record) -> None:
    """Import calls that are unfinished at first: twice, once with a response, and once never priced."""
    for key, usages, read in (
        ("read-1", (1, 20, 300), event), ("read-2", (5, 50), replace(event, response_id="resp_read")),
        ("read-3", (5, 6), replace(event, model="never heard of it")),
    ):  # fmt: skip
        for output in usages:
            again = replace(read, key=key, fingerprint=str(output).encode(), usage=Usage(500, output))
            await ledger.ask(again, outcomes.Recorded)


async def _recost(ledger: Ledger) -> None:
    """Set prices for calls that were booked without one: of whole calls, of other kinds, with a discount; take back."""
    since = datetime.now(UTC) - timedelta(hours=1)
    event = commands.Record("k", b"x", "batch", "data", "house", "late-priced", Usage(1_000, 100), user="olivia")
    searched = Usage(1_000, 100, others=others_of({"web_searches": 2, "images": 1}))
    for usage in (event.usage, searched, searched):
        await ledger.ask(replace(event, usage=usage, run_id=None), outcomes.Recorded)
    await ledger.settle(await ledger.hold(user="olivia"), 900, 90, model="late-priced-too")
    streamed = await ledger.hold(user="olivia")
    await ledger.settle(streamed, 500, 50, part=True, model="late-priced-too")
    await ledger.settle(streamed, 500, 50, others={"web_searches": 1}, model="late-priced-too")
    await ledger.ask(replace(event, provider="azure", model="late-deployed"), outcomes.Recorded)
    for provider, model, base in (
        ("openai", "plain", {**PLAIN, "images": "30"}),
        ("house", "late-priced", {"input": "2", "output": "4", "web_searches": "10"}),
        ("openai", "late-priced-too", {"input": "2", "output": "4"}),
        ("house", "late-priced", {"input": "1", "output": "1", "images": "3"}),
    ):
        rates = {"base": base}
        set_price = administration.SetPrice("k", b"x", provider, model, rates, check_rates(rates), "root", since)
        await ledger.ask(set_price, outcomes.Changed)
        await recost_all(ledger)
    discount = administration.SetDiscount("k", b"x", "openai", "gpt-4o", 500_000_000, "root", since)
    await ledger.ask(discount, outcomes.Changed)
    alias = administration.SetAlias("k", b"x", "azure", "late-deployed", ModelName("openai", "gpt-4o"), "root")
    await ledger.ask(alias, outcomes.Changed)
    await recost_all(ledger)
    await _reverse_calls(
        ledger, "e.event_id = (select max(recosts) from usage_events where model = 'late-priced')"
    )  # fmt: skip
    await _reverse_calls(ledger, f"user_id = '{USER}' and reservation_id is null and e.kind is null")


async def recost_all(ledger: Ledger) -> None:
    async with ledger.database.reading(ledger.tenant) as connection:
        book = await load_tenant_book(connection, ledger.tenant, await load_price_book(connection))
        found = await look(connection, ledger.tenant, book, Wanted())
    assert found.calls
    await ledger.ask(found.command("k", b"x", "root"), outcomes.Recosted)


async def _administer(ledger: Ledger) -> None:
    centers = ((None, "research"), (datetime.now(UTC) + timedelta(days=1), "sales"))
    users = (User("erin", centers), User("frank", centers))
    await ledger.ask(administration.SetUsers("k", b"x", users, "root"), outcomes.Changed)
    for user in ("erin", "frank"):
        await ledger.settle(await ledger.hold(user=user), 100, 10)
    await ledger.ask(administration.EraseUser("k", b"x", "frank", "root"), outcomes.Changed)
    await Erasures(ledger.database, visible_seconds=0).erase_users()
    await ledger.ask(
        administration.SetCalendar("k", b"x", CalendarRule(ZoneInfo("Asia/Tokyo"), 6, 4), "root"), outcomes.Changed
    )
    await ledger.ask(administration.StopTenant("k", b"x", "a runaway agent", "root"), outcomes.StopAnswer)
    await ledger.ask(reserve(), outcomes.Refused)
    await ledger.ask(administration.StopTenant("k", b"x", None, "root"), outcomes.StopAnswer)
    kept = await ledger.ask(
        commands.Quarantine("k", b"x", "a", "invalid_request", "no model", {}), outcomes.Quarantined
    )
    async with ledger.database.reading(ledger.tenant) as connection:
        await decide_quarantined(connection, ledger.tenant, kept.quarantine_id, "dismissed", "a test", actor="root")
