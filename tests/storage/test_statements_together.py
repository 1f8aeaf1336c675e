"""Several writes become one statement only where each can be a part of one, and its arguments keep their places."""

from token_ledger.storage.write.statements import makes, together

_ADD = makes("insert into a select unnest($1::int[]) returning 1", "insert into b select $2 returning 1")
_CHANGE = makes("update c set x = $1 where y = $2", text="update c set x = $1 where y = $2")


def test_arguments_keep_their_places() -> None:
    statement, arguments = together([(_ADD, ([1], 2)), (_CHANGE, (3, 4)), (_ADD, ([5], 6))])[0]
    assert arguments == ([1], 2, 3, 4, [5], 6)
    assert statement == (
        "with change_1 as (insert into a select unnest($1::int[]) returning 1),"
        " change_2 as (insert into b select $2 returning 1),"
        " change_3 as (update c set x = $3 where y = $4),"
        " change_4 as (insert into a select unnest($5::int[]) returning 1),"
        " change_5 as (insert into b select $6 returning 1) select 1"
    )


def test_writes_of_which_one_stands_by_itself_stay_as_they_are() -> None:
    writes = [(_ADD, ([1], 2)), ("update c set x = 1", ())]
    assert together(writes) == writes
