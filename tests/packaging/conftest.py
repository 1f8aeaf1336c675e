"""Builds and installs the wheels once per session."""

from pathlib import Path

import pytest

from tests.packaging.installation import Wheels, build_wheels, install


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Wheels:
    return build_wheels(tmp_path_factory.mktemp("wheels"))


@pytest.fixture(scope="session")
def python(wheels: Wheels, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment in which the wheels are installed."""
    return install(wheels, tmp_path_factory.mktemp("installed") / "venv")
