"""Generates `token_ledger_sdk/_sync` from `_async`; with --check, only says whether it is up to date."""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import unasync  # type: ignore[import-untyped]

PACKAGE = Path(__file__).resolve().parent.parent / "token_ledger_sdk"
HEADER = "# Generated from _async by scripts/generate_sync.py: edit that, and run it.\n"

# unasync drops async and await and renames the special methods; these are the names it cannot know.
NAMES = {
    "AsyncTokenLedger": "TokenLedger",
    "AsyncRun": "Run",
    "AsyncBlock": "Block",
    "AsyncPermission": "Permission",
    "AsyncHold": "Hold",
    "AsyncLeases": "Leases",
    "AsyncLeasedCall": "LeasedCall",
    "AsyncLeasedHold": "LeasedHold",
    "AsyncLaterHold": "LaterHold",
    "AsyncFlusher": "Flusher",
    "AsyncSender": "Sender",
    "AsyncOutbox": "Outbox",
    "AsyncHeartbeat": "Heartbeat",
    "AsyncBeating": "Beating",
    "AsyncTravel": "Travel",
    "AsyncUnaskedHold": "UnaskedHold",
    "SignalAsync": "SignalSync",
    "InterruptionAsync": "InterruptionSync",
    "background_async": "background_sync",
    "AsyncRunEvents": "RunEvents",
    "AbstractAsyncContextManager": "AbstractContextManager",
    "aiter_lines": "iter_lines",
    "apart_async": "apart_sync",
    "together_async": "together_sync",
    "AsyncGuard": "Guard",
    "AsyncGuardedCall": "GuardedCall",
    "AsyncKnownModels": "KnownModels",
    "AsyncLeasePool": "LeasePool",
    "AsyncWrapper": "Wrapper",
    "AsyncToolBooking": "ToolBooking",
    "AsyncToolAttempts": "ToolAttempts",
    "AsyncToolMethods": "ToolMethods",
    "AsyncGuardedTool": "GuardedTool",
    "AsyncToolbox": "Toolbox",
    "AsyncRetrying": "Retrying",
    "WorkAsync": "WorkSync",
    "gathered_async": "gathered_sync",
    "limited_async": "limited_sync",
    "event_async": "event_sync",
    "seat_async": "seat_sync",
    "AsyncOpenAICalls": "OpenAICalls",
    "AsyncOpenAI": "OpenAI",
    "AsyncAnthropicCalls": "AnthropicCalls",
    "AsyncAnthropic": "Anthropic",
    "AsyncAnthropicBedrock": "AnthropicBedrock",
    "AsyncAnthropicBedrockMantle": "AnthropicBedrockMantle",
    "AsyncAnthropicVertex": "AnthropicVertex",
    "AsyncGoogleCalls": "GoogleCalls",
    "AsyncModels": "Models",
    "AsyncWatchedSegments": "WatchedSegments",
    "async_request_streamed": "request_streamed",
    "_async_request": "_request",
    "_async_request_once": "_request_once",
    "_async_access_token": "_access_token",
    "async_segments": "segments",
    "AsyncWatchedResponse": "WatchedResponse",
    "AsyncResultsBooking": "ResultsBooking",
    "AsyncLangChainHandler": "LangChainHandler",
    "AsyncLangChainMiddleware": "LangChainMiddleware",
    "AsyncCallbackHandler": "BaseCallbackHandler",
    # LangChain calls one or the other, and the other one is refused.
    "AsyncLangChainTools": "LangChainTools",
    "awrap_tool_call": "wrap_tool_call",
    "wrap_tool_call": "awrap_tool_call",
    "awrap_model_call": "wrap_model_call",
    "wrap_model_call": "awrap_model_call",
    "UNAWAITED": "AWAITED",
    "check_caller_async": "check_caller_sync",
    "at_task_end_async": "at_task_end_sync",
    "AsyncInnerClients": "InnerClients",
    "root_async_client": "root_client",
    "_async_client": "_client",
    "async_client": "client",
    "AsyncLiteLLMStream": "LiteLLMStream",
    "aclosing": "closing",
    "aiter_bytes": "iter_bytes",
    "computed_async": "computed_sync",
    "AsyncClient": "Client",
    "AsyncBaseTransport": "BaseTransport",
    "aclose": "close",
    "sleep_async": "sleep_sync",
    "shielded_async": "shielded_sync",
    "check_function_async": "check_function_sync",
    "lock_async": "lock_sync",
    "waiting_async": "waiting_sync",
    "run_later_async": "run_later_sync",
}
ASYNC_ONLY = frozenset({"agents_models.py", "frameworks.py", "pydantic_ai_capability.py", "pydantic_ai_models.py"})
"""What is for libraries that are asynchronous only; so are lines from `# begin async only` to `# end async only`."""
_LEFT_OUT = re.compile(r"^ *# begin async only\n.*?^ *# end async only\n", re.MULTILINE | re.DOTALL)
REWRITTEN = {
    # These are not single names.
    "Callable[[float], Awaitable[None]]": "Callable[[float], None]",
    "import Awaitable, Callable": "import Callable",
    "Awaitable[ModelResponse[Any]]": "ModelResponse[Any]",
    "Callable[[], Awaitable[object]]": "Callable[[], object]",
    "Callable[[], Awaitable[Permission]]": "Callable[[], Permission]",
    "Callable[[], Awaitable[Hold]]": "Callable[[], Hold]",
    "Callable[[ApiRequest, bool], Awaitable[Fields]]": "Callable[[ApiRequest, bool], Fields]",
    "Callable[[ApiRequest], Awaitable[Answer | NoAnswer]]": "Callable[[ApiRequest], Answer | NoAnswer]",
    "Callable[[Any], Awaitable[Any]]": "Callable[[Any], Any]",
    "Callable[[ToolCallRequest], Awaitable[Any]]": "Callable[[ToolCallRequest], Any]",
    "The asynchronous client, written by hand; `_sync` is generated from it.": "The synchronous client.",
}


