"""Answers about holds: reservations, what the caller is told, settlements."""

from typing import Annotated, NotRequired, cast

from typing_extensions import TypedDict

from token_ledger.core.batch.outcomes import Extended, Granted, Released, Settled
from token_ledger.core.model.budget import Unit
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.money import format_money
from token_ledger.core.model.price import ModelName
from token_ledger.core.model.repetition import Repetition
from token_ledger.core.model.reservation import HoldState, Reservation
from token_ledger.core.model.trigger import Advice, Technique, TriggerKind
from token_ledger.wire.answers.amounts import HELD, Amounts, amount_in, amounts
from token_ledger.wire.answers.denial_problem import RefusalAnswer, refusal_answer
from token_ledger.wire.fields import InstantText, Replayed, answer, doc, example_of, optional_id
from token_ledger.wire.token_kinds import OtherUseAnswer, other_answer


@answer
class Evidence(TypedDict):
    """Why a trigger fired. Money is a decimal string of dollars."""

    budget: Annotated[
        str, doc("The budget whose limit is used up so far; `call` if the call itself is large.", "user day")
    ]
    subject: Annotated[dict[str, str], doc("The values that its account stands for.", {"user": "ada"})]
    unit: Annotated[Unit, doc("What is measured.", "cost")]
    used: Annotated[int | str, doc("What is used.", "4.100000000")]
    limit: Annotated[int | str, doc("Of which limit.", "5.000000000")]
    percent: Annotated[int, doc("used ÷ limit, in percent.", 82)]


@answer
class AdviceAnswer(TypedDict):
    """A trigger that fired for this call."""

    trigger: Annotated[TriggerKind, doc("Kind of the trigger.", "high_cost")]
    technique: Annotated[Technique, doc("What it proposes.", "model_downgrade")]
    applied: Annotated[bool, doc("True if the technique was applied to this call.", False)]
    model: Annotated[str | None, doc("The cheaper model, for `model_downgrade`; null if none fits.", "gpt-5.4-mini")]
    evidence: Annotated[Evidence, doc("Why the trigger fired.", example_of(Evidence))]


@answer
class Directive(TypedDict):
    """What the caller must do."""

    model: Annotated[str, doc("Call this model.", "gpt-5.4")]
    max_output_tokens: Annotated[int, doc("Send the call with this output limit, in tokens.", 500)]
    compression: Annotated[
        str, doc("`aggressive`: compress the prompt before the call. `none`: send it as it is.", "none")
    ]
    stop: Annotated[bool, doc("True: do not make the call, and make no further calls for this run.", False)]
    advice: Annotated[list[AdviceAnswer], doc("Triggers that fired.", [example_of(AdviceAnswer)])]


@answer
class ModelNameAnswer(TypedDict):
    """A model: by its one name in the books, or as somebody named it."""

    provider: Annotated[str, doc("Its provider.", "openai")]
    model: Annotated[str, doc("Its name.", "gpt-5.4")]


_SERVED = {"provider": "openai", "model": "gpt-5.4-2026-03-05"}


