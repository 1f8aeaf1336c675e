"""CSV with a mapping: what a row becomes, and with which words a file is refused."""

import gzip
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.imports.reading import Event, a_file, accepted, events, keys, quarantined, skipped
from token_ledger.imports.csv_table import read
from token_ledger.imports.mapping import TableMapping
from token_ledger.imports.rows import Defaults, Row, SkipReason, UnreadableFile
from token_ledger.imports.stated_costs import StatedCosts
from token_ledger.imports.text_lines import LONGEST_LINE

COLUMNS = {
    "occurred_at": "time", "user": "who", "provider": "provider", "model": "model", "input_tokens": "in",
    "output_tokens": "out",
}  # fmt: skip
HEADER = "time,who,provider,model,in,out\n"
ROW = "2026-11-21T09:30:00Z,ada,openai,gpt-5.4,1200,260\n"
ALL = Defaults(agent_type="data_agent")


def a_mapping(**changes: Any) -> TableMapping:
    return TableMapping.model_validate({"columns": COLUMNS, **changes})


def rows(
    folder: Path, content: str | bytes, mapping: TableMapping | None = None, defaults: Defaults = ALL,
    stated: StatedCosts | None = None, *, compressed: bool = False,
) -> list[Row]:  # fmt: skip
    path = a_file(folder, content, compressed=compressed)
    return [*read(path, defaults, mapping or a_mapping(), stated)]


def only(folder: Path, content: str | bytes, mapping: TableMapping | None = None) -> Event:
    [event] = events(rows(folder, content, mapping))
    return event


def test_a_row_is_an_event_that_the_ledger_takes(tmp_path: Path) -> None:
    event = only(tmp_path, HEADER + ROW)
    assert len(event.pop("idempotency_key")) == 32
    assert event == {
        "source": "import-table", "agent_type": "data_agent", "user": "ada", "provider": "openai", "model": "gpt-5.4",
        "occurred_at": "2026-11-21T09:30:00+00:00", "usage": {"input_tokens": 1200, "output_tokens": 260},
    }  # fmt: skip
    assert accepted({**event, "idempotency_key": "k"}).user == "ada"


@pytest.mark.parametrize(
    "content",
    [
        pytest.param((HEADER + ROW).encode(), id="plain"),
        pytest.param(b"\xef\xbb\xbf" + (HEADER + ROW).encode(), id="a mark before UTF-8"),
        pytest.param((HEADER + ROW).encode("utf-16"), id="UTF-16 with its mark"),
        pytest.param(b"\xfe\xff" + (HEADER + ROW).encode("utf-16-be"), id="UTF-16, the other way round"),
        pytest.param((HEADER + ROW).replace("\n", "\r\n").encode(), id="ends of Windows"),
        pytest.param((HEADER + ROW).rstrip("\n").encode(), id="without a last end"),
        pytest.param(("\n\n" + HEADER + "\n" + ROW + "\n").encode(), id="empty lines"),
        pytest.param((HEADER + ROW).replace(",", ";").encode(), id="semicolons"),
        pytest.param((HEADER + ROW).replace(",", "\t").encode(), id="tabs"),
        pytest.param((HEADER + ROW).replace(",", "|").encode(), id="bars"),
        pytest.param(("sep=;\n" + HEADER + ROW).replace(",", ";").encode(), id="what a spreadsheet says"),
        pytest.param(HEADER.encode() + b'"2026-11-21T09:30:00Z","ada","openai","gpt-5.4","1200","260"\n', id="quotes"),
        pytest.param(HEADER.replace(",", " , ").encode() + ROW.encode(), id="spaces in the header"),
    ],
)
def test_however_it_is_written_it_is_the_same_call(content: bytes, tmp_path: Path) -> None:
    assert only(tmp_path, content) == only(tmp_path, HEADER + ROW)
    assert events(rows(tmp_path, content, compressed=True)) == [only(tmp_path, content)]