def generate(target: Path) -> None:
    """Write the synchronous modules into a directory."""
    with tempfile.TemporaryDirectory() as work:
        source = Path(work, "_async")
        shutil.copytree(PACKAGE / "_async", source, ignore=shutil.ignore_patterns("__pycache__"))
        for path in source.glob("*.py"):
            if path.name in ASYNC_ONLY:
                path.unlink()
            else:
                path.write_text(_LEFT_OUT.sub("", path.read_text(encoding="utf-8")), encoding="utf-8")
        files = sorted(str(path) for path in source.glob("*.py"))
        unasync.unasync_files(files, [unasync.Rule("/_async/", "/_sync/", additional_replacements=NAMES)])
        generated = Path(work, "_sync")
        for path in generated.glob("*.py"):
            path.write_text(HEADER + _rewritten(path.read_text(encoding="utf-8")), encoding="utf-8")
        _format(generated)
        target.mkdir(exist_ok=True)
        for path in generated.glob("*.py"):
            shutil.copyfile(path, target / path.name)


def _rewritten(text: str) -> str:
    for old, new in REWRITTEN.items():
        text = text.replace(old, new)
    return text


def _format(directory: Path) -> None:
    # Shorter names sort and wrap differently, and what is left out leaves imports; --isolated, so that the place of the
    # directory does not matter.
    ruff = [sys.executable, "-m", "ruff"]
    style = ["--isolated", "--quiet", "--line-length", "120", str(directory)]
    subprocess.run([*ruff, "check", "--select", "I,F401", "--fix", *style], check=True)
    subprocess.run([*ruff, "format", *style], check=True)


def stale_modules() -> list[str]:
    """Return the names of committed modules that differ from what would be generated."""
    with tempfile.TemporaryDirectory() as work:
        fresh = Path(work)
        generate(fresh)
        names = {path.name for directory in (fresh, PACKAGE / "_sync") for path in directory.glob("*.py")}
        return sorted(name for name in names if _text(fresh / name) != _text(PACKAGE / "_sync" / name))


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def main() -> int:
    """Generate, or check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the modules are not up to date")
    if not parser.parse_args().check:
        generate(PACKAGE / "_sync")
        return 0
    stale = stale_modules()
    print("up to date" if not stale else f"not up to date: {', '.join(stale)}")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
