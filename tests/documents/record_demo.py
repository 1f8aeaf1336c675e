"""Records `make demo` as docs/images/demo.svg: what it really prints, shortened; and the page that it writes.

Progress and timing are left out, because they depend on the machine, and two of the three tables of spend.

Run `python -m tests.documents.record_demo` after the demo's output has changed; it takes as long as the demo, and needs
Chromium.
"""

import io
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

REPOSITORY = Path(__file__).parents[2]
PICTURE = REPOSITORY / "docs" / "images" / "demo.svg"
PHOTOGRAPH = PICTURE.with_name("cost-report.png")
COLUMNS = 100
LEFT_OUT = ("Spend by agent type", "Spend by model", "measured", "the cost report")
FORMAT = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
"""The form of the picture without the fonts that it would fetch from the internet."""

_COLOR = re.compile(r"\x1b\[[0-9;]*m")
_MOVE = re.compile(r"\x1b\[[?0-9;]*[A-Za-ln-z]")
_BLOCK = re.compile(r"Spend|Denials|Triggers|[\d,]+ calls:|measured|cost:|the cost report")


def main() -> int:
    """Run the demo in a terminal of its own and save what it printed."""
    status, printed = run_in_terminal("make", "--no-print-directory", "demo")
    if status:
        print(printed, file=sys.stderr)
        return status
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print("$ make demo", style="bold")
    console.print(Text.from_ansi(shortened(printed)))
    console.save_svg(str(PICTURE), title="make demo, shortened", code_format=FORMAT, unique_id="demo")
    photograph(REPOSITORY / "build" / "cost-report.html")
    return 0


def photograph(page: Path) -> None:
    """Save how a page begins in Chromium."""
    subprocess.run(
        (
            "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=1000,900",
            f"--screenshot={PHOTOGRAPH}", page.as_uri(),
        ), check=True, capture_output=True,
    )  # fmt: skip


def run_in_terminal(*command: str) -> tuple[int, str]:
    """Run a program in a terminal; return its exit status and what it wrote."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    process = subprocess.Popen(command, cwd=REPOSITORY, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    written = b""
    while True:
        try:
            written += os.read(ours, 65_536)
        except OSError:  # the terminal is closed with the last program that has it open
            break
    return process.wait(), written.decode()


def shortened(printed: str) -> str:
    """Return the output from its first words on, without what moves the cursor and without what is left out."""
    text = _MOVE.sub("", printed.replace("\r\n", "\n"))
    kept: list[str] = []
    is_left_out = False
    for line in text[text.index("starting a service") :].split("\n"):
        plain = _COLOR.sub("", line)
        if _BLOCK.match(plain):
            is_left_out = plain.startswith(LEFT_OUT)
        if not is_left_out and "\r" not in line:
            kept.append(line)
    return "\n".join(kept).rstrip()


if __name__ == "__main__":
    sys.exit(main())
