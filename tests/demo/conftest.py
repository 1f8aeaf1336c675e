"""The demo's modules. They are a program's, not a package's: they find each other beside the program's file."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.demo.programs import EXAMPLES


@pytest.fixture(scope="session")
def examples() -> Iterator[Path]:
    sys.path.insert(0, str(EXAMPLES))
    yield EXAMPLES
    sys.path.remove(str(EXAMPLES))


@pytest.fixture(scope="session")
def traffic(examples: Path) -> ModuleType:
    return importlib.import_module("traffic")


@pytest.fixture(scope="session")
def pricing(examples: Path) -> ModuleType:
    return importlib.import_module("pricing")


@pytest.fixture(scope="session")
def replay(examples: Path) -> ModuleType:
    return importlib.import_module("replay")


@pytest.fixture(scope="session")
def report(examples: Path) -> ModuleType:
    return importlib.import_module("report")


@pytest.fixture(scope="session")
def policy(examples: Path) -> ModuleType:
    return importlib.import_module("policy")
