"""Both clients have the same members, the exports are the listed ones, and the package needs nothing else."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import token_ledger_sdk
from token_ledger_sdk._async.guard import AsyncGuard
from token_ledger_sdk._async.guarded_call import AsyncGuardedCall
from token_ledger_sdk._async.inner_clients import AsyncInnerClients
from token_ledger_sdk._async.wrapping import AsyncWrapper
from token_ledger_sdk._sync.guard import Guard
from token_ledger_sdk._sync.guarded_call import GuardedCall
from token_ledger_sdk._sync.inner_clients import InnerClients
from token_ledger_sdk._sync.wrapping import Wrapper

SDK = Path(__file__).resolve().parent.parent
PAIRS = [
    (token_ledger_sdk.AsyncTokenLedger, token_ledger_sdk.TokenLedger),
    (token_ledger_sdk.AsyncRun, token_ledger_sdk.Run),
    (token_ledger_sdk.AsyncHold, token_ledger_sdk.Hold),
    (token_ledger_sdk.AsyncLeases, token_ledger_sdk.Leases),
    (token_ledger_sdk.AsyncLeasedCall, token_ledger_sdk.LeasedCall),
    (AsyncWrapper, Wrapper),
    (AsyncInnerClients, InnerClients),
    (AsyncGuard, Guard),
    (AsyncGuardedCall, GuardedCall),
    (token_ledger_sdk.AsyncToolbox, token_ledger_sdk.Toolbox),
]
ASYNC_ONLY = {"pydantic_ai_capability"}
"""What is for libraries that have no synchronous form."""
REPLACED = {
    "httpx2.AsyncBaseTransport": "httpx2.BaseTransport",
    "WorkAsync": "WorkSync",
    "Callable[[float], Awaitable[None]]": "Callable[[float], None]",
    "sleep_async": "sleep_sync",
}
"""What the two take that is no class with two names."""
SYNC_NAMES = {"aclose": "close", "__aenter__": "__enter__", "__aexit__": "__exit__"}


def test_generating_again_changes_nothing() -> None:
    command = [sys.executable, str(SDK / "scripts" / "generate_sync.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "up to date\n")


def own_members(kind: type) -> dict[str, Any]:
    special = ("__init__", "__aenter__", "__aexit__", "__enter__", "__exit__")
    ours = [base for base in reversed(kind.__mro__) if base.__module__.startswith("token_ledger_sdk")]
    members = {name: value for base in ours for name, value in vars(base).items()}
    return {name: value for name, value in members.items() if name in special or not name.startswith("_")}


def signature_of(member: Any) -> str:
    function: Any = member.fget if isinstance(member, property) else member
    kind = "property " if isinstance(member, property) else ""
    # Names of types are strings here, so the asynchronous ones can be renamed like the generator does.
    text = re.sub(
        r"\bAsync(TokenLedger|LangChainHandler|LangChainMiddleware|LangChainTools|InnerClients|Run|Hold|LeasedCall|Leases|Toolbox|Flusher|Sender|KnownModels|LeasePool|Wrapper|GuardedCall|Guard|ResultsBooking)\b",
        r"\1",
        re.sub(r" at 0x\w+", "", str(inspect.signature(function))),
    )
    for asynchronous, synchronous in REPLACED.items():
        text = text.replace(asynchronous, synchronous)
    return kind + text


@pytest.mark.parametrize(("asynchronous", "synchronous"), PAIRS)
def test_both_clients_have_the_same_members(asynchronous: type, synchronous: type) -> None:
    members = {name: member for name, member in own_members(asynchronous).items() if name not in ASYNC_ONLY}
    expected = {SYNC_NAMES.get(name, name): signature_of(member) for name, member in members.items()}
    assert {name: signature_of(member) for name, member in own_members(synchronous).items()} == expected
    assert not any(inspect.iscoroutinefunction(member) for member in own_members(synchronous).values())


def test_what_waits_is_awaited() -> None:
    members = own_members(token_ledger_sdk.AsyncHold) | own_members(token_ledger_sdk.AsyncRun)
    waiting = {name for name, member in members.items() if inspect.iscoroutinefunction(member)}
    assert {"settle", "settle_estimate", "release", "reserve", "open", "read", "cancel", "close"} <= waiting
    assert "not_sent" not in waiting


def test_exports_are_listed_sorted_and_there() -> None:
    listed = token_ledger_sdk.__all__
    assert listed == sorted(listed)
    assert all(getattr(token_ledger_sdk, name) for name in listed)  # clients are loaded when they are asked for
    assert set(listed) <= set(dir(token_ledger_sdk))
    modules = {name for name, value in vars(token_ledger_sdk).items() if inspect.ismodule(value)}
    public = {name for name in vars(token_ledger_sdk) if not name.startswith("_")} - modules
    assert public == set(listed)


def test_every_error_is_exported() -> None:
    from token_ledger_sdk import errors

    kinds = {n for n, v in vars(errors).items() if isinstance(v, type) and issubclass(v, errors.LedgerError)}
    assert kinds <= set(token_ledger_sdk.__all__)


LOADED_WHEN_NEEDED = (
    "_async", "_sync.guard", "_sync.leases", "_sync.toolbox", "adapters", "calibration", "guard.ask", "guard.functions",
    "guard.tool_", "guard.cache_statistics", "leases", "wire.events", "wire.leases", "wire.preflights",
)  # fmt: skip
"""What the import of a client leaves to the first wrapped client, function, tool, lease, event or preflight."""


def test_a_synchronous_client_is_imported_without_what_it_may_never_need() -> None:
    code = (
        "import sys; from token_ledger_sdk import TokenLedger;"
        "print([n for n in ('asyncio', 'anyio', 'uuid', 'subprocess', 'queue') if n in sys.modules],"
        f" [n for n in sys.modules if n.removeprefix('token_ledger_sdk.').startswith({LOADED_WHEN_NEEDED})])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[] []\n"


def test_the_package_needs_neither_the_service_nor_the_extra() -> None:
    code = (
        "import sys; import token_ledger_sdk;"
        "print([n for n in sys.modules if n.split('.')[0] in"
        " ('token_ledger', 'tiktoken', 'bpe_openai', 'openai', 'anthropic', 'pydantic')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    sources = [path.read_text(encoding="utf-8") for path in SDK.glob("token_ledger_sdk/**/*.py")]
    assert not [text for text in sources if re.search(r"^\s*(from|import) token_ledger\b(?!_)", text, re.MULTILINE)]


def test_the_package_is_typed_and_light() -> None:
    project = tomllib.loads((SDK / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert [re.split(r"[<>=]", name)[0] for name in project["dependencies"]] == ["httpx2"]
    assert (SDK / "token_ledger_sdk" / "py.typed").exists()
