"""Counts tokens before a call, offline. Needs the extra `tokens` (tiktoken and bpe-openai).

tiktoken would download its ranks (vocabulary files) at first use. bpe-openai contains the same files, so they are
copied to a directory of our own, under the names that tiktoken looks for. If TIKTOKEN_CACHE_DIR or DATA_GYM_CACHE_DIR
is set, nothing is written and tiktoken does what it always does.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from math import ceil
from pathlib import Path
from threading import Lock

import anyio.to_thread

from .cache_home import cache_directory, write_whole
from .calibration import learned
from .request_tokens import characters_of, count_chat
from .vocabularies import encoding_for, token_factor

try:
    import tiktoken
except ImportError as error:  # pragma: no cover
    raise ImportError("count_tokens needs more packages: pip install 'token-ledger-sdk[tokens]'") from error

# Encoding -> name of its ranks, the name under which tiktoken caches them (SHA-1 of the download address), and their
# SHA-256. tiktoken checks the same hash, and silently downloads files that do not match.
_O200K = (
    "o200k_base",
    "fb374d419588a4632f3f557e76b4b70aebbca790",
    "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
)
_RANKS = {
    "cl100k_base": (
        "cl100k_base",
        "9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
        "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    ),
    "o200k_base": _O200K,
    "o200k_harmony": _O200K,
}

_SMALL_BYTES = 64 * 1024

# tiktoken's regular expressions try every end of a run: its time grows with the square of its length, and a million
# blanks end in a panic of Rust, which is no Exception. No prompt that means anything has such a run.
_LONGEST_RUN = 10_000
_RUNS = re.compile(r"\s+|\S+")

_loading = Lock()
_loaded: dict[str, tiktoken.Encoding] = {}


def count_tokens(content: str | Sequence[object], model: str, *, tools: Sequence[object] = ()) -> tuple[int, bool]:
    """Count the tokens of a text, or of messages with their tools; returns the count, and whether it is surely exact.

    Messages and tools are those of OpenAI's chat or Responses, images among them, or of another provider, which are
    approximated by the same rules; answers that were asked for by earlier calls of tools, and the size of images that
    are only named, are estimated. Texts are exact for OpenAI's models since 2022; all others are approximated with
    o200k_base, and corrected, from half to twice as much, by what wrapped clients of this process were charged for the
    same model. Special tokens in a text count as ordinary text. A text with a run of more than 10,000 characters that
    are all blank, or none of them, is cut there, and its count is not exact.
    """
    if isinstance(content, str) and not tools:
        tokens, exact = count_plain(content, model)
        return _corrected(tokens, model), exact
    is_exact = True

    def count(text: str) -> int:
        nonlocal is_exact
        tokens, exact = count_plain(text, model)
        is_exact = is_exact and exact
        return tokens

    messages = [{"role": "user", "content": content}] if isinstance(content, str) else content
    counted = count_chat(messages, tools, count, model)
    return _corrected(counted.tokens, model), counted.exact and is_exact and encoding_for(model)[1]


def _corrected(tokens: int, model: str) -> int:
    """Return a count as the model's provider charges it, as well as that is known."""
    return tokens if encoding_for(model)[1] else ceil(tokens * token_factor(model) * learned.ratio(model))


def count_plain(text: str, model: str) -> tuple[int, bool]:
    """Count a text by the vocabulary alone; returns the count, and whether it is surely exact."""
    encoding_name, exact = encoding_for(model)
    encoding = _encoding(encoding_name)
    pieces = _pieces(text)
    return sum(len(encoding.encode_ordinary(piece)) for piece in pieces), exact and len(pieces) == 1


async def count_tokens_async(
    content: str | Sequence[object], model: str, *, tools: Sequence[object] = ()
) -> tuple[int, bool]:
    """Count like `count_tokens`, in a thread if it takes long, so that other tasks can run.

    It takes long for more than 64 kB of text, and for the first text of an encoding, which loads its ranks.
    """
    counting = partial(count_tokens, content, model, tools=tools)
    if is_loaded(model) and characters_of([content, tools]) <= _SMALL_BYTES:
        return counting()
    return await anyio.to_thread.run_sync(counting)


def is_loaded(model: str) -> bool:
    """Whether the vocabulary of a model was loaded, so that counting takes no time but the text's."""
    return encoding_for(model)[0] in _loaded


def _pieces(text: str) -> list[str]:
    """Cut a text within runs that are too long; most texts are one piece."""
    if len(text) <= _LONGEST_RUN:
        return [text]
    cuts = [0]
    for run in _RUNS.finditer(text):
        cuts += range(run.start() + _LONGEST_RUN, run.end(), _LONGEST_RUN)
    return [text[begin:end] for begin, end in pairwise([*cuts, len(text)])]


def _encoding(name: str) -> tiktoken.Encoding:
    if name in _loaded:
        return _loaded[name]
    with _loading:
        if name not in _loaded:  # another thread may have loaded it meanwhile
            _loaded[name] = _load(name)
        return _loaded[name]


def _load(name: str) -> tiktoken.Encoding:
    if any(variable in os.environ for variable in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR")):
        return tiktoken.get_encoding(name)
    # Set only while loading, as other code in this process may use tiktoken too.
    os.environ["TIKTOKEN_CACHE_DIR"] = str(_provide_ranks(name))
    try:
        return tiktoken.get_encoding(name)
    finally:
        del os.environ["TIKTOKEN_CACHE_DIR"]


def _provide_ranks(encoding_name: str) -> Path:
    """Write the ranks of an encoding to where tiktoken looks for them; returns the directory."""
    ranks_name, cache_name, sha256 = _RANKS[encoding_name]
    directory = cache_directory("tiktoken")
    path = directory / cache_name
    if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
        return directory
    ranks = gzip.decompress(_packaged_ranks(ranks_name).read_bytes())
    if hashlib.sha256(ranks).hexdigest() != sha256:
        raise RuntimeError(
            f"the {ranks_name} ranks of bpe-openai are not those that tiktoken expects: upgrade both packages"
        )
    write_whole(path, ranks)
    return directory


def _packaged_ranks(ranks_name: str) -> Path:
    # find_spec does not import the package: its native module is not needed.
    spec = find_spec("bpe_openai")
    if spec is None or spec.origin is None:
        raise ImportError("count_tokens needs more packages: pip install 'token-ledger-sdk[tokens]'")
    return Path(spec.origin).parent / "data" / f"{ranks_name}.tiktoken.gz"