@answer
class Hold(TypedDict):
    """What reservations and leases have in common."""

    state: Annotated[HoldState, doc("Where the hold stands.", "held")]
    created_at: Annotated[InstantText, doc("When the hold was made.", "2026-11-21T09:30:00+00:00")]
    expires_at: Annotated[InstantText, doc("When it expires, unless it ends before.", "2026-11-21T09:35:00+00:00")]
    run_id: Annotated[str | None, doc("The run that the call is part of.", "68288512")]
    held: Annotated[Amounts, doc("What is still set aside.", HELD)]
    provider: Annotated[str, doc("Provider of the model to call.", "openai")]
    model: Annotated[str, doc("The model to call.", "gpt-5.4")]
    booked_model: Annotated[
        ModelNameAnswer,
        doc("What the model is called in the books: budgets and reports go by it.", example_of(ModelNameAnswer)),
    ]
    directive: Annotated[Directive, doc("Which model to call and how, or to stop.", example_of(Directive))]
    warnings: Annotated[
        list[RefusalAnswer],
        doc("Soft and shadow accounts that have too little left for the call.", [example_of(RefusalAnswer)]),
    ]
    replayed: Replayed
    without_price: NotRequired[
        Annotated[
            list[str],
            doc(
                "What the call announced without a price; left out if all has one. Such a kind is held at the rate of "
                "the tenant's stand-in price, if it has one, and such a `service_tier` at the standard rates: settled "
                "with it, the call is `unpriced`.",
                ["images"],
            ),
        ]
    ]
    end_reason: NotRequired[
        Annotated[
            str,
            doc(
                "Why the hold was ended without a settle, in the words of its release or force-release; left out if "
                "there were none.",
                "the provider answered 429",
            ),
        ]
    ]


PriceEntry = Annotated[
    str,
    doc(
        "The entry of the price book by which this is priced (`GET /v1/prices`), those of the tenant's own below 0; "
        "left out where no entry is.",
        "412",
    ),
]


@answer
class ReservationAnswer(Hold):
    """A hold as it stands, and what the caller must do."""

    reservation_id: Annotated[str, doc("Settle or release the hold with this id.", "68354048")]
    price_id: NotRequired[PriceEntry]
    stop: NotRequired[
        Annotated[
            str,
            doc("After an extension, why no further call should be made; left out if one may.", "run_cancelled"),
        ]
    ]


@answer
class ReservationList(TypedDict):
    """Holds, oldest first."""

    reservations: Annotated[list[ReservationAnswer], doc("Holds, oldest first.", [example_of(ReservationAnswer)])]


def hold_fields(reservation: Reservation, *, replayed: bool = False) -> Hold:
    """Return what reservations and leases have in common."""
    r = reservation
    tokens, _, nanos, calls = r.remaining
    fields: Hold = {
        "state": r.state,
        "created_at": r.created_at.isoformat(),
        "expires_at": r.expires_at.isoformat(),
        "run_id": optional_id(r.facts.run_id),
        "held": amounts(tokens, nanos, calls),
        "provider": r.to_call.provider,
        "model": r.to_call.model,
        "booked_model": {"provider": r.facts.provider, "model": r.facts.model},
        "directive": _directive(r),
        "warnings": [refusal_answer(refusal) for refusal in r.warnings],
        "replayed": replayed,
    }
    if r.announced is not None and r.announced.without_price:
        fields["without_price"] = [*r.announced.without_price]
    if r.end_reason is not None:
        fields["end_reason"] = r.end_reason
    return fields


def reservation_answer(reservation: Reservation, *, replayed: bool = False) -> ReservationAnswer:
    """Return a hold as it stands."""
    held = cast(ReservationAnswer, hold_fields(reservation, replayed=replayed))
    held["reservation_id"] = str(reservation.reservation_id)
    if reservation.price_id:
        held["price_id"] = str(reservation.price_id)
    return held


def granted_answer(outcome: Granted) -> ReservationAnswer:
    """Return a hold that was given."""
    return reservation_answer(outcome.reservation, replayed=outcome.replayed)


def extended_answer(outcome: Extended) -> ReservationAnswer:
    """Return a hold that was extended; whether its holder should stop is found out anew."""
    extended = reservation_answer(outcome.reservation, replayed=outcome.replayed)
    extended["directive"]["stop"] |= outcome.stop is not None
    if outcome.stop is not None:
        extended["stop"] = outcome.stop
    return extended


def released_answer(outcome: Released) -> ReservationAnswer:
    """Return a hold that was ended without a call."""
    return reservation_answer(outcome.reservation, replayed=outcome.replayed)


