"""Runs what a page shows: its ```sh blocks in one shell, its ```python blocks each by itself.

A block with a title is a file of that name. A request is expected to succeed unless a comment at its end names the
status: `tl $URL/v1/stop -d '{}'  # 422`. Blocks of other kinds (```text, ```json, ```yaml) are only shown.
"""

import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
TOOLS = Path(__file__).parent
SECONDS = 600

_BLOCK = re.compile(r"^```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_REQUEST = re.compile(r"(?=\btl (?:-X \w+ )?\"?\$URL)")
_STATUS = re.compile(r"# (\d{3})\b")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block of a page."""

    language: str
    title: str | None
    text: str


def blocks(page: str) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    return [Block(language, title or None, body) for language, title, body in _BLOCK.findall(text)]


def expected_statuses(text: str) -> list[str]:
    """Return what the requests of a block are to be answered with: "2xx", or the status that the page names."""
    return [status[1] if (status := _STATUS.search(request)) else "2xx" for request in _REQUEST.split(text)[1:]]


def run_page(page: str, tenant: str, directory: Path, variables: Mapping[str, str]) -> None:
    """Run the blocks of a page in a directory, for a tenant of its own; AssertionError says which went wrong.

    Pages call their tenant acme.
    """
    statuses = directory / "statuses"
    statuses.touch()
    script, expected = [f". {TOOLS / 'prelude.sh'}"], []
    for number, block in enumerate(blocks(page), start=1):
        text = block.text.replace("acme", tenant)
        if block.title is not None:
            (directory / block.title).write_text(text)
        elif block.language == "sh":
            script.append(f"echo '--- block {number}' >&2\n{text}")
            expected += expected_statuses(text)
        elif block.language == "python":
            program = directory / f"block_{number}.py"
            program.write_text(f"from tests.documents.provider import client, prompts\n\n{text}")
            script.append(f"echo '--- block {number}' >&2\n{sys.executable} {program}")
    tools = {"PYTHON": sys.executable, "PYTHONPATH": str(REPOSITORY), "STATUSES": str(statuses), "TOOLS": str(TOOLS)}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(script)],
        cwd=directory, env={**variables, **tools}, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    answered = statuses.read_text().split()
    said = f"{page}\n{done.stdout}\n{done.stderr}\nanswered {answered}, expected {expected}"
    assert done.returncode == 0, said
    assert len(answered) == len(expected), said
    assert all(map(_is_expected, answered, expected)), said


def _is_expected(answered: str, expected: str) -> bool:
    return answered == expected or (expected == "2xx" and answered.startswith("2"))
