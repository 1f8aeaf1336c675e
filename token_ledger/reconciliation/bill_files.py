"""Reads the files of a bill by its kind, and as a whole: a bill that can't be read in full is not compared."""

from collections.abc import Sequence
from pathlib import Path

from token_ledger.imports.rows import Place, UnreadableFile
from token_ledger.reconciliation import anthropic_bill, aws_bill, csv_bill, openai_bill
from token_ledger.reconciliation.bill_kinds import BillKind
from token_ledger.reconciliation.bill_lines import BillLine


def read_bill(
    kind: BillKind, paths: Sequence[Path], *, provider: str | None = None, tag: str | None = None
) -> list[BillLine]:
    """Return all lines of a bill. `provider` is for CSV, `tag` names the resource tag of AWS that is the project.

    Raises UnreadableFile with file and line.
    """
    match kind:
        case BillKind.OPENAI:
            lines = list(openai_bill.read(paths))
        case BillKind.ANTHROPIC:
            lines = list(anthropic_bill.read(paths))
        case BillKind.AWS:
            lines = list(aws_bill.read(paths, tag))
        case BillKind.CSV:
            lines = list(csv_bill.read(paths, provider))
    if not lines:
        raise UnreadableFile(Place(str(paths[0]), 0), "there is no line of a bill: export a span that has any")
    return lines
