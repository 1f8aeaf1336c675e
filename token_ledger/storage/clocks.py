"""Owns the clocks of a process, and whether the database's clock is believed.

The database's clock decides, but a clock can be wrong for a while, and what is booked then stays. So it is believed
only while the process's own clock agrees with it, and neither has jumped, which a clock that nobody can set tells. Two
clocks that have jumped together (those of one machine) are believed once they have agreed for a while.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

BOUND_SECONDS = 60.0
"""How far clocks may be apart, and a tenant's last instant ahead of the database's clock, before that is an error."""
NEAR_SECONDS = 1.0
"""How far a tenant's instant may be from the process's own clock without a question to the database about its clock."""
STEADY_SECONDS = 60.0
"""How long clocks must have agreed before a jump of both is believed, or a tenant's instant is put back."""

SLOW = 0.000_1
"""By how much of the time that passes a clock that nobody sets may go too fast."""

_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def steady_seconds() -> float:
    """Return seconds that nobody can set, and that go on while the machine sleeps."""
    return time.clock_gettime(_STEADY)


class ClockDoubted(Exception):
    """The database's clock or a tenant's is not believed now: nothing is booked. Try again later."""


@dataclass(frozen=True, slots=True)
class Asked:
    """When the database was asked for its time: by the clock of the process, and by the one that nobody sets."""

    wall: float
    steady: float


class ClockWatch:
    """What one process knows of the database's clock; `wall` and `steady` are the process's own clocks."""

    def __init__(
        self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = steady_seconds,
        *, bound_seconds: float = BOUND_SECONDS,
    ) -> None:  # fmt: skip
        self._wall = wall
        self._steady = steady
        self.bound_seconds = bound_seconds
        self._offset: float | None = None
        self._since = 0.0
        self._jumped: tuple[float, float] | None = None
        self._heard: tuple[datetime, float] | None = None

    def ask(self) -> Asked:
        """Note that the database is asked for its time now."""
        return Asked(self._wall(), self._steady())

    def check(self, theirs: datetime, asked: Asked) -> None:
        """Raise ClockDoubted unless the time that the database has answered with is believed."""
        now, database = self.ask(), theirs.timestamp()
        ahead = _outside(database, asked.wall, now.wall)
        if abs(ahead) > self.bound_seconds:
            raise ClockDoubted(
                f"the database's clock is {span(ahead)} {_side(ahead)} this process's: nothing is booked until they"
                " agree; synchronize both (NTP), token-ledger doctor shows which one is wrong"
            )
        offset = database - now.steady
        if now.steady - asked.steady > self.bound_seconds / 4:
            return  # answered too slowly to tell
        if self._offset is None:
            self._offset, self._since = offset, now.steady
        elif abs(self._jump(self._offset, database, asked, now)) > self.bound_seconds:
            self._wait_until_steady(offset, database, asked, now)
        else:
            self._offset, self._jumped = offset, None

    def is_near(self, instant: datetime, asked: Asked) -> bool:
        """Tell whether an instant is right by the process's own clock, to a second."""
        return abs(_outside(instant.timestamp(), asked.wall, self._wall())) <= NEAR_SECONDS

    def hear(self, theirs: datetime) -> None:
        """Note what the database's clock was a moment ago, by which `propose` goes on."""
        self._heard = theirs, self._steady()

    def forget(self) -> None:
        """Propose nothing until the database's clock is heard again."""
        self._heard = None

    def propose(self) -> datetime | None:
        """Return an instant that the database's clock has reached, as far as was heard; None if nothing was.

        It lies behind by the way of the answer that was heard, and by SLOW of what has passed since.
        """
        if self._heard is None:
            return None
        theirs, at = self._heard
        return theirs + timedelta(seconds=(self._steady() - at) * (1 - SLOW))

    @property
    def is_steady(self) -> bool:
        """Whether the clocks have agreed for STEADY_SECONDS, without a jump."""
        return self._offset is not None and self._steady() - self._since >= STEADY_SECONDS

    def _wait_until_steady(self, offset: float, database: float, asked: Asked, now: Asked) -> None:
        """Raise ClockDoubted until both clocks have gone on for a while after they have jumped together."""
        assert self._offset is not None
        jump = self._jump(self._offset, database, asked, now)
        if self._jumped is None or abs(self._jump(self._jumped[0], database, asked, now)) > self.bound_seconds:
            self._jumped = offset, now.steady
        since = self._jumped[1]
        if now.steady - since < STEADY_SECONDS:
            left = STEADY_SECONDS - (now.steady - since)
            raise ClockDoubted(
                f"the clocks of the database and of this process have jumped {span(jump)}"
                f" {'forward' if jump > 0 else 'back'}: they are believed if they agree for {left:.0f} s more"
            )
        self._offset, self._since, self._jumped = offset, since, None

    def _jump(self, offset: float, database: float, asked: Asked, now: Asked) -> float:
        """Return by how much the database's clock is not where it would be with this offset."""
        return _outside(database - offset, asked.steady, now.steady)


def _outside(value: float, low: float, high: float) -> float:
    """Return how far a value is outside of a span: above it, or, negative, below."""
    return max(0.0, value - high) + min(0.0, value - low)


def _side(ahead: float) -> str:
    return "ahead of" if ahead > 0 else "behind"


def span(seconds: float) -> str:
    """Return a length of time for people, whichever way it goes."""
    for name, length in (("days", 86_400), ("hours", 3_600), ("minutes", 60)):
        if abs(seconds) >= 2 * length:
            return f"{abs(seconds) / length:.0f} {name}"
    return f"{abs(seconds):.0f} s"