def test_keys_are_those_of_what_rows_say(tmp_path: Path) -> None:
    other = ROW.replace("ada", "bo")
    both = keys(rows(tmp_path, HEADER + ROW + other + ROW))
    assert len({*both}) == 3
    assert keys(rows(tmp_path, HEADER + ROW + other + ROW)) == both
    assert keys(rows(tmp_path, HEADER + other + ROW)) == [both[1], both[0]]


def test_an_id_is_the_key_and_a_row_without_one_has_that_of_what_it_says(tmp_path: Path) -> None:
    mapping = a_mapping(columns={**COLUMNS, "idempotency_key": "id"})
    header = HEADER.replace("\n", ",id\n")
    found = keys(rows(tmp_path, header + ROW.replace("\n", ",call 1\n") + ROW.replace("\n", ",\n"), mapping))
    assert found[0] == "call 1"
    assert len(found[1]) == 32


def test_everything_that_a_mapping_may_say(tmp_path: Path) -> None:
    header = "time,who,team,m,in,out,read,write,hour,reason,tier,state,final,ms,why,mail,price\n"
    row = "2026-11-21 10:30,Ada,Lab,openai/gpt-5.4,1.5,2,0.5,0.25,0.25,1,default,failed,0,12.4,stop,x@y,12\n"
    mapping = TableMapping.model_validate({
        "columns": {
            "occurred_at": "time", "user": "who", "cost_center": "team", "model": "m", "input_tokens": "in",
            "output_tokens": "out", "cache_read_tokens": "read", "cache_write_tokens": "write",
            "cache_write_1h_tokens": "hour", "reasoning_tokens": "reason", "service_tier": "tier", "outcome": "state",
            "estimated": "final", "latency_ms": "ms", "finish_reason": "why", "cost": "price",
        },
        "tags": {"mail": "mail"},
        "constants": {"agent_type": "bot"},
        "values": {"user": {"Ada": "ada"}, "estimated": {0: "yes", 1: "no"}},
        "provider_from_model": True, "input_tokens": "uncached", "output_tokens": "without_reasoning",
        "token_unit": 1000, "cost_unit": "cents", "time": {"zone": "Europe/Berlin"}, "source": "proxy",
    })  # fmt: skip
    stated = StatedCosts()
    [event] = events(rows(tmp_path, header + row, mapping, Defaults(), stated))
    assert len(event.pop("idempotency_key")) == 32
    assert event == {
        "source": "proxy", "agent_type": "bot", "user": "ada", "cost_center": "Lab", "provider": "openai",
        "model": "gpt-5.4", "occurred_at": "2026-11-21T09:30:00+00:00", "service_tier": "standard", "outcome": "error",
        "estimated": True, "tags": {"mail": "x@y"}, "measured": {"latency_ms": 12, "finish_reason": "stop"},
        "usage": {
            "input_tokens": 2250, "output_tokens": 3000, "cache_read_tokens": 500, "cache_write_5m_tokens": 0,
            "cache_write_1h_tokens": 250, "reasoning_tokens": 1000,
        },
    }  # fmt: skip
    assert accepted({**event, "idempotency_key": "k"}).failed
    assert stated.by_day_and_model == {("2026-11-21", "openai/gpt-5.4"): Decimal("0.12")}


@pytest.mark.parametrize(
    ("cell", "measured"),
    [("12.4", 12), ("1,200", 1200), ("-1", None), ("soon", None), ("1,2", None), ("9e9", None), ("", None)],
)
def test_a_call_is_booked_though_what_was_measured_of_it_is_wrong(
    cell: str, measured: int | None, tmp_path: Path
) -> None:
    mapping = a_mapping(columns={**COLUMNS, "latency_ms": "ms", "finish_reason": "why"})
    event = only(tmp_path, HEADER.replace("\n", ",ms,why\n") + ROW.replace("\n", f',"{cell}",{"x" * 65}\n'), mapping)
    assert event.get("measured") == (None if measured is None else {"latency_ms": measured})
    accepted(event)