def _directive(reservation: Reservation) -> Directive:
    """Return what the caller must do. A hold that has ended permits no call, also when its key is sent again."""
    return {
        "model": reservation.to_call.model,
        "max_output_tokens": reservation.max_output_tokens,
        "compression": "aggressive" if reservation.is_compressed else "none",
        "stop": reservation.state is not HoldState.HELD,
        "advice": [_advice(advice) for advice in reservation.advice],
    }


def _advice(advice: Advice) -> AdviceAnswer:
    evidence = advice.evidence
    return {
        "trigger": advice.kind,
        "technique": advice.technique,
        "applied": advice.applied,
        "model": advice.downgrade.to_model if advice.downgrade else None,
        "evidence": {
            "budget": evidence.budget,
            "subject": dict(evidence.subject.pairs),
            "unit": evidence.unit,
            "used": amount_in(evidence.unit, evidence.used),
            "limit": amount_in(evidence.unit, evidence.limit),
            "percent": evidence.percent,
        },
    }


Booked = Annotated[
    bool, doc("False if the call is a duplicate: its hold has ended, and nothing was booked a second time.", True)
]
FoundRepetition = Annotated[
    Repetition | None,
    doc(
        "What was found under the response id, if anything was. `duplicate`: this very call, with the same usage. "
        "`replaces`: this very call, reported without a hold; that report was taken back. `other_usage`: a call of the "
        "same response with another usage; both are booked. `not_unique`: the id tells nothing, because it is empty, "
        "or its provider uses it again and again.",
        None,
    ),
]
EarlierEvent = Annotated[
    str | None, doc("The usage event that was found under the response id, if one was; a duplicate is that call.", None)
]


def found_repetition(repetition: Repetition | None) -> Repetition | None:
    """Return what was found under the response id of a call, None if it is the first of its response."""
    return None if repetition is Repetition.FIRST else repetition


def _name(name: ModelName) -> ModelNameAnswer:
    return {"provider": name.provider, "model": name.model}


@answer
class OtherModelAnswer(TypedDict):
    """What was booked of another model within a call."""

    event_id: Annotated[str, doc("The usage event that was booked.", "68419585")]
    provider: Annotated[str, doc("Its provider, as in the books.", "anthropic")]
    model: Annotated[str, doc("What it is called in the books.", "claude-opus-4-8")]
    cost: Annotated[str, doc("Its cost in dollars, to the nano-dollar.", "0.013140000")]
    tokens: Annotated[int, doc("Its tokens, input and output.", 2_540)]
    unpriced: Annotated[
        bool, doc("True if no price is known for all of it; what has none costs what it would in the call.", False)
    ]
    booked: Annotated[bool, doc("False if it was reported before, so that nothing was booked a second time.", True)]
    price_id: NotRequired[PriceEntry]


def other_model_answer(event: UsageEvent) -> OtherModelAnswer:
    """Return what was booked of another model within a call."""
    booked: OtherModelAnswer = {
        "event_id": str(event.event_id),
        "provider": event.facts.provider,
        "model": event.facts.model,
        "cost": format_money(event.cost_nanos),
        "tokens": event.usage.total_tokens,
        "unpriced": event.unpriced,
        "booked": not event.is_duplicate,
    }
    if event.price_id:
        booked["price_id"] = str(event.price_id)
    return booked


ListCost = Annotated[
    str,
    doc(
        "What the call costs everybody; left out where the tenant has neither a discount nor a price of its own.",
        "0.008117648",
    ),
]


