"""Answers about the process itself."""

from typing import Annotated

from typing_extensions import TypedDict

from token_ledger.wire.fields import answer, doc


@answer
class Health(TypedDict):
    """The process is up."""

    status: Annotated[str, doc("Always `ok`.", "ok")]
    version: Annotated[str, doc("Version of the service.", "0.1.0")]


@answer
class Readiness(TypedDict):
    """The process can serve."""

    status: Annotated[str, doc("Always `ready`.", "ready")]
