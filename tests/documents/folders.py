"""Draws the arrows between folders from the import contracts, and reads the picture of folders in ARCHITECTURE.md."""

import re
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PACKAGES = ("token_ledger", "sdk/token_ledger_sdk")

_LINE = re.compile(r"^    ( *)([\w/]+/|\w+\.py)(?: +\S|$)")


def arrows() -> str:
    """Return the layers of the service, top to bottom, as the contract "Arrows point down" has them."""
    contracts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [layers] = [contract["layers"] for contract in contracts if contract["name"] == "Arrows point down"]
    return "    " + " ─▶ ".join(layers)


def shown(page: str) -> set[str]:
    """Return the folders, and modules beside folders, that the picture of a page shows within the packages."""
    found: set[str] = set()
    parents: list[str] = []
    for line in page.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        depth, name = len(match[1]) // 2, match[2]
        parents[depth:] = [name]
        path = "".join(parents)
        if any(path.startswith(f"{package}/") for package in PACKAGES) and depth:
            found.add(path.rstrip("/"))
    return found


def there() -> set[str]:
    """Return the folders of the packages, two levels deep, and the modules beside the first level of the service."""
    folders = {
        str(init.parent.relative_to(REPOSITORY))
        for package in PACKAGES
        for pattern in ("*/__init__.py", "*/*/__init__.py")
        for init in (REPOSITORY / package).glob(pattern)
    }
    modules = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "token_ledger").glob("[a-z]*.py")}
    return folders | modules
