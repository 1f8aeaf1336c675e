"""Denials: their status, the accounts that refused with their figures, what would still fit, and it all in words."""

from functools import partial
from http import HTTPStatus
from typing import Annotated

from typing_extensions import TypedDict

from token_ledger.core.batch.outcomes import Code, Denial
from token_ledger.core.model.budget import Enforcement, Unit
from token_ledger.core.model.refusal import Refusal
from token_ledger.wire.answers.amounts import amount_in
from token_ledger.wire.fields import InstantText, answer, doc, example_of, instant, optional_instant

DENIED = HTTPStatus.PAYMENT_REQUIRED
"""Denials are 402, because provider SDKs retry 408, 409, 429 and 5xx: a denied agent would send its call in a loop."""


@answer
class RefusalAnswer(TypedDict):
    """An account that had too little left for a call. Money is a decimal string of dollars, the rest are numbers."""

    account_id: Annotated[str, doc("The account.", "68288513")]
    budget: Annotated[str, doc("Name of its budget.", "user day")]
    enforcement: Annotated[Enforcement, doc("`hard` denied the call; `soft` and `shadow` did not.", "hard")]
    subject: Annotated[dict[str, str], doc("The values that the account stands for.", {"user": "ada"})]
    unit: Annotated[Unit, doc("The unit that is short.", "tokens")]
    limit: Annotated[int | str, doc("The account's limit.", 5_000)]
    settled: Annotated[int | str, doc("What is settled.", 1_440)]
    held: Annotated[int | str, doc("What is held.", 0)]
    available: Annotated[int | str, doc("What is left.", 3_560)]
    requested: Annotated[int | str, doc("What the call needs.", 5_000)]
    window_start: Annotated[InstantText, doc("When the account's window began.", "2026-11-21T00:00:00+01:00")]
    window_end: Annotated[
        InstantText | None, doc("When it ends and the next one begins; null for never.", "2026-11-22T00:00:00+01:00")
    ]


def refusal_answer(refusal: Refusal) -> RefusalAnswer:
    """Return why an account had no room for a call."""
    amount = partial(amount_in, refusal.unit)
    return {
        "account_id": str(refusal.account_id),
        "budget": refusal.budget,
        "enforcement": refusal.enforcement,
        "subject": dict(refusal.subject.pairs),
        "unit": refusal.unit,
        "limit": amount(refusal.limit),
        "settled": amount(refusal.settled),
        "held": amount(refusal.held),
        "available": amount(refusal.available),
        "requested": amount(refusal.requested),
        "window_start": instant(refusal.window_start),
        "window_end": optional_instant(refusal.window_end),
    }


@answer
class Fits(TypedDict):
    """What would still fit."""

    max_output_tokens: Annotated[
        int,
        doc(
            "The largest output limit with which the same request would be admitted now; of a lease, with which it "
            "would get at least one call.",
            2_360,
        ),
    ]


@answer
class Stop(TypedDict):
    """What the caller must do after a denial."""

    stop: Annotated[bool, doc("True: do not make the call. False: single calls may still fit.", True)]


class DenialMembers(TypedDict, total=False):
    """What the problem of a denial says beside its code and detail."""

    denial_id: Annotated[str, doc("The denial, as it is recorded.", "68354050")]
    refusals: Annotated[list[RefusalAnswer], doc("Accounts that had too little left.", [example_of(RefusalAnswer)])]
    fits: Annotated[Fits | None, doc("What would still fit; null if nothing does.", example_of(Fits))]
    directive: Annotated[Stop, doc("What the caller must do.", example_of(Stop))]
    replayed: Annotated[bool, doc("True if this is the stored answer to a repeated key.", False)]


def denial_members(denial: Denial, *, replayed: bool) -> DenialMembers:
    """Return the accounts that refused, with their figures, and what would still fit."""
    return {
        "denial_id": str(denial.denial_id),
        "refusals": [refusal_answer(refusal) for refusal in denial.refusals],
        "fits": None if denial.fits_output_tokens is None else {"max_output_tokens": denial.fits_output_tokens},
        # Where a lease is too small there is still room for single calls.
        "directive": {"stop": denial.code is not Code.LEASE_TOO_SMALL},
        "replayed": replayed,
    }


def denial_detail(denial: Denial) -> str:
    """Return in words what refused, and what to do."""
    if denial.code is Code.NOT_ALLOCATED:
        detail = f"the run is strict and allocates nothing to agent type {denial.facts.agent_type!r}"
        return f"{detail}; rebalance the run to give it a share"
    first = refusal_answer(denial.refusals[0])
    left = f"budget {first['budget']!r} has {first['available']} of {first['limit']} {first['unit']} left"
    if denial.code is Code.LEASE_TOO_SMALL:
        return f"{left}, too little for a lease; make single calls"
    return f"{left}, the call needs {first['requested']}"