def test_decimal_commas(tmp_path: Path) -> None:
    mapping = a_mapping(columns={**COLUMNS, "cost": "price"}, delimiter="semicolon", decimal="comma")
    content = (HEADER.replace("\n", ",price\n") + ROW.replace("1200", "1.200")).replace(",", ";")
    content = content.removesuffix("\n") + ";0,0125\n"
    stated = StatedCosts()
    [event] = events(rows(tmp_path, content, mapping, ALL, stated))
    assert event["usage"]["input_tokens"] == 1200
    assert stated.total == Decimal("0.0125")


def test_what_a_row_says_that_it_cost_is_summed_and_never_booked(tmp_path: Path) -> None:
    mapping = a_mapping(columns={**COLUMNS, "cost": "price"})
    header = HEADER.replace("\n", ",price\n")
    stated = StatedCosts()
    content = header + "".join(ROW.replace("\n", f",{price}\n") for price in ("0.5", "$0.25", "", "free", "1e-3"))
    for event in events(rows(tmp_path, content, mapping, ALL, stated)):
        assert "cost" not in event
    assert stated.total == Decimal("0.751")
    assert stated.unread == 1


def test_constants_stand_for_blank_cells_and_defaults_for_what_is_nowhere(tmp_path: Path) -> None:
    mapping = a_mapping(constants={"user": "nobody", "output_tokens": "0"})
    content = HEADER + ROW.replace("ada", "").replace("260", "") + ROW
    first, second = events(rows(tmp_path, content, mapping, Defaults(agent_type="a", user="default")))
    assert (first["user"], first["usage"]["output_tokens"]) == ("nobody", 0)
    assert (second["user"], second["usage"]["output_tokens"]) == ("ada", 260)


@pytest.mark.parametrize(
    ("model", "provider", "named"),
    [
        ("openai/gpt-5.4", "openai", "gpt-5.4"),
        ("openrouter/anthropic/claude-opus-4.8", "openrouter", "anthropic/claude-opus-4.8"),
        ("gpt-4o-mini", "openai", "gpt-4o-mini"),
        ("claude-3-5-sonnet-20241022", "anthropic", "claude-3-5-sonnet-20241022"),
    ],
)
def test_a_model_says_whose_it_is(model: str, provider: str, named: str, tmp_path: Path) -> None:
    columns = {field: column for field, column in COLUMNS.items() if field != "provider"}
    mapping = a_mapping(columns=columns, provider_from_model=True)
    event = only(tmp_path, HEADER + ROW.replace("gpt-5.4", model), mapping)
    assert (event["provider"], event["model"]) == (provider, named)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (ROW.replace("1200,260", ","), SkipReason.NO_USAGE),
        (ROW.replace("gpt-5.4", "<synthetic>"), SkipReason.SYNTHETIC),
        (",,,,,\n", SkipReason.NO_CALL),
        (",,\n", SkipReason.NO_CALL),
    ],
)
def test_a_row_that_is_no_call_is_skipped_by_its_reason(row: str, reason: SkipReason, tmp_path: Path) -> None:
    assert skipped(rows(tmp_path, HEADER + ROW + row)) == [(3, reason)]


@pytest.mark.parametrize(
    ("row", "field"),
    [
        (ROW.replace("1200", "-1200"), "usage.input_tokens"),
        (ROW.replace("1200", "many"), "usage.input_tokens"),
        (ROW.replace("1200", "12.5"), "usage.input_tokens"),
        (ROW.replace("1200", "9" * 5000), "usage.input_tokens"),
        (ROW.replace("1200", ""), "usage.input_tokens"),
        (ROW.replace("ada", ""), "user"),
        (ROW.replace("gpt-5.4", ""), "model"),
        (ROW.replace("ada", "a\x07b"), "user"),
    ],
)
def test_what_is_wrong_with_one_row_is_left_to_the_quarantine(row: str, field: str, tmp_path: Path) -> None:
    first, second = events(rows(tmp_path, HEADER + row + ROW))
    assert quarantined(first) == field
    accepted(second)


