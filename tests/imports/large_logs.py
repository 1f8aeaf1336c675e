"""Makes session logs of Claude Code of any size: the recorded ones again and again, each time with new ids."""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.imports.log_samples import CLAUDE_CODE, bytes_of

_ID = re.compile(rb'"(msg|req)_')
_BYTES_OF_A_FILE = 25_000_000


def make_logs(folder: Path, size: int, samples: Sequence[Path] = CLAUDE_CODE) -> int:
    """Write files of at least so many bytes together, and return how many lines they have."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = [bytes_of(sample) for sample in samples]
    written = lines = repetition = number = 0
    while written < size:
        number += 1
        with (folder / f"session-{number:04}.jsonl").open("wb") as file:
            while file.tell() < _BYTES_OF_A_FILE and written + file.tell() < size:
                repetition += 1
                for text in texts:
                    file.write(_ID.sub(rb'"\1_%07d' % repetition, text))
                    lines += text.count(b"\n")
            written += file.tell()
    return lines


if __name__ == "__main__":
    print(make_logs(Path(sys.argv[1]), int(sys.argv[2])), "lines")
