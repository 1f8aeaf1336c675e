"""Rules for every tracked file and the build files: no path of one machine, everything pinned, one entry point."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.packaging.installation import REPOSITORY

REGISTRIES = (
    "pypi", "pythonhosted", "npmjs", "yarnpkg", "anaconda", "conda-forge", "rubygems", "artifactory", "jfrog",
    "sonatype", "gcr", "ghcr", "quay", "docker",
)  # fmt: skip
REGISTRY_HOST = re.compile(rf"\b[\w.-]*\b({'|'.join(REGISTRIES)})\.(org|com|io|net)\b", re.IGNORECASE)
HOME = re.compile(r"(?<![\w.])/(home|root|Users)/\w")
LOCK_FILES = re.compile(r"(^|/)([\w.-]*\.lock|pylock[\w.-]*\.toml|package-lock\.json|[\w-]+-lock\.ya?ml)$")
PINNED = re.compile(r"^[A-Za-z0-9._-]+==[\w.!+]+( ; [^\\]+)?( --hash=sha256:[0-9a-f]{64})+$")
TARGET = re.compile(r"^([a-z][a-z-]*):(?!=)", re.MULTILINE)


def tracked() -> list[str]:
    """Return the files that git tracks, and those that a commit of everything would add."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, check=True).stdout.decode()
    return [name for name in listed.split("\0") if name and (REPOSITORY / name).is_file()]


def texts() -> dict[str, str]:
    """Return the tracked files that are text."""
    contents = {name: (REPOSITORY / name).read_bytes() for name in tracked()}
    return {name: content.decode() for name, content in contents.items() if b"\0" not in content}


def test_no_tracked_file_names_a_registry() -> None:
    found = {name: match[0] for name, text in texts().items() if (match := REGISTRY_HOST.search(text))}
    assert found == {}


def test_no_tracked_file_names_a_path_of_this_machine() -> None:
    own = (f"{REPOSITORY}/", f"{Path.home()}/")
    contents = texts()
    assert len(contents) > 100
    found = {name: match[0] for name, text in contents.items() if (match := HOME.search(text))}
    found |= {name: place for name, text in contents.items() for place in own if place in text}
    assert found == {}


@pytest.mark.parametrize("name", ["pypi.", "files.pythonhosted.", "registry.npmjs.", "conda.anaconda.", "ghcr."])
def test_a_registry_would_be_noticed(name: str) -> None:
    assert REGISTRY_HOST.search(f"--index-url https://{name}org/simple")
    assert REGISTRY_HOST.search(f"FROM {name}io/thing")


@pytest.mark.parametrize("text", ["cd {}home/ada/ledger", "'{}Users/ada'", "PATH={}root/bin:", '"{}root/x"'])
def test_a_home_would_be_noticed(text: str) -> None:
    assert HOME.search(text.format("/"))


def test_there_is_no_lock_file() -> None:
    assert [name for name in tracked() if LOCK_FILES.search(name)] == []
    for name in ("uv.lock", "sdk/poetry.lock", "pylock.toml", "pylock.dev.toml", "package-lock.json", "pnpm-lock.yaml"):
        assert LOCK_FILES.search(name)


@pytest.mark.parametrize("name", ["uv", "service", "dev", "litellm"])
def test_every_requirement_is_pinned_with_hashes_and_no_url(name: str) -> None:
    text = (REPOSITORY / "requirements" / f"{name}.txt").read_text()
    lines = re.sub(r" \\\n\s*", " ", text).splitlines()
    assert lines
    assert [line for line in lines if not PINNED.match(line)] == []
    assert "://" not in text


@pytest.mark.parametrize(
    ("name", "projects"), [("service", ["pyproject.toml"]), ("dev", ["pyproject.toml", "sdk/pyproject.toml"])]
)
def test_every_dependency_is_among_the_pins(name: str, projects: list[str]) -> None:
    pins = set(re.findall(r"^([\w.-]+)==", (REPOSITORY / "requirements" / f"{name}.txt").read_text(), re.MULTILINE))
    for project in projects:
        document = tomllib.loads((REPOSITORY / project).read_text())
        needed = list(document["project"]["dependencies"])
        if name == "dev":
            needed += document.get("dependency-groups", {}).get("dev", [])
            # What can't be installed beside the others has pins of its own.
            extras = document["project"].get("optional-dependencies", {})
            needed += [text for extra, texts in extras.items() for text in texts if extra != "litellm"]
            needed += document["build-system"]["requires"]
        found = {canonical(Requirement(text).name) for text in needed}
        assert found - {"token-ledger-sdk"} <= {canonical(pin) for pin in pins}  # the SDK is built from this checkout


def test_what_litellm_is_tested_with_is_among_its_pins() -> None:
    pins = (REPOSITORY / "requirements" / "litellm.txt").read_text()
    groups = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["dependency-groups"]
    extras = tomllib.loads((REPOSITORY / "sdk" / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    needed = {canonical(Requirement(text).name) for text in (*groups["litellm"], *extras["litellm"], *extras["openai"])}
    assert needed <= {canonical(pin) for pin in re.findall(r"^([\w.-]+)==", pins, re.MULTILINE)}


def test_make_alone_prints_every_target() -> None:
    targets = set(TARGET.findall((REPOSITORY / "Makefile").read_text()))
    assert {"help", "setup", "check", "test", "test-system"} <= targets
    printed = subprocess.run(["make"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    described = dict(re.findall(r"^  make ([a-z-]+) +(\S.*)$", printed, re.MULTILINE))
    assert set(described) == targets
    again = subprocess.run(["make", "help"], cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    assert again == printed


def test_ci_runs_what_people_run() -> None:
    script = REPOSITORY / ".ci" / "run"
    assert os.access(script, os.X_OK)
    lines = [line for line in script.read_text().splitlines() if line and not line.startswith("#")]
    assert script.read_text().startswith("#!")
    assert lines[0] == "set -euo pipefail"
    assert lines[-1] == "exec make check test test-system"
    mode = subprocess.run(
        ["git", "ls-files", "--stage", ".ci/run"], cwd=REPOSITORY, capture_output=True, text=True, check=True
    ).stdout
    assert mode.startswith("100755 ")


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
