# Generated from _async by scripts/generate_sync.py: edit that, and run it.
"""What a hold and a call on a lease have in common: permission for one LLM call."""

from __future__ import annotations

from abc import abstractmethod
from types import TracebackType
from typing import Self, Unpack

from ..directives import Directive, Refusal
from ..guard.run_stops import RunStops
from ..providers import Usage
from ..waiting_sync import InterruptionSync
from ..wire.calls import Actual
from ..wire.reservations import Grant
from .block import Block


class Permission(Block):
    """Permission for one LLM call; leaving its block always ends it.

    Leaving the block without a settle releases what was held only if the provider did not run: after `not_sent()`, or
    when an exception leaves the block that proves it, such as a ConnectError or an error with status 429. Otherwise
    what was held is booked as an estimate. So keep only the provider call and its settle inside the block.
    """

    def __init__(self, service_tier: str | None) -> None:
        self._service_tier = service_tier
        self._ended = False
        self._not_sent = False
        self._interruption: InterruptionSync | None = None

    @property
    @abstractmethod
    def _stops(self) -> RunStops:
        """What was heard of runs."""

    def begin(self) -> None:
        """Let the task that makes the call be cancelled with its run, as long as the call goes on."""
        run_id = self._grant.run_id
        interruption = InterruptionSync()
        if run_id is not None and interruption.is_possible:
            self._interruption = interruption
            self._stops.enter(run_id, interruption, is_block=False)

    def end(self) -> None:
        """Note that the call goes on no more."""
        if self._interruption is not None:
            self._interruption.over()
            self._stops.leave(self._interruption)

    def go_on(self) -> None:
        """Raise RunCancelled if the run of the call was heard to be cancelled."""
        self._stops.check(self._grant.run_id)

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.end()
        super().__exit__(error_type, error, traceback)

    @property
    @abstractmethod
    def _grant(self) -> Grant:
        """What the service granted."""

    @property
    def provider(self) -> str:
        """The provider to call."""
        return self._grant.provider

    @property
    def model(self) -> str:
        """The model to call; another one than asked for only if a downgrade is switched on."""
        return self._grant.model

    @property
    def directive(self) -> Directive:
        """How to make the call: model, output limit, compression, and why."""
        return self._grant.directive

    @property
    def max_output_tokens(self) -> int:
        """The most output tokens to ask the provider for."""
        return self.most.output_tokens

    @property
    @abstractmethod
    def most(self) -> Usage:
        """The most that this call may use."""

    @property
    def warnings(self) -> tuple[Refusal, ...]:
        """Soft and shadow limits that had no room."""
        return self._grant.warnings

    @property
    def without_price(self) -> tuple[str, ...]:
        """What was announced and has no price of its model: other kinds, or "service_tier"."""
        return self._grant.without_price

    @abstractmethod
    def settle_soon(self, response: object, **actual: Unpack[Actual]) -> None:
        """Book what the call used together with what is sent next; raises UsageMissing."""

    def settle_estimate_soon(self, usage: Usage | None = None, **actual: Unpack[Actual]) -> None:
        """Book an estimate, marked as one, together with what is sent next; without a usage, the most it may use."""
        most, said = self._estimated(usage, actual)
        self.settle_soon(most, **said)

    def _estimated(self, usage: Usage | None, actual: Actual) -> tuple[Usage, Actual]:
        """Return what is booked as an estimate, and what is said of it."""
        actual["estimated"] = True
        if self._service_tier is not None:
            actual.setdefault("service_tier", self._service_tier)
        return self.most if usage is None else usage, actual

    def not_sent(self) -> None:
        """Declare that the provider was not called, so that leaving the block releases what was held."""
        self._not_sent = True
