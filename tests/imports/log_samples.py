"""The recorded logs and traces that the tests of importers read; `tests/data/logs/README.md` names their sources."""

import csv
import gzip
from pathlib import Path

_LOGS = Path(__file__).parents[1] / "data" / "logs"
CLAUDE_CODE = tuple(sorted(_LOGS.glob("claude_code_*")))
CODEX = tuple(sorted(_LOGS.glob("codex_*")))
LANGFUSE = tuple(sorted(_LOGS.glob("langfuse_*")))


def bytes_of(sample: Path) -> bytes:
    """Return what is packed in a sample."""
    return gzip.decompress(sample.read_bytes())


def stated_rows() -> list[dict[str, str]]:
    """Return what others counted in the samples, a row for each."""
    return [*csv.DictReader((_LOGS / "stated.csv").read_text().splitlines())]
