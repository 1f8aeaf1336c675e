"""Writes the parts of ARCHITECTURE.md that follow from code: the picture of a hold's life, the table of refusals.

`python -m tests.documents` writes them, `--check` says whether they are up to date.
"""

import sys
from pathlib import Path

from tests.core.refusals import REFUSALS
from token_ledger.api.problems import STATUS_OF
from token_ledger.core.reservation import TRANSITIONS, HoldState

PAGE = Path(__file__).parents[2] / "ARCHITECTURE.md"


def picture() -> str:
    """Draw the transition table: a line for every state, an arrow for every event that leads on."""
    width = max(len(state) for state in HoldState)
    lines = []
    for state in TRANSITIONS:
        events = TRANSITIONS[state]
        stays = [event.value for event, target in events.items() if target is state]
        leaves = [(event.value, target.value) for event, target in events.items() if target is not state]
        head = f"{state.value:<{width}}"
        note = f"  ↺ {', '.join(stays)}" if stays else ""
        lines.append(f"{head}{note}" if leaves or stays else f"{head}  ∎")
        for position, (event, target) in enumerate(leaves):
            corner = "└" if position == len(leaves) - 1 else "├"
            arrow = f"{event} " + "─" * (24 - len(event)) + "▶"
            lines.append(f"{'':<{width}}  {corner}── {arrow} {target}")
    return "\n".join(f"    {line}".rstrip() for line in lines)


def refusals() -> str:
    """Return the table of refusals, from the rows that the tests go through."""
    lines = ["| verb | refused when | code | status |", "|---|---|---|---|"]
    last = ""
    for row in REFUSALS:
        verb = row.verb if row.verb != last else ""
        kept = " (kept in quarantine)" if row.kind == "quarantined" else ""
        lines.append(f"| {verb} | {row.when}{kept} | `{row.code}` | {int(STATUS_OF[row.code])} |")
        last = row.verb
    return "\n".join(lines)


def written(text: str) -> str:
    """Return a page with its parts between markers written anew."""
    for name, part in (("hold", picture()), ("refusals", refusals())):
        begin, end = f"<!-- {name}: written by tests/documents -->", f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"{PAGE.name} has no part between {begin} and {end}")
        text = f"{before}{begin}\n\n{part}\n\n{end}{after}"
    return text


def main() -> int:
    """Write the page, or check it."""
    text = PAGE.read_text()
    if "--check" in sys.argv:
        if written(text) == text:
            return 0
        print(f"{PAGE.name} is not up to date: run python -m tests.documents", file=sys.stderr)
        return 1
    PAGE.write_text(written(text))
    return 0


if __name__ == "__main__":
    sys.exit(main())
