"""Tables of what can go wrong: refusals verb by verb, and every code with its status."""

from collections import defaultdict

from tests.core.decisions.refusals import REFUSALS
from tests.documents.markdown import table
from token_ledger.core.batch.outcomes import Code
from token_ledger.wire.problems import STATUS_OF


def refusals() -> str:
    """Return the table of refusals, from the rows that the tests go through."""
    rows = []
    last = ""
    for row in REFUSALS:
        kept = " (kept in quarantine)" if row.kind == "quarantined" else ""
        rows.append((row.verb if row.verb != last else "", f"{row.when}{kept}", f"`{row.code}`", status(row.code)))
        last = row.verb
    return table(("verb", "refused when", "code", "status"), rows)


def codes() -> str:
    """Return every code of a refusal, by status."""
    by_status = defaultdict(list)
    for code in Code:
        by_status[status(code)].append(f"`{code}`")
    return table(("status", "codes"), [(number, ", ".join(sorted(by_status[number]))) for number in sorted(by_status)])


def status(code: str) -> str:
    """Return the HTTP status of a code."""
    return str(int(next(found for known, found in STATUS_OF.items() if known == code)))
