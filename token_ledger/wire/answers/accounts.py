"""Answers about accounts: their balances, the journal of their limits, the thresholds they reached."""

from collections.abc import Sequence
from typing import Annotated

from typing_extensions import TypedDict

from token_ledger.core.model.account import Account, EntryKind, Grant
from token_ledger.core.model.budget import Enforcement, Unit
from token_ledger.storage.reads.accounts import BookedLimitEntry, BookedThreshold
from token_ledger.wire.answers.amounts import Amounts, Balance, amount_in, balance_answer, limits_answer
from token_ledger.wire.answers.grants import GrantAnswer, grant_answer
from token_ledger.wire.fields import InstantText, answer, doc, example_of, instant, optional_instant


@answer
class ReachedPercent(TypedDict):
    """The highest threshold that was reached, in percent, per unit; 0 for none."""

    tokens: Annotated[int, doc("Of the limit in tokens.", 50)]
    cost: Annotated[int, doc("Of the limit in dollars.", 0)]
    calls: Annotated[int, doc("Of the limit in calls.", 0)]


@answer
class AccountAnswer(TypedDict):
    """An account: the balance of one budget, for one subject, in one window."""

    account_id: Annotated[str, doc("The account.", "68288513")]
    budget_id: Annotated[str, doc("Its budget; 0 for the limits of a run.", "3")]
    budget: Annotated[str, doc("Name of its budget.", "user day")]
    subject: Annotated[dict[str, str], doc("The values that the account stands for.", {"user": "ada"})]
    enforcement: Annotated[Enforcement, doc("What happens to a call that does not fit.", "hard")]
    window_start: Annotated[InstantText, doc("When its window began.", "2026-11-21T00:00:00+01:00")]
    window_end: Annotated[InstantText | None, doc("When it ends; null for never.", "2026-11-22T00:00:00+01:00")]
    closed_at: Annotated[InstantText | None, doc("When it was closed, after the end of its window.", None)]
    thresholds: Annotated[list[int], doc("Shares of a limit, in percent, that are reported.", [50, 75, 90, 100])]
    reached_percent: Annotated[
        ReachedPercent, doc("The highest threshold that was reached, per unit.", example_of(ReachedPercent))
    ]
    open_leases: Annotated[int, doc("How many open leases hold a part of it.", 1)]
    balance: Annotated[Balance, doc("What it may settle and hold, what it did, and what is left.", example_of(Balance))]


@answer
class LimitEntryAnswer(TypedDict):
    """One change of an account's limit. The limit is the sum of all of them."""

    entry_id: Annotated[str, doc("The entry.", "68616192")]
    kind: Annotated[EntryKind, doc("Why the limit changed.", "opening")]
    amounts: Annotated[Amounts, doc("By how much; null leaves a unit alone.", example_of(Amounts))]
    reason: Annotated[str | None, doc("The reason that was given.", "release on Friday")]
    actor: Annotated[str | None, doc("Who changed it; null for the service itself.", "key:1kQ8vR2mZx0a")]
    booked_at: Annotated[InstantText, doc("When.", "2026-11-21T09:30:00+00:00")]


@answer
class ThresholdAnswer(TypedDict):
    """An account has reached a threshold, lies below it again, or no longer has it. Money is a string of dollars."""

    threshold_id: Annotated[str, doc("The event.", "68681728")]
    account_id: Annotated[str, doc("The account.", "68288513")]
    budget: Annotated[str, doc("Name of its budget.", "user day")]
    subject: Annotated[str, doc("The values that the account stands for, as JSON text.", '{"user":"ada"}')]
    unit: Annotated[Unit, doc("Unit of the limit.", "tokens")]
    percent: Annotated[int, doc("The threshold, in percent of the limit.", 50)]
    fired: Annotated[bool, doc("True if it was reached; false if that is over.", True)]
    withdrawn: Annotated[
        bool,
        doc("True if it is over because the account no longer has this threshold, or no limit in the unit.", False),
    ]
    settled: Annotated[int | str, doc("What was settled.", 25_400)]
    limit_amount: Annotated[int | str, doc("The limit.", 50_000)]
    booked_at: Annotated[InstantText, doc("When.", "2026-11-21T09:30:00+00:00")]


@answer
class AccountDetailAnswer(AccountAnswer):
    """An account with everything that changed its limit."""

    limit_entries: Annotated[
        list[LimitEntryAnswer], doc("The journal of its limit, in order.", [example_of(LimitEntryAnswer)])
    ]
    grants: Annotated[list[GrantAnswer], doc("Its grants, in the order they were given.", [example_of(GrantAnswer)])]
    threshold_events: Annotated[
        list[ThresholdAnswer], doc("Its first 500 threshold events, in order.", [example_of(ThresholdAnswer)])
    ]


@answer
class AccountList(TypedDict):
    """Accounts."""

    accounts: Annotated[list[AccountAnswer], doc("Accounts, in the order they were made.", [example_of(AccountAnswer)])]


@answer
class ThresholdList(TypedDict):
    """Threshold events."""

    thresholds: Annotated[list[ThresholdAnswer], doc("Threshold events, in order.", [example_of(ThresholdAnswer)])]


def account_answer(account: Account) -> AccountAnswer:
    """Return an account with its balance."""
    tokens, cost, calls = account.fired
    return {
        "account_id": str(account.account_id),
        "budget_id": str(account.budget_id),
        "budget": account.budget,
        "subject": dict(account.subject.pairs),
        "enforcement": account.enforcement,
        "window_start": instant(account.window_start),
        "window_end": optional_instant(account.window_end),
        "closed_at": optional_instant(account.closed_at),
        "thresholds": list(account.thresholds),
        "reached_percent": {"tokens": tokens, "cost": cost, "calls": calls},
        "open_leases": account.leases,
        "balance": balance_answer(account),
    }


def account_detail_answer(
    account: Account,
    entries: Sequence[BookedLimitEntry],
    grants: Sequence[Grant],
    thresholds: Sequence[BookedThreshold],
) -> AccountDetailAnswer:
    """Return an account with everything that changed its limit."""
    return {
        **account_answer(account),
        "limit_entries": [_limit_entry(entry) for entry in entries],
        "grants": [grant_answer(grant) for grant in grants],
        "threshold_events": [threshold_answer(threshold) for threshold in thresholds],
    }


def _limit_entry(entry: BookedLimitEntry) -> LimitEntryAnswer:
    return {
        "entry_id": str(entry.entry_id),
        "kind": entry.kind,
        "amounts": limits_answer(entry.by),
        "reason": entry.reason,
        "actor": entry.actor,
        "booked_at": instant(entry.booked_at),
    }


def threshold_answer(threshold: BookedThreshold) -> ThresholdAnswer:
    """Return an account's passing of a threshold."""
    return {
        "threshold_id": str(threshold.threshold_id),
        "account_id": str(threshold.account_id),
        "budget": threshold.budget,
        "subject": threshold.subject,
        "unit": threshold.unit,
        "percent": threshold.percent,
        "fired": threshold.fired,
        "withdrawn": threshold.withdrawn,
        "settled": amount_in(threshold.unit, threshold.settled),
        "limit_amount": amount_in(threshold.unit, threshold.limit),
        "booked_at": instant(threshold.booked_at),
    }
