"""Runs the demo as a person does: as a program of its own, whose temporary files go where a test can look."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "sdk" / "examples"
PROGRAM = [sys.executable, str(EXAMPLES / "real_traffic.py")]
SECONDS = 120


def environment(temporary: Path) -> dict[str, str]:
    """The environment of a demo; the database setting points nowhere, because the demo must not use it."""
    return {**os.environ, "TMPDIR": str(temporary), "TOKEN_LEDGER_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none"}


def run_demo(temporary: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the demo to its end."""
    return subprocess.run(
        [*PROGRAM, *arguments], env=environment(temporary), capture_output=True, text=True, timeout=SECONDS
    )


def start_demo(temporary: Path, *arguments: str) -> "subprocess.Popen[str]":
    """Start the demo and leave it to the caller; its output is unbuffered."""
    return subprocess.Popen(
        [*PROGRAM, *arguments],
        env={**environment(temporary), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # What a shell starts in the background ignores the interrupt, and hands that down to whatever it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def left_behind(temporary: Path) -> list[str]:
    """Directories of demos, and processes that work in them."""
    processes = subprocess.run(
        ["ps", "-ww", "-eo", "args"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [str(path) for path in temporary.glob("token-ledger-demo-*")] + [
        process for process in processes if str(temporary) in process
    ]


def found(pattern: str, text: str) -> str:
    """The first group of a pattern that the text must have."""
    match = re.search(pattern, text)
    assert match is not None, f"no {pattern!r} in:\n{text}"
    return match[1]
