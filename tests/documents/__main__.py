"""Writes the parts of the documents that follow from code, between marks such as `<!-- hold: written by … -->`.

`python -m tests.documents` writes them, `--check` says whether they are up to date.
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.documents import commands, errors, folders, holds, metrics, routes, sdk, settings

REPOSITORY = Path(__file__).parents[2]
Parts = Mapping[str, Callable[[], str]]

PAGES: Mapping[str, Parts] = {
    "ARCHITECTURE.md": {"arrows": folders.arrows, "hold": holds.picture},
    "docs/concepts/holds.md": {"hold": holds.picture},
    "docs/reference/cli.md": {
        "commands": commands.commands,
        "exit statuses": commands.exit_statuses,
        "database": commands.database,
    },
    "docs/reference/errors.md": {"codes": errors.codes, "refusals": errors.refusals},
    "docs/reference/http.md": {"routes": routes.routes},
    "docs/reference/metrics.md": {"metrics": metrics.metrics, "questions": metrics.questions},
    "docs/reference/sdk.md": {
        "clients": sdk.clients,
        "errors": sdk.error_tree,
        "functions": sdk.functions,
        "values": sdk.values,
    },
    "docs/reference/settings.md": {"settings": settings.settings},
}
"""Which parts of which page are written here."""


def written(page: str, text: str) -> str:
    """Return the text of a page with its parts between marks written anew; ValueError where marks are missing."""
    for name, make in PAGES[page].items():
        begin, end = f"<!-- {name}: written by tests/documents -->", f"<!-- end of {name} -->"
        before, _, rest = text.partition(begin)
        _, found, after = rest.partition(end)
        if not found:
            raise ValueError(f"{page} has no part between {begin} and {end}")
        text = f"{before}{begin}\n\n{make()}\n\n{end}{after}"
    return text


def main() -> int:
    """Write the pages, or check them."""
    stale = [page for page in PAGES if written(page, text := (REPOSITORY / page).read_text(encoding="utf-8")) != text]
    if "--check" in sys.argv:
        if stale:
            print(f"not up to date: {', '.join(stale)}; run python -m tests.documents", file=sys.stderr)
        return 1 if stale else 0
    for page in stale:
        path = REPOSITORY / page
        path.write_text(written(page, path.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
