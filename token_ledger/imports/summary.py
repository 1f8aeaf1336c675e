"""Owns what became of the rows of an import, and what they cost per day and model; the counts add up to the rows."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from datetime import date, datetime
from typing import NamedTuple

from token_ledger.core.batch.outcomes import Outcome, Quarantined, Recorded
from token_ledger.core.model.event import UsageEvent
from token_ledger.core.model.window import FIRST_INSTANT, Calendar
from token_ledger.imports.rows import Place, SkippedRow, SkipReason
from token_ledger.imports.stated_costs import StatedCosts
from token_ledger.wire.problems import problem_of

MOST_EXAMPLES = 3
"""How many rows are shown of each reason why rows can't be booked."""


class UseKey(NamedTuple):
    """What the calls of an import are added up by: the tenant's day, and the model by its name in the books."""

    day: date
    provider: str
    model: str


@dataclass(slots=True)
class Use:
    """What the calls of one day and model add up to; `unpriced` is how many had no known price, or not for all."""

    calls: int = 0
    input_tokens: int = 0
    cache_read_tokens: int = 0
    output_tokens: int = 0
    cost_nanos: int = 0
    unpriced: int = 0

    def add(self, event: UsageEvent) -> None:
        """Add an event."""
        usage = event.usage
        self.calls += event.calls
        self.input_tokens += usage.input_tokens
        self.cache_read_tokens += usage.cache_read_tokens
        self.output_tokens += usage.output_tokens
        self.cost_nanos += event.cost_nanos
        self.unpriced += event.unpriced


@dataclass(slots=True)
class Summary:
    """What became of the rows that were read: each is counted once.

    `quarantined` and `refused` count by reason; of what was refused nothing is kept. `examples` are some of these rows.
    """

    calendar: Calendar
    booked: int = 0
    duplicates: int = 0
    corrected: int = 0
    """Calls of which an earlier import had booked less, because they were unfinished."""
    quarantined: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    skipped: Counter[SkipReason] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    uses: dict[UseKey, Use] = field(default_factory=dict)
    stated: StatedCosts = field(default_factory=StatedCosts)
    """What the files say that their rows cost, which is not booked."""
    _day: tuple[datetime, datetime, date] = field(init=False, default=(FIRST_INSTANT, FIRST_INSTANT, date.min))
    """The day that was found last, after the instants from which on and before which it surely is that."""

    @property
    def rows(self) -> int:
        """How many rows were read."""
        return (
            self.booked
            + self.duplicates
            + self.corrected
            + sum(counts.total() for counts in (self.quarantined, self.refused, self.skipped))
        )

    def skip(self, row: SkippedRow) -> None:
        """Count rows that are not booked."""
        self.skipped[row.reason] += row.rows

    def refuse(self, place: Place, code: str, detail: str) -> None:
        """Count a row of which nothing can be kept."""
        self.refused[code] += 1
        self._show(code, place, detail)

    def add(self, place: Place, outcomes: Sequence[Outcome]) -> None:
        """Count a row by what its commands came to, the one of the call itself first."""
        whole = outcomes[0]
        if isinstance(whole, Quarantined):
            self.quarantined[whole.code] += 1
            self._show(whole.code, place, whole.detail)
        elif not isinstance(whole, Recorded):
            problem = problem_of(whole)
            self.refuse(place, problem.code, problem.detail)
        elif whole.taken_back:
            self.corrected += 1
        elif whole.replayed or whole.event.is_duplicate:
            self.duplicates += 1
        else:
            self.booked += 1
        for outcome in outcomes:
            if isinstance(outcome, Recorded) and not outcome.replayed:
                for event in (*outcome.taken_back, outcome.event):
                    self._use(event)

    def _use(self, event: UsageEvent) -> None:
        if event.is_duplicate:
            return
        key = UseKey(self._day_of(event.posted_at), event.facts.provider, event.facts.model)
        use = self.uses.get(key)
        if use is None:
            use = self.uses[key] = Use()
        use.add(event)

    def _day_of(self, at: datetime) -> date:
        if not self._day[0] <= at < self._day[1]:
            since, before, _ = self.calendar.period_span(at)
            self._day = since, before, self.calendar.local_date(at)
        return self._day[2]

    def _show(self, code: str, place: Place, detail: str) -> None:
        shown = self.examples.setdefault(code, [])
        if len(shown) < MOST_EXAMPLES:
            shown.append(f"{place}: {detail}")


def totals(uses: Mapping[UseKey, Use]) -> Use:
    """Return the sum of all uses."""
    return Use(*map(sum, zip(*map(astuple, uses.values()), strict=True)))
