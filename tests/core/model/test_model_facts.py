"""Facts of models: what a tenant says stands in place of what is published, fact by fact."""

from datetime import date

import pytest

from token_ledger.core.model.model_facts import NOTHING_KNOWN, ModelFacts, facts_data, facts_from

PUBLISHED = ModelFacts(128_000, deprecated=False)
END = date(2027, 3, 1)


@pytest.mark.parametrize(
    ("own", "known"),
    [
        (NOTHING_KNOWN, PUBLISHED),
        (ModelFacts(64_000), ModelFacts(64_000, deprecated=False)),
        (ModelFacts(capabilities=()), ModelFacts(128_000, None, (), False)),
        (ModelFacts(deprecated=True), ModelFacts(128_000, deprecated=True)),
        (ModelFacts(end_of_life=END), ModelFacts(128_000, deprecated=True, end_of_life=END)),
        (ModelFacts(deprecated=False, end_of_life=END), ModelFacts(128_000, deprecated=False, end_of_life=END)),
    ],
)
def test_what_is_said_stands_in_place_of_what_is_published(own: ModelFacts, known: ModelFacts) -> None:
    assert own.over(PUBLISHED) == known


@pytest.mark.parametrize(
    "facts", [None, NOTHING_KNOWN, ModelFacts(1, 2, ("a", "b"), False, END), ModelFacts(capabilities=())]
)
def test_facts_are_read_back_as_they_were(facts: ModelFacts | None) -> None:
    assert facts_from(facts_data(facts)) == facts
