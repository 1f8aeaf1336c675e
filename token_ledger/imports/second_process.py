"""Reads files in two processes: this one from the first file on, another one from the last file back, until they meet.

What the other process reads is kept in a temporary file until this one has come to it, so that the rows are the same as
those of one process, in the same order, and memory does not grow with the files. Whatever the other process did not
bring to an end, this one reads itself. The other one ends by itself soon after this one has gone.
"""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from pkgutil import resolve_name
from tempfile import TemporaryFile
from typing import IO, Any, TypeVar

from token_ledger.imports.rows import Place, UnreadableFile

FEWEST_BYTES = 32 * 2**20
"""From how many bytes of files on another process is worth its start, which takes a third of a second."""
ROWS_OF_A_PIECE = 256
_MOST_BLOCKS = 4_096
"""Into how many blocks the files are divided at most: as many bytes fit into any pipe."""

Row = TypeVar("Row")
ReadFile = Callable[[Path, Any], Iterator[Row]]
"""A function of a module, which yields the rows of one file, with what else it has to know."""


def rows_in_two(files: Sequence[Path], read: ReadFile[Row], known: Any) -> Iterator[Row]:
    """Yield the rows of files in their order; raises UnreadableFile as `read` does, for the first file that is one."""
    if not is_worth_it(files):
        for path in files:
            yield from read(path, known)
        return
    blocks = _blocks(files)
    with TemporaryFile() as kept, _claims(len(blocks)) as claims, _second(blocks, read, known, claims, kept) as second:
        place = 0
        while os.read(claims, 1):  # a byte is the right to one more block, for either process
            for path in blocks[place]:
                yield from read(path, known)
            place += 1
        begins = _answer_of(second)
        for path_place, block in enumerate(blocks[place:], start=place):
            if path_place in begins:
                yield from _kept_rows(kept, begins[path_place])
            else:
                for path in block:
                    yield from read(path, known)


def is_worth_it(files: Sequence[Path]) -> bool:
    """Tell whether files are worth another process, and there may be one."""
    return (
        os.name == "posix"
        and len(files) > 1
        and len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)) > 1
        and sum(path.stat().st_size for path in files if path.is_file()) >= FEWEST_BYTES
    )


def _blocks(files: Sequence[Path]) -> list[Sequence[Path]]:
    size = -(-len(files) // _MOST_BLOCKS)
    return [files[begin : begin + size] for begin in range(0, len(files), size)]


@contextmanager
def _claims(blocks: int) -> Iterator[int]:
    """Yield a pipe with a byte for each block, at whose end there are none left."""
    claims, given = os.pipe()
    try:
        os.write(given, bytes(blocks))
        os.close(given)
        yield claims
    finally:
        os.close(claims)


@contextmanager
def _second(
    blocks: Sequence[Sequence[Path]], read: ReadFile[Row], known: Any, claims: int, kept: IO[bytes]
) -> Iterator["subprocess.Popen[bytes]"]:
    """Start the other process, and end it at the latest when this one is done or has failed."""
    process = subprocess.Popen(  # noqa: S603  # of this module, with numbers only
        [sys.executable, "-m", __name__, str(claims), str(kept.fileno()), str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(claims, kept.fileno()),
        process_group=0,  # an interrupt from the terminal is for the process that was started there
    )
    try:
        assert process.stdin is not None
        try:
            pickle.dump((f"{read.__module__}:{read.__qualname__}", blocks, known), process.stdin)
            process.stdin.close()
        except BrokenPipeError:
            pass  # it has failed at its start, so it has claimed nothing
        yield process
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()


def _answer_of(process: "subprocess.Popen[bytes]") -> dict[int, int]:
    """Wait for the other process; return where the rows of each block begin that it has read, none if it failed."""
    assert process.stdout is not None
    answer = process.stdout.read()
    return {} if process.wait() else pickle.loads(answer)  # noqa: S301  # the process is ours


def _kept_rows(kept: IO[bytes], begin: int) -> Iterator[Any]:
    """Yield the rows of a block, or raise what it could not be read for."""
    kept.seek(begin)
    while piece := pickle.load(kept):  # noqa: S301  # nobody else can write to this file, which has no name
        if isinstance(piece, tuple):
            raise UnreadableFile(*piece)
        yield from piece


def _read_from_the_end(claims: int, kept: IO[bytes], parent: int) -> dict[int, int]:
    """Read blocks from the last one back, as long as any is left; return where the rows of each begin."""
    name, blocks, known = pickle.load(sys.stdin.buffer)  # noqa: S301  # the process that started this one sends it
    read: ReadFile[Any] = resolve_name(name)
    begins: dict[int, int] = {}
    place = len(blocks)
    while os.read(claims, 1):
        place -= 1
        begins[place] = kept.tell()
        for piece in _pieces_of(blocks[place], read, known):
            if os.getppid() != parent:
                sys.exit(1)
            pickle.dump(piece, kept, pickle.HIGHEST_PROTOCOL)
    return begins


def _pieces_of(
    block: Sequence[Path], read: ReadFile[Any], known: Any
) -> Iterator[list[Any] | tuple[Place, str] | None]:  # fmt: skip
    """Yield the rows of a block in pieces, and at its end None; or the reason why a file of it can't be read."""
    piece: list[Any] = []
    try:
        for path in block:
            for row in read(path, known):
                piece.append(row)
                if len(piece) == ROWS_OF_A_PIECE:
                    yield piece
                    piece = []
    except UnreadableFile as error:
        yield error.place, error.problem
    else:
        if piece:
            yield piece
        yield None


if __name__ == "__main__":
    with os.fdopen(int(sys.argv[2]), "wb", closefd=False) as file:
        found = _read_from_the_end(int(sys.argv[1]), file, int(sys.argv[3]))
    sys.stdout.buffer.write(pickle.dumps(found))
