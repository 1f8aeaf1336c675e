"""Files of the cache are written whole, or not at all."""

from pathlib import Path

import pytest

from token_ledger_sdk.cache_home import write_whole


def test_a_file_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    write_whole(tmp_path / "models", b"old")
    write_whole(tmp_path / "models", b"new")
    assert (tmp_path / "models").read_bytes() == b"new"
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        write_whole(tmp_path / "folder", b"new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "models"]