TWICE = "time,who,provider,model,in,out,in\n"


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        pytest.param(b"", 0, "the file is empty", id="empty"),
        pytest.param(b"\n\n", 2, "there is no header", id="blank"),
        pytest.param(HEADER + ROW + ROW.replace(",260", ""), 3, "the row has 5 cells, but the header has 6: is",
                     id="too few cells"),
        pytest.param(HEADER + ROW.replace("260", "260,1"), 2, "7 cells, but the header has 6: put", id="too many"),
        pytest.param(TWICE + ROW, 1, "columns 5 and 7 are both called 'in'", id="duplicate headers"),
        pytest.param(HEADER.replace(",in,", ",inn,") + ROW, 1, "no column 'in', which the mapping has for input_tokens;"
                     " did the mapping mean 'inn'?", id="a missing column"),
        pytest.param("a,b\n1,2\n", 1, "no column 'time', which the mapping has for occurred_at", id="another table"),
        pytest.param(HEADER + ROW + ROW.replace("ada", '"ada'), 3, "a quote that opens in this row is not closed",
                     id="an unclosed quote"),
        pytest.param(HEADER + ROW + ROW.replace("ada", '"ada"x'), 3, "a quote within a quoted cell is written twice",
                     id="a quote within"),
        pytest.param((HEADER + ROW).replace("\n", "\r"), 1, "end with a carriage return only", id="ends of old Macs"),
        pytest.param(HEADER.encode() + ROW.encode() + ROW.replace("ada", "\u00e4da").encode("latin-1"), 3,
                     "byte 0xe4 is not UTF-8: save the whole file as UTF-8, or", id="mixed encodings"),
        pytest.param((HEADER + ROW).encode("utf-16-le"), 1, "perhaps UTF-16: save the file as UTF-8", id="no mark"),
        pytest.param((HEADER + ROW).encode("utf-16")[:-1], 2, "is not UTF-16", id="half a character"),
        pytest.param(HEADER + ROW + ROW.replace("ada", "a" * LONGEST_LINE), 3, "is longer than 8 MB", id="10 MB"),
        pytest.param(HEADER + ROW + ROW.replace("Z", ""), 3, "give --time-zone, such as", id="no zone"),
        pytest.param(HEADER + ROW.replace("2026-11-21T09:30:00Z", "21.11.2026 09:30"), 2, "a date of a spreadsheet",
                     id="a spreadsheet's date"),
        pytest.param(HEADER + ROW.replace("2026-11-21T09:30:00Z", "46347.5"), 2, "is a number: say `time: {format: s",
                     id="a spreadsheet's number"),
        pytest.param(HEADER + ROW.replace("2026-11-21T09:30:00Z", ""), 2, "the cell is blank", id="no date"),
        pytest.param((HEADER + ROW).replace(",", ";").replace("1200", "1,200"), 2,
                     "'1,200' has decimals or thousands: say `decimal: point` or `comma`", id="which mark"),
        pytest.param(HEADER + ROW.replace("1200", '"1,5"'), 2, "should the mapping say `decimal: comma`?", id="comma"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_what_its_kind_says_is_refused(
    content: str | bytes, line: int, problem: str, tmp_path: Path
) -> None:
    for compressed in (False, True):
        with pytest.raises(UnreadableFile) as refused:
            rows(tmp_path, content, compressed=compressed)
        assert problem in refused.value.problem
        assert refused.value.place.line == line
        assert refused.value.place.file.endswith("export")


def test_a_quoted_cell_may_have_lines_and_the_next_row_keeps_its_own(tmp_path: Path) -> None:
    content = HEADER + ROW.replace("ada", '"a\nb"') + ROW.replace("Z", "")
    with pytest.raises(UnreadableFile, match="export, line 4: "):
        rows(tmp_path, content)


@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_gzip_is_refused(share: float, tmp_path: Path) -> None:
    content = HEADER + "".join(ROW.replace("ada", f"user {number * 7919 % 10007}") for number in range(20_000))
    whole = gzip.compress(content.encode())
    with pytest.raises(UnreadableFile, match="the compressed file ends in the middle") as refused:
        rows(tmp_path, whole[: int(len(whole) * share)])
    assert refused.value.place.line > 1


def test_a_damaged_gzip_is_refused(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress((HEADER + ROW * 100).encode()))
    whole[-6] ^= 255
    with pytest.raises(UnreadableFile, match="the compressed file is damaged"):
        rows(tmp_path, bytes(whole))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="nothing: it can't be opened: No such file"):
        next(read(tmp_path / "nothing", ALL, a_mapping()))
    with pytest.raises(UnreadableFile, match="it can't be opened: Is a directory"):
        next(read(tmp_path, ALL, a_mapping()))


