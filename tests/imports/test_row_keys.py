"""Keys of rows without an id."""

from token_ledger.imports.row_keys import RowKeys, key_of_id


def made(*rows: bytes) -> list[str]:
    row_keys = RowKeys()
    return [row_keys.key(row) for row in rows]


def test_equal_rows_have_keys_of_their_own_and_the_same_ones_again() -> None:
    keys = made(b"a", b"b", b"a", b"a", b"b")
    assert len({*keys}) == 5
    assert keys == made(b"a", b"b", b"a", b"a", b"b")
    assert keys[2] == f"{keys[0]}:2"
    assert keys[3] == f"{keys[0]}:3"


def test_a_file_that_has_grown_keeps_the_keys_of_its_rows() -> None:
    assert made(b"a", b"a", b"b", b"c")[:3] == made(b"a", b"a", b"b")


def test_many_rows_have_as_many_keys() -> None:
    row_keys = RowKeys()
    assert len({row_keys.key(b"%d" % (number % 30_000)) for number in range(60_000)}) == 60_000


def test_an_id_is_its_key_unless_no_key_may_look_like_it() -> None:
    assert key_of_id("req-1") == "req-1"
    for unfit in ("x" * 201, "a\nb", "\ud800"):
        assert len(key_of_id(unfit)) == 32
    assert key_of_id("x" * 201) != key_of_id("x" * 202)
