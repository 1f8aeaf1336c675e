"""The model of responses that are reported more than once: what is found of a call under its response id."""

from datetime import datetime, timedelta
from typing import Any

from token_ledger.core.batch.commands import Record, Settle


class DuplicateModel:
    """What was booked of one tenant, looked through from its beginning for every call."""

    now: datetime
    events: list[dict[str, Any]]
    renamed: dict[str, str]

    def say_repetition(
        self, event: dict[str, Any], command: Settle | Record, *, whole: bool, on_hold: bool = True
    ) -> None:
        """Say in an event what was found under its response id; a duplicate loses all that it would have booked."""
        event |= {"response": command.response_id, "repetition": None, "earlier": None}
        if not whole or command.response_id is None:
            return
        event["repetition"], earlier = self._found(event, on_hold and isinstance(command, Settle))
        if earlier is not None:
            event["earlier"] = earlier["id"]
        if event["repetition"] == "duplicate":
            self.take_out(event, event["earlier"])

    @staticmethod
    def take_out(event: dict[str, Any], earlier: int) -> None:
        """Make an event a duplicate, which books nothing."""
        nothing = dict.fromkeys(event["usage"], 0)
        event |= {"usage": nothing, "tokens": 0, "uncached": 0, "cost": 0, "clamped": False}
        event["unpriced"] = event["unknown"]
        event |= {"repetition": "duplicate", "earlier": earlier}

    def _found(self, event: dict[str, Any], has_hold: bool) -> tuple[str, dict[str, Any] | None]:
        if event["response"] == "":
            return "not_unique", None
        known = [
            each for each in self.events
            if "corrects" not in each and each["response"] == event["response"]
            and each["repetition"] in ("first", "other_usage", "replaces")
            and self.now - each["booked_at"] <= timedelta(days=35)
        ]  # fmt: skip
        if len(known) > 16:
            return "not_unique", None
        taken_back = {each["corrects"] for each in self.events if "corrects" in each}
        calls = [each for each in known if each["id"] not in taken_back and self._called(each) == self._called(event)]
        same = [each for each in calls if each["usage"] == event["usage"]]
        if not calls:
            return "first", None
        if not same:
            return "other_usage", calls[0]
        return ("replaces" if has_hold and same[0]["hold"] is None else "duplicate"), same[0]

    def _called(self, event: dict[str, Any]) -> str:
        model: str = event["facts"]["model"]
        return self.renamed.get(model, model)