def test_another_encoding_is_read_where_the_mapping_names_it(tmp_path: Path) -> None:
    content = (HEADER + ROW.replace("ada", "\u00e4da\u20ac")).encode("windows-1252")
    assert only(tmp_path, content, a_mapping(encoding="windows-1252"))["user"] == "\u00e4da\u20ac"


@pytest.mark.parametrize(
    ("field", "advice"),
    [
        ("occurred_at", "when each call was"),
        ("model", "the model"),
        ("provider", "--provider"),
        ("user", "--user"),
        ("input_tokens", "`constants: {input_tokens: 0}`"),
        ("output_tokens", "`constants: {output_tokens: 0}`"),
    ],
)
def test_a_mapping_without_what_every_call_needs_is_refused(field: str, advice: str, tmp_path: Path) -> None:
    columns = {name: column for name, column in COLUMNS.items() if name != field}
    with pytest.raises(UnreadableFile, match="line 1: the mapping has no column") as refused:
        rows(tmp_path, HEADER + ROW, a_mapping(columns=columns))
    assert advice in str(refused.value)
    with pytest.raises(UnreadableFile, match="--agent-type"):
        rows(tmp_path, HEADER + ROW, defaults=Defaults())


def test_the_time_zone_of_the_import_counts_where_the_mapping_has_none(tmp_path: Path) -> None:
    content = HEADER + ROW.replace("Z", "")
    berlin = Defaults(agent_type="a", time_zone=ZoneInfo("Europe/Berlin"))
    [event] = events(rows(tmp_path, content, defaults=berlin))
    assert event["occurred_at"] == "2026-11-21T08:30:00+00:00"
    [event] = events(rows(tmp_path, content, a_mapping(time={"zone": "UTC"}), berlin))
    assert event["occurred_at"] == "2026-11-21T09:30:00+00:00"


def test_a_providers_own_usage_is_read_from_its_column(tmp_path: Path) -> None:
    columns = {name: column for name, column in COLUMNS.items() if not name.endswith("_tokens")} | {"usage": "out"}
    told = '"{""input_tokens"": 5, ""cache_read_input_tokens"": 95, ""output_tokens"": 7}"'
    content = HEADER + ROW.replace("260", told) + ROW.replace("260", "") + ROW.replace("260", "{}")
    found = rows(tmp_path, content, a_mapping(columns=columns))
    [event] = events(found[:1])
    assert event["usage"]["input_tokens"] == 100
    assert event["usage"]["cache_read_tokens"] == 95
    both = a_mapping(columns={**columns, "input_tokens": "in"})
    [event] = events(rows(tmp_path, HEADER + ROW.replace("260", told), both))
    assert (event["usage"]["input_tokens"], event["usage"]["output_tokens"]) == (1200, 7)  # the table's column counts
    assert [reason for _, reason in skipped(found)] == [SkipReason.NO_USAGE, SkipReason.NO_USAGE]
