"""The stage that each run is in: a tag that its calls carry. No I/O."""

from __future__ import annotations

from collections.abc import Mapping

TAG = "stage"
"""The name of the tag."""
MOST_TAGS = 8
"""How many tags a call may have."""


class RunStages:
    """What stage runs are in that are marked in this process."""

    def __init__(self) -> None:
        self._stages: dict[str, str] = {}

    def mark(self, run_id: str, stage: str | None) -> None:
        """Put a run into a stage, or into none; raises ValueError for a blank one."""
        if stage is None:
            self._stages.pop(run_id, None)
        elif not stage.strip():
            raise ValueError("the stage is blank: give a name, or None for no stage")
        else:
            self._stages[run_id] = stage

    def tagged(self, run_id: str | None, tags: Mapping[str, str]) -> Mapping[str, str]:
        """Return the tags of a call with its run's stage, unless it has one of its own or all the tags it may have."""
        stage = None if run_id is None else self._stages.get(run_id)
        if stage is None or TAG in tags or len(tags) >= MOST_TAGS:
            return tags
        return {**tags, TAG: stage}
