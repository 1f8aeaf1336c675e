"""What pyright, which many editors use, says of code of users; mypy reads the same files as part of `make check`."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TYPED = ROOT / "tests" / "client" / "typed_calls.py"
WRONG = """
from openai import OpenAI
from token_ledger_sdk import TokenLedger

ledger = TokenLedger()
ledger.wrap(OpenAI(), colour="red")
client: int = ledger.wrap(OpenAI())


@ledger.tool(timeout_seconds=5)
def read(path: str) -> bytes: ...


read(5)
size: int = read("x")
ledger.tool(colour="red")
"""


def errors_of(project: Path) -> list[dict[str, Any]]:
    """Return what pyright finds in a project, with the packages that the tests run with.

    Its strict mode finds only what client libraries do not say of their own functions.
    """
    (project / "pyrightconfig.json").write_text(json.dumps({"typeCheckingMode": "standard"}))
    checking = [sys.executable, "-m", "pyright", "--outputjson", "--pythonpath", sys.executable]
    done = subprocess.run([*checking, "--project", project], capture_output=True, text=True, check=False)
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == len([*project.glob("*.py")]), done.stdout
    return [each for each in report["generalDiagnostics"] if each["severity"] == "error"]


def test_pyright_finds_nothing_wrong_with_code_of_users(tmp_path: Path) -> None:
    for path in (TYPED, *(ROOT / "sdk" / "examples" / "one_line").glob("*_guarded.py")):
        shutil.copy(path, tmp_path)
    assert errors_of(tmp_path) == []


def test_pyright_finds_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text(WRONG)
    assert [(each["range"]["start"]["line"], each["rule"]) for each in errors_of(tmp_path)] == [
        (5, "reportCallIssue"),
        (6, "reportAssignmentType"),
        (13, "reportArgumentType"),
        (14, "reportAssignmentType"),
        (15, "reportCallIssue"),
    ]
