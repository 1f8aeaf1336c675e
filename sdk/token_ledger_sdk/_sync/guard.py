# Generated from _async by scripts/generate_sync.py: edit that, and run it.
"""Admits calls of providers: whose they are, how much output they may have, and the hold for it."""

from __future__ import annotations

from ..adapters.batch_results import ResultEvents
from ..errors import BudgetExceeded
from ..guard.ask import Ask
from ..guard.context import CallContext, current_context
from ..guard.output_limits import OutputLimit, fitting, limit_of_model, limit_on_wire
from ..unavailable import OnUnavailable
from .guarded_call import GuardedCall, covering_call
from .hold import Hold
from .known_models import KnownModels
from .lease_pool import LeasePool
from .leased_call import LeasedCall
from .results_booking import ResultsBooking
from .sender import Sender

_MOST_TRIES = 4


class Guard:
    """What stands before the calls of one wrapped client, or of one adapter.

    `defaults` are what was said when it was made; a context of the calling block counts before them, and `run_id`
    before both. Without `limit_output`, a call without a limit of its own that does not fit is denied, and not cut.
    `lease_calls` is for how many calls leases are, which calls of the same kind share; with 0, each has its own hold.
    """

    def __init__(
        self,
        sender: Sender,
        models: KnownModels,
        pool: LeasePool,
        defaults: CallContext,
        *,
        run_id: str | None = None,
        limit_output: bool = True,
        lease_calls: int | None = None,
        on_unavailable: OnUnavailable | None = None,
    ) -> None:
        self._sender = sender
        self._models = models
        self._pool = pool
        self._lease_calls = lease_calls
        self._defaults = defaults
        self._run_id = run_id
        self._limit_output = limit_output
        self._on_unavailable = on_unavailable

    def context(self) -> CallContext:
        """Return whose a call is that is made here."""
        said = current_context().within(self._defaults).pinned_to(self._run_id)
        return said.tagged(self._sender.stages.tagged(said.run_id, said.tags))

    def admit(self, ask: Ask) -> GuardedCall:
        """Hold what a call may cost; raises BudgetExceeded, with what would fit, and all that a reserve raises.

        A call that an adapter around the client holds already is that one.
        """
        covering = covering_call(ask)
        if covering is not None:
            return covering
        context, ask = self.context(), ask.corrected()
        limit = self._limit_of(ask)
        hold = self._hold(ask, context, limit)
        return GuardedCall(hold, ask, output_limit=limit_on_wire(ask, limit, hold.max_output_tokens))

    def watch_results(self, provider: str, batch: str) -> ResultsBooking:
        """Return what books the results of a batch while they are read; raises ConfigurationError without an owner."""
        return ResultsBooking(self._sender, ResultEvents(self.context(), provider, batch))

    def _limit_of(self, ask: Ask) -> OutputLimit:
        if not ask.has_output:
            return OutputLimit(0, is_callers=True)
        if ask.output_limit is not None:
            return OutputLimit(ask.output_limit, is_callers=True)
        return limit_of_model(ask, self._models.find(ask.provider, ask.model))

    def _hold(self, ask: Ask, context: CallContext, limit: OutputLimit) -> Hold | LeasedCall:
        most = limit.tokens * ask.choices
        for _ in range(_MOST_TRIES):
            try:
                return self._reserve(ask, context, most)
            except BudgetExceeded as denial:
                fits = fitting(ask, denial.fits) if self._limit_output and not limit.is_callers else None
                if fits is None or fits >= most:
                    raise
                most = fits
        return self._reserve(ask, context, most)

    def _reserve(self, ask: Ask, context: CallContext, max_output_tokens: int) -> Hold | LeasedCall:
        call = ask.call(context, max_output_tokens=max_output_tokens)
        terms = context.scope(), self._lease_calls, self._on_unavailable
        hold = self._pool.reserve(call, *terms)
        if hold.provider == ask.provider or "apply" not in call:
            return hold
        # A stand-in of another provider, which this client can't call: ask for the model itself.
        hold.release(reason="the client can't call this provider")
        del call["apply"]
        return self._pool.reserve(call, *terms)
