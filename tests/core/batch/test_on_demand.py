"""Fields that are made on demand: each when it is first used, for one object alone."""

from token_ledger.core.batch.loaded import Loaded
from token_ledger.core.batch.writes import Writes


def test_a_field_is_made_when_it_is_first_used() -> None:
    writes = Writes()
    assert vars(writes) == {}
    writes.stops.append("why")
    assert vars(writes) == {"stops": ["why"]}
    assert Writes().stops == []


def test_what_is_given_is_not_made() -> None:
    runs = {7: object()}
    loaded = Loaded(runs=runs)
    assert loaded.runs is runs
