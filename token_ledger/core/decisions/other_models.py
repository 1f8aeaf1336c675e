"""Decides on other models within a call, such as an advisor that a provider asks: each has an event of its own.

It counts no call and has no part of the hold, which is for the model of the call; so it is booked on the accounts of a
call without a hold, at the instant of the call and in its name. What it has no price for costs what it would by the
price of the hold, or what stands in. It has the response id of the call, by which another report of it is found.
"""

from collections.abc import Callable, Mapping

from token_ledger.core.batch.books import Books
from token_ledger.core.batch.call_facts import other_name
from token_ledger.core.batch.commands import OtherModel, Settle, other_model_keys
from token_ledger.core.decisions.duplicates import find_earlier
from token_ledger.core.decisions.list_costs import list_cost
from token_ledger.core.model.call import CallFacts
from token_ledger.core.model.charge import Assumed, charge
from token_ledger.core.model.details import Kind
from token_ledger.core.model.event import NO_PRICE, UsageEvent
from token_ledger.core.model.price import ModelName, Price
from token_ledger.core.model.repetition import Repetition
from token_ledger.core.model.reservation import Reservation
from token_ledger.core.model.usage import Usage, clamp

Found = tuple[Repetition | None, int | None]
"""What a response id says of a model's use, and the event that it leads to."""
PriceOf = Callable[[ModelName, Usage, str | None], tuple[Price | None, bool, Assumed]]
"""Returns the price of what a model used within the call, whether it is that of the model, and what is assumed."""


def events_of_other_models(
    books: Books, command: Settle, reservation: Reservation, call: UsageEvent, price_of: PriceOf
) -> tuple[UsageEvent, ...]:
    """Return the events of the other models within a call, which is to be booked with them."""
    keys = other_model_keys(call.event_id, len(command.other_models))
    found = {ModelName(call.facts.provider, call.facts.model): (call.repetition, call.earlier_event_id)}
    events = []
    for other, key in zip(command.other_models, keys, strict=True):
        named = other_name(command, other, reservation)
        event = _event(books, command, other, named, call, price_of, key, found)
        found.setdefault(ModelName(event.facts.provider, event.facts.model), (event.repetition, event.earlier_event_id))
        events.append(event)
    return tuple(events)


def _event(
    books: Books, command: Settle, other: OtherModel, named: ModelName, call: UsageEvent, price_of: PriceOf,
    key: tuple[str, str], found: Mapping[ModelName, Found],
) -> UsageEvent:  # fmt: skip
    name = books.use_model_name(*named)
    facts = call.facts._replace(provider=name.provider, model=name.model)
    usage, clamped = clamp(other.usage)
    repetition, earlier_id = found.get(name) or _find(books, command.response_id, facts, usage)
    if repetition is Repetition.DUPLICATE:
        usage, clamped = Usage(), False
    elif name in found:
        # A second use of a model in one call is not known by the response: it goes with the first.
        repetition, earlier_id = None, None
    price, is_known, assumed = price_of(named, usage, other.service_tier)
    cost, uses, is_priced = charge(price, usage, other.service_tier, 0, call.posted_at, assumed)
    list_price_id, list_nanos = list_cost(books, price, named, usage, other.service_tier, 0, call.posted_at)
    run = None if facts.run_id is None else books.loaded.runs.get(facts.run_id)
    event_id = books.new_id()
    return UsageEvent(
        event_id=event_id,
        reservation_id=None,
        facts=facts,
        usage=usage.without_others,
        cost_nanos=cost,
        price_id=NO_PRICE if price is None else price.price_id,
        path=[account.account_id for account in books.accounts_for(facts, run, call.posted_at)],
        occurred_at=call.occurred_at,
        posted_at=call.posted_at,
        estimated=call.estimated,
        unpriced=not (is_known and is_priced),
        clamped=clamped,
        failed=call.failed,
        response_id=command.response_id,
        calls=0,
        requested=None if name == named else named,
        others=uses,
        service_tier=other.service_tier,
        discount_id=None if price is None else price.discount_id,
        list_price_id=list_price_id,
        list_cost_nanos=list_nanos,
        repetition=repetition,
        earlier_event_id=earlier_id,
        kind=Kind.OTHER_MODEL,
        source=key[0],
        key=key[1],
        fingerprint=command.fingerprint,
    )


def _find(books: Books, response_id: str | None, facts: CallFacts, usage: Usage) -> Found:
    if response_id is None:
        return None, None
    repetition, earlier = find_earlier(books, response_id, facts, usage, on_hold=False)
    return repetition, None if earlier is None else earlier.event_id
