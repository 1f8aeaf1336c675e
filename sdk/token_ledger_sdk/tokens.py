"""Counts tokens before a call, offline. Needs the extra `tokens` (tiktoken and bpe-openai).

tiktoken would download its ranks (vocabulary files) at first use. bpe-openai contains the same files, so they are
copied to a directory of our own, under the names that tiktoken looks for. If TIKTOKEN_CACHE_DIR or DATA_GYM_CACHE_DIR
is set, nothing is written and tiktoken does what it always does.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
from importlib.util import find_spec
from pathlib import Path
from threading import Lock

import anyio.to_thread

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

# The first matching prefix decides. tiktoken's own table raises KeyError for models newer than itself.
_ENCODINGS = (
    ("gpt-oss", "o200k_harmony"),
    ("gpt-4o", "o200k_base"),
    ("gpt-4.1", "o200k_base"),
    ("gpt-4.5", "o200k_base"),
    ("gpt-5", "o200k_base"),
    ("chatgpt-4o", "o200k_base"),
    ("o1", "o200k_base"),
    ("o3", "o200k_base"),
    ("o4", "o200k_base"),
    ("gpt-4", "cl100k_base"),
    ("gpt-3.5", "cl100k_base"),
    ("gpt-35", "cl100k_base"),
    ("text-embedding-3", "cl100k_base"),
    ("text-embedding-ada-002", "cl100k_base"),
)
_VENDOR_PREFIXES = ("openai/", "openai.", "azure/", "ft:")
_DEFAULT_ENCODING = "o200k_base"
_SMALL_BYTES = 64 * 1024

_loading = Lock()
_loaded: dict[str, tiktoken.Encoding] = {}


def count_tokens(text: str, model: str) -> tuple[int, bool]:
    """Count the tokens of a text; returns the count, and whether it is exact for this model.

    It is exact for OpenAI's models since 2022; all others are approximated with o200k_base. Only the text is counted:
    chat formats add a few tokens per message. Special tokens in the text count as ordinary text.
    """
    encoding_name, exact = encoding_for(model)
    return len(_encoding(encoding_name).encode_ordinary(text)), exact


async def count_tokens_async(text: str, model: str) -> tuple[int, bool]:
    """Count like `count_tokens`, in a thread if it takes long, so that other tasks can run.

    It takes long for more than 64 kB of text, and for the first text of an encoding, which loads its ranks.
    """
    if len(text) <= _SMALL_BYTES and encoding_for(model)[0] in _loaded:
        return count_tokens(text, model)
    return await anyio.to_thread.run_sync(count_tokens, text, model)


def encoding_for(model: str) -> tuple[str, bool]:
    """Return the name of a model's encoding, and whether it is known to be the right one."""
    name = model.lower()
    for prefix in _VENDOR_PREFIXES:
        name = name.removeprefix(prefix)
    for prefix, encoding_name in _ENCODINGS:
        if name.startswith(prefix):
            return encoding_name, True
    return _DEFAULT_ENCODING, False


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
    directory = _cache_directory()
    path = directory / cache_name
    if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256:
        return directory
    ranks = gzip.decompress(_packaged_ranks(ranks_name).read_bytes())
    if hashlib.sha256(ranks).hexdigest() != sha256:
        raise RuntimeError(
            f"the {ranks_name} ranks of bpe-openai are not those that tiktoken expects: upgrade both packages"
        )
    _write_whole(path, ranks)
    return directory


def _packaged_ranks(ranks_name: str) -> Path:
    # find_spec does not import the package: its native module is not needed.
    spec = find_spec("bpe_openai")
    if spec is None or spec.origin is None:
        raise ImportError("count_tokens needs more packages: pip install 'token-ledger-sdk[tokens]'")
    return Path(spec.origin).parent / "data" / f"{ranks_name}.tiktoken.gz"


def _cache_directory() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    directory = Path(home) / "token-ledger" / "tiktoken"
    try:
        directory.mkdir(parents=True, exist_ok=True)
        writable = os.access(directory, os.W_OK)
    except OSError:
        writable = False
    # With a read-only home, ranks are unpacked again at each start.
    return directory if writable else Path(tempfile.mkdtemp(prefix="token-ledger-tiktoken-"))


def _write_whole(path: Path, content: bytes) -> None:
    # Several processes may start at once: each writes a file of its own, and the last rename wins with the same bytes.
    handle, name = tempfile.mkstemp(dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    Path(name).replace(path)