@answer
class SettlementAnswer(TypedDict):
    """What was booked."""

    reservation_id: Annotated[str | None, doc("The hold that was settled; null for a call without one.", "68354048")]
    event_id: Annotated[str, doc("The usage event that was booked.", "68419584")]
    state: Annotated[HoldState, doc("Where the hold stands now; a part leaves it open.", "settled")]
    booked_model: Annotated[
        ModelNameAnswer, doc("The model whose budgets and price counted, as in the books.", example_of(ModelNameAnswer))
    ]
    requested: Annotated[ModelNameAnswer, doc("The model as the reserve named it.", example_of(ModelNameAnswer))]
    served: Annotated[
        ModelNameAnswer, doc("The model as the settle named it; if it named none, as in the books.", _SERVED)
    ]
    cost: Annotated[
        str,
        doc(
            "Cost of the call in dollars, to the nano-dollar; of a part, what it adds to that of those before, perhaps "
            "less than nothing.",
            "0.006900000",
        ),
    ]
    tokens: Annotated[int, doc("Tokens of the call, input and output.", 1_440)]
    overrun: Annotated[bool, doc("True if the call used more than its hold. It is booked in full.", False)]
    late: Annotated[bool, doc("True if the hold had expired. The call is booked in full.", False)]
    unpriced: Annotated[
        bool,
        doc(
            "True if no price is known for the model, its service tier or one of `others`: what has none costs what "
            "the hold was priced at, else what the tenant's stand-in price says, else nothing; a service tier costs "
            "the standard rates.",
            False,
        ),
    ]
    clamped: Annotated[bool, doc("True if the usage contradicted itself and was cut to what is possible.", False)]
    booked: Booked
    repetition: FoundRepetition
    earlier_event_id: EarlierEvent
    part: Annotated[bool, doc("True if this was one part of many: the hold stays open.", False)]
    remaining: Annotated[Amounts | None, doc("After a part, what is still held; otherwise null.", HELD)]
    stop: Annotated[str | None, doc("Why no further call should be made; null if calls may go on.", "run_cancelled")]
    replayed: Replayed
    price_id: NotRequired[PriceEntry]
    list_cost: NotRequired[ListCost]
    others: NotRequired[
        Annotated[
            list[OtherUseAnswer],
            doc("What the call used of kinds that few calls have; left out if nothing.", [example_of(OtherUseAnswer)]),
        ]
    ]
    other_models: NotRequired[
        Annotated[
            list[OtherModelAnswer],
            doc(
                "What was booked of other models within the call, besides `cost` and `tokens`; left out if nothing.",
                [example_of(OtherModelAnswer)],
            ),
        ]
    ]


def settlement_answer(outcome: Settled) -> SettlementAnswer:
    """Return what was booked for a hold."""
    event, hold = outcome.event, outcome.reservation
    booked = ModelName(event.facts.provider, event.facts.model)
    remaining = None
    if event.part and hold is not None:
        ended = hold.state is not HoldState.HELD
        tokens, _, nanos, calls = (0, 0, 0, 0) if ended else hold.remaining
        remaining = amounts(tokens, nanos, calls)
    settled: SettlementAnswer = {
        "reservation_id": optional_id(event.reservation_id),
        "event_id": str(event.event_id),
        "state": hold.state if event.part and hold is not None else HoldState.SETTLED,
        "booked_model": _name(booked),
        "requested": _name((event.requested or booked) if hold is None else hold.requested),
        "served": _name(event.served or booked),
        "cost": format_money(event.cost_nanos),
        "tokens": event.usage.total_tokens,
        "overrun": event.overrun,
        "late": event.late,
        "unpriced": event.unpriced,
        "clamped": event.clamped,
        "booked": not event.is_duplicate,
        "repetition": found_repetition(event.repetition),
        "earlier_event_id": optional_id(event.earlier_event_id),
        "part": event.part,
        "remaining": remaining,
        "stop": outcome.stop,
        "replayed": outcome.replayed,
    }
    if event.price_id:
        settled["price_id"] = str(event.price_id)
    if event.list_cost_nanos is not None:
        settled["list_cost"] = format_money(event.list_cost_nanos)
    if event.others:
        settled["others"] = [other_answer(use) for use in event.others]
    if outcome.others:
        settled["other_models"] = [other_model_answer(other) for other in outcome.others]
    return settled
