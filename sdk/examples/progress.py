"""Shows the progress of a replay: a bar on a terminal, else a line for every tenth of the calls."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


@contextmanager
def progress_of(console: Console, calls: int) -> Iterator[Callable[[bool], None]]:
    """Show progress over `calls` calls; yields a function to call after each, with whether it was granted."""
    denied = 0
    if not console.is_terminal:
        made = 0

        def count(granted: bool) -> None:
            nonlocal made, denied
            made += 1
            denied += not granted
            if made * 10 // calls > (made - 1) * 10 // calls:
                console.print(f"  {made:,} of {calls:,} calls, {denied:,} denied")

        yield count
        return
    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[denied]} denied"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as bar:
        task = bar.add_task("replaying", total=calls, denied=0)

        def advance(granted: bool) -> None:
            nonlocal denied
            denied += not granted
            bar.update(task, advance=1, denied=denied)

        yield advance
