"""The body of an import."""

from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictStr

from token_ledger.wire.fields import Body, Name, Words, doc, like

Kind = Literal[
    "csv", "jsonl", "parquet", "litellm", "openai-usage", "anthropic-usage", "claude-code", "codex", "langfuse", "otlp"
]

A_FILE = {
    "name": "calls.csv",
    "content": "when,user,model,in,out\n2025-03-01T10:00:00Z,ada,gpt-5.4,1200,260\n",
}  # fmt: skip
A_MAPPING = {
    "columns": {
        "occurred_at": "when", "user": "user", "model": "model", "input_tokens": "in", "output_tokens": "out"
    },
    "constants": {"provider": "openai", "agent_type": "data_agent"},
}  # fmt: skip
AN_IMPORT = {"kind": "csv", "files": [A_FILE], "mapping": A_MAPPING, "dry_run": True}


class FileBody(Body):
    """A file, as text."""

    name: Annotated[Words, doc("What it is called where something is said about it.", "calls.csv")]
    content: Annotated[
        StrictStr, Field(min_length=1), doc("What is in it; of a binary file, base64.", A_FILE["content"])
    ]  # fmt: skip


class ImportBody(Body):
    """Usage from files of another system."""

    model_config = like(AN_IMPORT)

    kind: Annotated[Kind, doc("What the files are.", "csv")]
    files: Annotated[
        tuple[FileBody, ...], Field(min_length=1, max_length=64), doc("The files, which are read together.", [A_FILE])
    ]
    mapping: Annotated[
        dict[StrictStr, Any] | None,
        doc("For csv, jsonl and parquet: which column is what, as a mapping file says it.", A_MAPPING),
    ] = None
    dry_run: Annotated[StrictBool, doc("Say what would be booked, and book nothing.", True)] = False
    user: Annotated[Name | None, doc("Whose calls these are, where a row does not say it.", "ada")] = None
    cost_center: Annotated[Name | None, doc("Their cost center, where a row does not say it.", "research")] = None
    agent_type: Annotated[Name | None, doc("Their agent type, where a row does not say it.", "data_agent")] = None
    provider: Annotated[Name | None, doc("Their provider, where a row does not say it.", "openai")] = None
    time_zone: Annotated[Words | None, doc("IANA time zone of instants that name none.", "Europe/Berlin")] = None
