"""Builds the two wheels and installs them, without a network, where the checkout can't be imported."""

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).parents[2]


@dataclass(frozen=True, slots=True)
class Wheels:
    """The wheels of the service and of the SDK."""

    service: Path
    sdk: Path


def environment() -> dict[str, str]:
    """Return this environment without variables that point Python at the checkout, or the service at its data."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "TOKEN_LEDGER_"))}
    # Build backends that are programs are in the directory of this interpreter.
    return kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{kept.get('PATH', '')}"}


def build_wheels(into: Path) -> Wheels:
    """Build both with the installed build backends."""
    for name in ("service", "sdk"):
        source = REPOSITORY if name == "service" else REPOSITORY / "sdk"
        run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(into / name), str(source))
    [service], [sdk] = (into / "service").iterdir(), (into / "sdk").iterdir()
    return Wheels(service, sdk)


def install(wheels: Wheels, directory: Path) -> Path:
    """Make an empty environment with the wheels in it and return its interpreter.

    A .pth file adds the dependencies of the running environment. Python ignores .pth files in directories added that
    way, so the checkout, which is installed in editable mode there, is not importable.
    """
    venv.create(directory, with_pip=False)
    python = directory / "bin" / "python"
    found = [str(wheel) for wheel in (wheels.service, wheels.sdk)]
    run(sys.executable, "-m", "pip", "--python", str(python), "install", "--no-index", "--no-deps", "--quiet", *found)
    site_packages = Path(run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (site_packages / "dependencies.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return python


def run(*command: str, cwd: Path | None = None, status: int = 0, variables: Mapping[str, str] | None = None) -> str:
    """Run a program and return what it printed; its exit status must be `status`."""
    given = environment() | dict(variables or {})
    done = subprocess.run(command, cwd=cwd, env=given, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == status, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout
