"""Reading providers' responses needs nothing but the standard library."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from importlib.util import resolve_name
from pathlib import Path

import token_ledger_sdk

PACKAGE = Path(token_ledger_sdk.__file__).parent


def imported_by(path: Path) -> Iterator[str]:
    """Name the modules that a file imports anywhere, also inside functions, with relative names resolved."""
    relative = path.relative_to(PACKAGE.parent).with_suffix("")
    package = ".".join(relative.parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def file_of(name: str) -> Path | None:
    """Find the file of a module of the SDK, or of the module that has this name as a member."""
    path = PACKAGE.parent.joinpath(*name.split("."))
    places = (
        path.with_suffix(".py"),
        path / "__init__.py",
        path.parent.with_suffix(".py"),
        path.parent / "__init__.py",
    )
    return next((place for place in places if place.exists()), None)


def test_providers_and_whatever_they_import_use_the_standard_library_only() -> None:
    waiting = sorted((PACKAGE / "providers").glob("*.py"))
    assert len(waiting) > 5
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for name in imported_by(path):
            top = name.split(".")[0]
            assert top == "token_ledger_sdk" or top in sys.stdlib_module_names, f"{path.name} imports {name}"
            if top == "token_ledger_sdk":
                found = file_of(name)
                assert found is not None, name
                waiting.append(found)
    others = {path.name for path in seen if path.parent.name != "providers"}
    assert others == {"errors.py", "directives.py"}, "providers stand on the error tree, and on nothing else"
