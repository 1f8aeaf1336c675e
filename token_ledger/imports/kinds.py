"""The table of what can be imported: the name of each kind, and the module that reads it.

To add a kind, write a module with a generator `read` that yields rows (see `rows`), and add a line here and the name to
`Kind` in `wire.bodies.imports`.
"""

import pkgutil
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from token_ledger.imports.rows import Defaults, Row
from token_ledger.imports.stated_costs import StatedCosts

if TYPE_CHECKING:
    from token_ledger.imports.mapping import TableMapping


class Form(StrEnum):
    """How the readers of a kind are called."""

    TABLE = "table"
    """Any table: a mapping says which column is what."""
    EXPORT = "export"
    """A file at a time, whose columns or fields are known."""
    SESSIONS = "sessions"
    """Files and folders together, because one call may stand in several; they name no user."""


@dataclass(frozen=True, slots=True)
class ImportKind:
    """One kind of file: its name, the module that reads it, its form, what it is in words, and whether it has costs.

    Some are large enough to be read `in_two` processes. `may_grow` says that a file may be read
    while a call is under way, so that a later reading has more of it.
    """

    name: str
    module: str
    form: Form
    what: str
    states_costs: bool = False
    in_two: bool = False
    may_grow: bool = False


KINDS = {
    kind.name: kind
    for kind in (
        ImportKind("csv", "csv_table", Form.TABLE, "CSV with any columns"),
        ImportKind("jsonl", "json_table", Form.TABLE, "JSON objects, one a line or in an array"),
        ImportKind("parquet", "parquet_table", Form.TABLE, "Parquet with any columns"),
        ImportKind("litellm", "litellm", Form.EXPORT, "spend logs of LiteLLM: JSON, CSV or a copy of the table", True),
        ImportKind("openai-usage", "openai_usage", Form.EXPORT, "OpenAI's usage API"),
        ImportKind("anthropic-usage", "anthropic_usage", Form.EXPORT, "Anthropic's usage report"),
        ImportKind(
            "claude-code", "claude_code", Form.SESSIONS, "session logs of Claude Code", in_two=True, may_grow=True
        ),
        ImportKind("codex", "codex", Form.SESSIONS, "session logs of Codex"),
        ImportKind("langfuse", "langfuse", Form.SESSIONS, "traces exported from Langfuse"),
        ImportKind("otlp", "otlp", Form.SESSIONS, "OpenTelemetry traces as OTLP JSON"),
    )
}


def rows_of(
    kind: ImportKind, paths: Sequence[Path], defaults: Defaults, stated: StatedCosts,
    mapping: "TableMapping | None" = None, *, in_two: bool = False,
) -> Generator[Row, None, None]:  # fmt: skip
    """Yield every row of files of a kind; `stated` gets what they say that it costs. A table needs its mapping.

    With `in_two` another process may help to read large files. Raises UnreadableFile.
    """
    name = "read_in_two" if in_two and kind.in_two else "read"
    read = pkgutil.resolve_name(f"token_ledger.imports.{kind.module}:{name}")
    if kind.form is Form.SESSIONS:
        yield from read(paths, defaults)
        return
    for path in paths:
        if kind.form is Form.TABLE:
            yield from read(path, defaults, mapping, stated)
        else:
            yield from read(path, defaults, stated) if kind.states_costs else read(path, defaults)
