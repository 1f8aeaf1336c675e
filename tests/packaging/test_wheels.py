"""The wheels hold the whole package, its migrations, type marker and metadata, and nothing else."""

import ast
import sys
import tomllib
from email.message import Message
from email.parser import Parser
from importlib.metadata import packages_distributions, requires
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import token_ledger
from tests.packaging.installation import REPOSITORY, Wheels


def test_the_service_wheel_holds_the_package_and_its_migrations_and_nothing_else(wheels: Wheels) -> None:
    expected = files_of("token_ledger") | {f"token_ledger/_{name}" for name in files_of("alembic")}
    assert contents(wheels.service) == expected
    assert any(name.startswith("token_ledger/_alembic/versions/") for name in expected)
    assert any(name.startswith("token_ledger/_alembic/first_schema/") for name in expected)
    assert {"token_ledger/_alembic/env.py", "token_ledger/py.typed"} <= expected


def test_the_sdk_wheel_holds_the_package_and_nothing_else(wheels: Wheels) -> None:
    assert contents(wheels.sdk) == files_of("sdk/token_ledger_sdk", within="sdk")
    assert {"token_ledger_sdk/py.typed", "token_ledger_sdk/_sync/client.py"} <= contents(wheels.sdk)


@pytest.mark.parametrize("which", ["service", "sdk"])
def test_no_test_and_no_stray_file_is_inside(which: str, wheels: Wheels) -> None:
    for name in contents(getattr(wheels, which)):
        parts = Path(name).parts
        ours = [part for part in parts if part != "testing"]  # what the SDK has for tests of its users
        assert not any(part.startswith("test") or part in ("conftest.py", "__pycache__") for part in ours), name
        assert Path(name).suffix in {".py", ".sql", ".typed", ".mako", ".jinja"}, name


@pytest.mark.parametrize("which", ["service", "sdk"])
def test_metadata_says_what_pyproject_says(which: str, wheels: Wheels) -> None:
    directory = REPOSITORY if which == "service" else REPOSITORY / "sdk"
    project = tomllib.loads((directory / "pyproject.toml").read_text())["project"]
    found = metadata(getattr(wheels, which))
    assert found["Name"] == project["name"]
    assert found["Version"] == project["version"]
    assert found["Summary"] == project["description"]
    assert found["Requires-Python"] == project["requires-python"]
    assert found["License-Expression"] == project["license"]
    assert requirements(found.get_all("Requires-Dist", [])) == wanted(project)
    readme = (directory / project["readme"]).read_text()
    assert readme.strip()
    assert str(found.get_payload()).strip() == readme.strip()
    assert found["Description-Content-Type"].startswith("text/markdown")


def test_the_version_is_the_same_everywhere(wheels: Wheels) -> None:
    assert metadata(wheels.service)["Version"] == token_ledger.__version__
    assert metadata(wheels.sdk)["Version"] == token_ledger.__version__


def test_the_command_is_the_only_entry_point(wheels: Wheels) -> None:
    with ZipFile(wheels.service) as wheel:
        [name] = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
        text = wheel.read(name).decode()
    assert text.split() == ["[console_scripts]", "token-ledger", "=", "token_ledger.cli.main:main"]


def contents(wheel: Path) -> set[str]:
    """Return the files of a wheel, without its metadata."""
    with ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name and not name.endswith("/")}


def files_of(package: str, within: str = ".") -> set[str]:
    """Return the files of a package in the checkout."""
    root = REPOSITORY / within
    found = (path for path in (REPOSITORY / package).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(root).as_posix() for path in found}


def metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(archive.read(name).decode())


def requirements(texts: list[str]) -> set[str]:
    return {str(Requirement(text)) for text in texts}


def wanted(project: dict[str, Any]) -> set[str]:
    """Return the requirements of a project, those of its extras with their markers."""
    extras = project.get("optional-dependencies", {})
    optional = [f"{text}; extra == '{extra}'" for extra, texts in extras.items() for text in texts]
    return requirements([*project["dependencies"], *optional])


SDK_EXTRAS = {"tokens", "tools", "openai", "anthropic", "google", "langchain", "openai-agents", "pydantic-ai"}


@pytest.mark.parametrize(
    ("directory", "package", "optional"),
    [(".", "token_ledger", {"parquet"}), ("sdk", "token_ledger_sdk", SDK_EXTRAS)],
)
def test_everything_imported_is_installed_with_it(directory: str, package: str, optional: set[str]) -> None:
    """The tests' environment has more packages than a user installs, so it would hide a missing dependency."""
    project = tomllib.loads((REPOSITORY / directory / "pyproject.toml").read_text())["project"]
    extras = [text for extra in optional for text in project["optional-dependencies"][extra]]
    installed = installed_with([*project["dependencies"], *extras])
    # It is installed in editable mode, so no file of it says what it provides.
    distributions = {**packages_distributions(), "token_ledger_sdk": ["token-ledger-sdk"]}
    for path in (REPOSITORY / directory / package).rglob("*.py"):
        # A plug-in is loaded by what it is one of.
        there = {package, "pytest"} if path.name == "pytest_plugin.py" else {package}
        for module in imported(path) - sys.stdlib_module_names - there:
            providers = {canonicalize_name(name) for name in distributions[module]}
            assert providers & installed, f"{path.name} imports {module}, of {providers}"


def installed_with(texts: list[str]) -> set[str]:
    """Return every distribution that these requirements install, directly or indirectly."""
    found: set[tuple[str, frozenset[str]]] = set()
    waiting = [Requirement(text) for text in texts]
    while waiting:
        requirement = waiting.pop()
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in found or not applies(requirement, frozenset()):
            continue
        found.add((name, extras))
        needed = [Requirement(text) for text in requires(name) or ()]
        for further in needed:
            if applies(further, extras):
                further.marker = None
                waiting.append(further)
    return {name for name, _ in found}


def applies(requirement: Requirement, extras: frozenset[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in {"", *extras})


def imported(path: Path) -> set[str]:
    """Return the top-level modules that a file imports absolutely, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name.split(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(str(node.module).split(".")[0])
    return found
