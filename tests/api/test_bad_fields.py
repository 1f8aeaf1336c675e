"""Every field of every mutating body with invalid values: a problem that names the field, and nothing changed."""

import json

import httpx2
import pytest

from tests.api.verbs import BY_NAME, VERBS, Verb, named_ids
from tests.api.world import World, check_problem

_NOT_TEXT = {"a number": "5", "a float": "1.5", "a boolean": "true", "a list": '["a"]', "an object": '{"a": 1}'}
_NOT_A_NUMBER = {"NaN": "NaN", "Infinity": "Infinity", "minus Infinity": "-Infinity", "beyond floats": "1e400"}


def _counts(lowest: int, highest: int) -> dict[str, str]:
    return {
        "too small": str(lowest - 1), "too large": str(highest + 1), "beyond bigint": str(2**63),
        "far beyond bigint": "1" + "0" * 40, "a whole float": "7.0", "a fraction": "7.5", "an exponent": "7e0",
        "text": '"7"', "a boolean": "true", "a list": "[7]", "an object": "{}", **_NOT_A_NUMBER,
    }  # fmt: skip


_TOO_LARGE = ("too large", "beyond bigint", "far beyond bigint")
_STEP = {
    "provider": "openai", "model": "gpt-5.4", "to_provider": "openai", "to_model": "gpt-5.4-mini",
    "context_tokens": 1_000,
}  # fmt: skip


_RATES = {"input": "1", "output": "2"}
_PLANNED = {
    "user": "ada", "agent_type": "data_agent", "provider": "openai", "model": "gpt-5.4", "input_tokens": 10,
    "max_output_tokens": 10,
}  # fmt: skip


def _others(**fields: object) -> str:
    other = {"model": "gpt-5.4-mini", "usage": {"input_tokens": 5, "output_tokens": 1}, **fields}
    return json.dumps([{name: value for name, value in other.items() if value != "missing"}])


def _steps(**fields: object) -> str:
    return json.dumps([{name: value for name, value in {**_STEP, **fields}.items() if value != "missing"}])


_OVERRIDES = {
    "an object": "{}", "a number": "[5]", "no subject": '[{"limits": {"tokens": 1}}]',
    "no limits": '[{"subject": {"tag.team": "core"}}]',
    "empty limits": '[{"subject": {"tag.team": "core"}, "limits": {}}]',
    "below zero": '[{"subject": {"tag.team": "core"}, "limits": {"tokens": -1}}]',
    "a dimension that is not open": '[{"subject": {"user": "ada"}, "limits": null}]',
    "two dimensions": '[{"subject": {"tag.team": "core", "user": "ada"}, "limits": null}]',
    "a star": '[{"subject": {"tag.team": "*"}, "limits": null}]',
    "twice": json.dumps([{"subject": {"tag.team": "core"}, "limits": None}] * 2),
    "too many": json.dumps([{"subject": {"tag.team": str(n)}, "limits": None} for n in range(1_001)]),
}  # fmt: skip


_BAD_TEXT = {
    "too long": json.dumps("x" * 201), "a NUL": '"a\\u0000b"', "a new line": '"a\\nb"', "a delete": '"a\\u007fb"',
    "an escape": '"a\\u001bb"', "half a pair": '"\\ud800"', **_NOT_TEXT,
}  # fmt: skip


BAD: dict[str, dict[str, str]] = {
    "text": {"empty": '""', **_BAD_TEXT},
    "foreign id": _BAD_TEXT,
    "place": {
        "empty": '""', "no slash": '"68419584"', "no id": '"/gpt-5.4"', "a long id": '"9999999999999999999/a"',
        "other digits": '"٣/a"', **_BAD_TEXT, "too long": json.dumps("1/" + "x" * 499),
    },
    "zone": {
        "unknown": '"Mars/Olympus"', "a path": '"../../etc/passwd"', "a rooted path": '"/etc/passwd"',
        "a directory": '"Europe"', "a clock that was not set": '"Factory"', "this machine's": '"localtime"',
        "without leap seconds": '"posix/Europe/Berlin"', "with leap seconds": '"right/UTC"', "empty": '""',
        "a NUL": '"UTC\\u0000"', **_NOT_TEXT,
    },
    "address": {
        "no scheme": '"id.acme.test"', "not https": '"http://id.acme.test"', "a file": '"file:///etc/passwd"',
        "a metadata service": '"http://169.254.169.254/latest"', "empty": '""', "a NUL": '"https://id\\u0000"',
        "no host": '"https://"', "half a host": '"https://["', "two ports": '"https://a:1:2"',
        "user info for a host": '"http://localhost@10.0.0.7/"', **_NOT_TEXT,
    },
    "roles": {
        "a list": "[]", "text": '"admin"', "unknown role": '{"a": "root"}', "operator": '{"a": "operator"}',
        "no name": '{"": "admin"}', "no role": '{"a": null}',
    },
    "model": {
        "text": '"openai/gpt-5.4"', "a list": '["openai", "gpt-5.4"]', "a number": "5", "no model": '{"provider": "a"}',
        "unknown field": '{"provider": "a", "model": "b", "version": "c"}',
    },
    "factor": {
        "empty": '""', "below zero": '"-0.5"', "too large": '"10.1"', "too fine": '"0.1234567891"', "percent": '"15%"',
        "an exponent": '"1e-1"', "not a number": '"NaN"', "too long": json.dumps("0." + "0" * 40), **_NOT_TEXT,
    },
    "rates": {
        "a number": "5", "a list": "[]", "no base": "{}", "no output": '{"base": {"input": "1"}}',
        "a rate as number": '{"base": {"input": 1, "output": "1"}}', "unknown field": '{"base": {}, "top": {}}',
        "unknown kind": '{"base": {"input": "1", "output": "1", "smell": "1"}}',
        "below zero": '{"base": {"input": "-1", "output": "1"}}',
        "too fine": '{"base": {"input": "0.0000000000000000001", "output": "1"}}',
        "too large": '{"base": {"input": "1000001", "output": "1"}}',
        "a comma": '{"base": {"input": "1,5", "output": "1"}}',
        "unknown tier of service": json.dumps({"base": _RATES, "service_tiers": {"slow": {"base": _RATES}}}),
        "half a tier of service": json.dumps({"base": _RATES, "service_tiers": {"flex": {"base": {"input": "1"}}}}),
        "nothing": '{"base": {}}',
        "descending tiers": json.dumps({"base": _RATES, "tiers": [{"above": n, "rates": _RATES} for n in (9, 8)]}),
        "unknown mode of tiers": json.dumps({"base": _RATES, "tier_mode": "graduated"}),
        "output in a marginal tier": json.dumps(
            {"base": _RATES, "tiers": [{"above": 9, "rates": _RATES}], "tier_mode": "marginal"}
        ),
        "no input in a marginal tier": json.dumps(
            {"base": _RATES, "tiers": [{"above": 9, "rates": {}}], "tier_mode": "marginal"}
        ),
        "half a marginal tier": json.dumps({
            "base": {**_RATES, "cache_read": "1"}, "tiers": [{"above": 9, "rates": {"input": "1"}}],
            "tier_mode": "marginal",
        }),
        "marginal tiers of no input": json.dumps(
            {"base": {"pages": "1"}, "tiers": [{"above": 9, "rates": {"input": "1"}}], "tier_mode": "marginal"}
        ),
        "too many": json.dumps({"base": _RATES, "tiers": [{"above": n, "rates": _RATES} for n in range(1, 18)]}),
    },
    "tokens": _counts(0, 100_000_000),
    # No amount is too large: what can't be booked is kept.
    "used": {label: raw for label, raw in _counts(0, 0).items() if label not in _TOO_LARGE},
    "uncompressed": _counts(0, 10**12),
    "limit": _counts(0, 10**15),
    "threshold": _counts(1, 10**15),
    "seconds": _counts(1, 86_400),
    "percent": _counts(1, 100),
    "token_seconds": _counts(60, 3_600),
    "overlap": _counts(0, 604_800),
    "lent": _counts(1, 100_000),
    "weekday": _counts(0, 6),
    "month": _counts(1, 12),
    "percents": {
        "descending": "[20, 10]", "twice": "[10, 10]", "zero": "[0]", "too large": "[1001]", "a float": "[1.5]",
        "text": '["50"]', "a number": "50", "an object": "{}", "null": "null",
        "seventeen": json.dumps(list(range(1, 18))),
    },
    "some_percents": {"descending": "[20, 10]", "twice": "[10, 10]", "zero": "[0]", "a number": "50"},
    "some_limits": {
        "a list": "[]", "a number": "5", "unknown unit": '{"dollars": 5}', "text": '"1.50"',
        "negative": '{"tokens": -1}',
    },
    "some_ids": {
        "none": "[]", "an object": "{}", "a number": "5", "text": '"5"', "ids as numbers": "[5]", "null": "[null]",
        "too large": '["9223372036854775808"]', "a sign": '["-1"]', "1,001": json.dumps([str(n) for n in range(1_001)]),
    },
    "measured": {
        "a list": "[]", "a number": "5", "text": '"fast"', "unknown field": '{"speed": 1}',
        "negative": '{"latency_ms": -1}', "a float": '{"latency_ms": 1.5}', "text for a number": '{"retries": "1"}',
        "longer than a year": '{"first_token_ms": 31622400001}', "stages as a list": '{"stages": ["first_chunk"]}',
        "a stage without a name": '{"stages": {"": 1}}', "a stage without an instant": '{"stages": {"ours": null}}',
        "too many stages": json.dumps({"stages": {f"s{number}": 1 for number in range(33)}}),
        "an error that is a text": json.dumps({"error_kind": "x" * 65}), "a NUL": '{"finish_reason": "\\u0000"}',
    },
    "users": {
        "empty": "[]", "an object": "{}", "null": "null", "a number": "[5]", "no name": '[{"cost_centers": []}]',
        "empty name": '[{"user": ""}]', "a NUL": '[{"user": "a\\u0000"}]', "unknown field": '[{"user": "a", "b": 1}]',
        "twice the same": '[{"user": "a"}, {"user": "a"}]',
        "no cost center": '[{"user": "a", "cost_centers": [{}]}]',
        "no zone": '[{"user": "a", "cost_centers": [{"from": "2026-01-01T00:00:00", "cost_center": "x"}]}]',
        "two without from": '[{"user": "a", "cost_centers": [{"cost_center": "x"}, {"cost_center": "y"}]}]',
        "descending": '[{"user": "a", "cost_centers": [{"from": "2026-02-01T00:00:00Z", "cost_center": "x"},'
                      ' {"from": "2026-01-01T00:00:00Z", "cost_center": "y"}]}]',
    },
    "planned": {
        "empty": "[]", "an object": "{}", "null": "null", "a number": "[5]", "no call": "[{}]",
        "count zero": json.dumps([{**_PLANNED, "count": 0}]),
        "count too large": json.dumps([{**_PLANNED, "count": 1001}]),
        "too many together": json.dumps([{**_PLANNED, "count": 600}] * 2),
        "a key": json.dumps([{**_PLANNED, "idempotency_key": "a"}]),
        "no user": json.dumps([{name: value for name, value in _PLANNED.items() if name != "user"}]),
        "more cached than input": json.dumps([{**_PLANNED, "cached_input_tokens": 11}]),
        "sixty-five": json.dumps([_PLANNED] * 65),
    },
    "money": {
        "negative": '"-1"', "an exponent": '"1e3"', "NaN": '"NaN"', "Infinity": '"Infinity"', "a number": "1",
        "a float": "1.5", "NaN as number": "NaN", "finer than a nano": '"1.0000000001"',
        "finer, after many digits": '"1.0000000000000000000000000001"',
        "too large": '"9223372036.854775808"', "empty": '""', "a blank": '" 1"', "a comma": '"1,5"', "a dot": '"."',
        "no whole": '".5"', "no fraction": '"1."', "signed": '"+1"', "hexadecimal": '"0x10"', "grouped": '"1_000"',
        "other digits": '"\\u0663"', "a new line": '"1\\n"', "a boolean": "true", "a list": '["1"]',
    },
    "flag": {"text": '"true"', "zero": "0", "one": "1", "null": "null", "a list": "[true]"},
    "choice": {
        "unknown": '"nonsense"', "empty": '""', "null": "null", "a NUL": '"\\u0000"', "capitals": '"AGENT"',
        "operator": '"operator"', **_NOT_TEXT,
    },
    "choice_or_none": {"unknown": '"nonsense"', "empty": '""', "without quotes": "5", **_NOT_TEXT},
    "choices": {"unknown": '["nonsense"]', "text": '"model_downgrade"', "a number": "[5]", "an object": "{}"},
    "claimed_instant": {
        "a number": "1763719200", "a float": "1.7e9", "digits": '"1763719200"', "no zone": '"2026-11-21T10:00:00"',
        "a date": '"2026-11-21"', "no month": '"2026-13-21T10:00:00Z"', "words": '"yesterday"', "empty": '""',
        "a boolean": "true", "a list": "[]", "NaN": "NaN", "year 10000": '"10000-01-01T00:00:00Z"',
    },
    "instant": {
        "a number": "1763719200", "no zone": '"2026-11-21T10:00:00"', "words": '"yesterday"', "empty": '""',
        "before all": '"0001-01-01T00:00:00+14:00"', "last century": '"1999-12-31T23:59:59Z"',
        "year 3000": '"3000-01-01T00:00:00Z"', "after all": '"9999-12-31T23:59:59-23:00"',
    },
    "id": {
        "a number": "5", "empty": '""', "negative": '"-1"', "a float": '"1.0"', "words": '"abc"',
        "beyond bigint": '"9223372036854775808"', "far beyond bigint": '"99999999999999999999"',
        "other digits": '"\\u0663"', "a blank": '"1 "', "a NUL": '"1\\u0000"', "a boolean": "true", "a list": "[]",
    },
    "tags": {
        "a list": "[]", "text": '"a"', "a number": '{"a": 5}', "null": '{"a": null}', "no name": '{"": "x"}',
        "no value": '{"a": ""}', "a NUL in the name": '{"a\\u0000": "x"}', "a NUL in the value": '{"a": "x\\u0000"}',
        "half a pair": '{"a": "\\udfff"}', "nine": json.dumps({str(n): "x" for n in range(9)}),
    },
    "names": {
        "text": '"a"', "a number": "[5]", "empty": '[""]', "null": "[null]", "a NUL": '["a\\u0000"]',
        "seventeen": json.dumps(["x"] * 17), "an object": "{}",
    },
    "flag_or_none": {"text": '"true"', "zero": "0", "one": "1", "a list": "[true]"},
    "capabilities": {
        "text": '"a"', "a number": "[5]", "empty": '[""]', "null": "[null]", "a NUL": '["a\\u0000"]',
        "thirty-three": json.dumps(["x"] * 33), "an object": "{}",
    },
    "day": {
        "empty": '""', "an instant": '"2027-03-01T00:00:00Z"', "no day": '"2027-02-30"', "a year": '"2027"',
        "long ago": '"1999-12-31"', "a NUL": '"2027-03-01\\u0000"', **_NOT_TEXT,
    },
    "model_tokens": _counts(1, 100_000_000),
    "list": {
        "empty": "[]", "null": "null", "an object": "{}", "text": '"a"', "a number": "5",
        "257": "[" + ",".join(["{}"] * 257) + "]",
    },
    "long list": {
        "empty": "[]", "null": "null", "an object": "{}", "text": '"a"', "a number": "5",
        "1,001": "[" + ",".join(["{}"] * 1_001) + "]",
    },
    "files": {
        "empty": "[]", "null": "null", "text": '"a"', "no name": '[{"content": "a"}]', "no content": '[{"name": "a"}]',
        "empty content": '[{"name": "a", "content": ""}]',
        "unknown field": '[{"name": "a", "content": "a", "size": 1}]',
        "half a surrogate pair": '[{"name": "a", "content": "\\ud800"}]',
        "no CSV": '[{"name": "a", "content": "\\u0000"}]',
        "65": "[" + ",".join(['{"name": "a", "content": "when"}'] * 65) + "]",
    },
    "mapping": {
        "a list": "[]", "text": '"a"', "empty": "{}", "unknown key": '{"columns": {"model": "m"}, "rows": 1}',
        "unknown field": '{"columns": {"smell": "s"}}', "null": "null",
    },
    "announced": {
        "a list": "[]", "text": '"images"', "a number": "5", "null": "null", "unknown kind": '{"sides": 1}',
        "a kind of every call": '{"input_tokens": 1}', "negative": '{"images": -1}', "a fraction": '{"images": 0.5}',
        "no number": '{"images": null}', "beyond bigint": '{"images": 9223372036854775808}',
    },
    "limits": {
        "a list": "[]", "a number": "5", "null": "null", "unknown unit": '{"dollars": 5}', "text": '"1.50"',
        "negative": '{"tokens": -1}',
    },
    "usage": {
        "a list": "[]", "a number": "5", "null": "null", "empty": "{}",
        "unknown kind": '{"input_tokens": 1, "output_tokens": 1, "audio_tokens": 1}',
    },
    "selector": {
        "unknown dimension": '{"planet": "x"}', "a tag without name": '{"tag.": "x"}', "no value": '{"user": ""}',
        "a number": '{"user": 5}', "a list": "[]", "null": "null", "a NUL": '{"user": "\\u0000"}',
        "thirteen": json.dumps({f"tag.{n}": "x" for n in range(13)}),
        "two stars": '{"user": "**"}', "a star before": '{"user": "*@corp.com"}',
        "a blank and a star": '{"user": " *"}',
        "a star within": '{"user": "a*b"}', "no name": '{"user": []}', "a name twice": '{"user": ["a", "a"]}',
        "a list of numbers": '{"user": [5]}', "a star in a list": '{"user": ["*"]}', "no text": '{"user": null}',
        "a hundred and one": json.dumps({"user": [str(n) for n in range(101)]}),
        "a NUL in a list": '{"user": ["\\u0000"]}',
    },
    "subject": {
        "a number": '{"user": 5}', "a list": "[]", "null": "null", "no value": '{"user": ""}',
        "a NUL": '{"user": "\\u0000"}', "another dimension": '{"user": "ada"}', "text": '"ada"',
        "thirteen": json.dumps({f"tag.{n}": "x" for n in range(13)}),
    },
    "overrides": {**_OVERRIDES, "null": "null"},
    "some_overrides": _OVERRIDES,
    "shares": {
        "an object": "{}", "a number": "[5]", "no weight": '[{"agent_type": "a"}]', "null": "null",
        "weight zero": '[{"agent_type": "a", "weight": 0}]', "weight below zero": '[{"agent_type": "a", "weight": -1}]',
        "weight a float": '[{"agent_type": "a", "weight": 1.0}]', "weight NaN": '[{"agent_type": "a", "weight": NaN}]',
        "no agent type": '[{"weight": 1}]', "unknown field": '[{"agent_type": "a", "weight": 1, "share": 1}]',
        "minimum below zero": '[{"agent_type": "a", "weight": 1, "minimum_tokens": -1}]',
        "twice the same": '[{"agent_type": "a", "weight": 1}, {"agent_type": "a", "weight": 1}]',
        "minimum above the limit": '[{"agent_type": "a", "weight": 1, "minimum_tokens": 1001}]',
        "sixty-five": json.dumps([{"agent_type": str(n), "weight": 1} for n in range(65)]),
    },
    "some_shares": {
        "an object": "{}", "a number": "[5]", "no weight": '[{"agent_type": "a"}]', "null": "null", "empty": "[]",
        "weight zero": '[{"agent_type": "a", "weight": 0}]',
        "twice the same": '[{"agent_type": "a", "weight": 1}, {"agent_type": "a", "weight": 1}]',
    },
    "other_models": {
        "an object": "{}", "a number": "[5]", "null": "null", "no model": _others(model="missing"),
        "no usage": _others(usage="missing"), "empty model": _others(model=""), "NUL": _others(model="a\0"),
        "below zero": _others(usage={"input_tokens": -1, "output_tokens": 1}),
        "unknown tier": _others(service_tier="slow"), "unknown field": _others(calls=1),
        "nine": json.dumps(json.loads(_others()) * 9),
    },
    "steps": {
        "an object": "{}", "a number": "[5]", "no target": _steps(to_model="missing"),
        "no context": _steps(context_tokens=0), "unknown field": _steps(discount=1), "empty model": _steps(model=""),
        "capability a number": _steps(capabilities=[5]), "NUL": _steps(to_model="a\0"),
        "sixty-five": json.dumps([_STEP] * 65),
    },
}  # fmt: skip


_NULL_ENDS_IT = {("price", "rates"), ("alias", "stands_for"), ("discount", "factor")}
"""Required fields of which null is the end of what was set."""


def _rows() -> list[tuple[str, str, str, str]]:
    rows = []
    for verb in VERBS:
        for path, kind in verb.kinds.items():
            rows += [(verb.name, path, label, raw) for label, raw in BAD[kind].items()]
            if path in verb.required and "null" not in BAD[kind] and (verb.name, path) not in _NULL_ENDS_IT:
                rows.append((verb.name, path, "null", "null"))
    return rows


ROWS = _rows()


@pytest.fixture(scope="module")
async def ids(world: World) -> dict[str, str]:
    return await named_ids(world)


async def _send(world: World, verb: Verb, ids: dict[str, str], body: bytes) -> httpx2.Response:
    headers = {**world.headers(*verb.who), "Content-Type": "application/json"}
    return await world.client.request(verb.method, verb.path.format(**ids), headers=headers, content=body)


@pytest.mark.parametrize(("name", "path", "label", "raw"), ROWS, ids=[f"{n}-{p}-{label}" for n, p, label, _ in ROWS])
async def test_a_bad_value_is_refused_naming_the_field_and_changes_nothing(
    name: str, path: str, label: str, raw: str, world: World, ids: dict[str, str]
) -> None:
    verb = BY_NAME[name]
    before = await world.state()
    answer = await _send(world, verb, ids, verb.raw_body(path, raw))
    if verb.hot and label == "half a pair":
        check_problem(answer, 400, "malformed_json")  # this parser takes half a pair for a broken escape
    else:
        code = "infeasible_allocation" if label == "minimum above the limit" else "invalid_request"
        value = check_problem(answer, 422, code)
        fields = [error["field"] for error in value["errors"]]
        assert fields
        assert all(field == path or field.startswith(f"{path}.") for field in fields), fields
    assert await world.state() == before


@pytest.mark.parametrize(
    ("name", "path"), [(verb.name, path) for verb in VERBS for path in verb.required], ids=lambda value: value
)
async def test_a_missing_field_is_named_and_changes_nothing(
    name: str, path: str, world: World, ids: dict[str, str]
) -> None:
    verb = BY_NAME[name]
    body = verb.fresh_body()
    *outer, last = path.split(".")
    inner = body
    for part in outer:
        inner = inner[part]
    del inner[last]
    before = await world.state()
    check_problem(await _send(world, verb, ids, json.dumps(body).encode()), 422, "invalid_request", path)
    assert await world.state() == before


@pytest.mark.parametrize("name", [verb.name for verb in VERBS if verb.model])
async def test_an_unknown_field_is_named_and_changes_nothing(name: str, world: World, ids: dict[str, str]) -> None:
    verb = BY_NAME[name]
    body = {**verb.fresh_body(), "max_tokens": 5}
    before = await world.state()
    check_problem(await _send(world, verb, ids, json.dumps(body).encode()), 422, "invalid_request", "max_tokens")
    assert await world.state() == before


CROSS_FIELD: tuple[tuple[str, dict[str, object], str], ...] = (
    ("reserve", {"user": None, "cost_center": None}, "user"),
    ("reserve", {"run_id": "1"}, "user"),
    ("reserve", {"run_id": "1", "user": None}, "cost_center"),
    ("reserve", {"cached_input_tokens": 1_001}, "cached_input_tokens"),
    ("run", {"user": None}, "user"),
    ("run", {"parent_run_id": "1"}, "user"),
    ("run", {"parent_run_id": "1", "user": None}, "cost_center"),
    ("run", {"attach": True, "external_id": None}, "external_id"),
    ("run", {"limits": {}, "preset": "open_end"}, "limits.tokens"),
    ("lease", {"user": None, "cost_center": None}, "user"),
    ("lease", {"cached_input_tokens": 1_001}, "cached_input_tokens"),
    ("settle", {"part": True}, "idempotency_key"),
    ("change run", {"limits": {}, "iterations": None}, "limits"),
    ("grant", {"tokens": None, "cost": None, "calls": None}, "tokens"),
    ("grant", {"tokens": 0}, "tokens"),
    ("token", {"user": None}, "user"),
    ("token", {"run_id": "1"}, "user"),
    ("increase", {"cost": "0"}, "tokens"),
    ("budget", {"limits": {}}, "limits"),
)


@pytest.mark.parametrize(("name", "change", "field"), CROSS_FIELD)
async def test_fields_that_contradict_each_other_are_named_and_change_nothing(
    name: str, change: dict[str, object], field: str, world: World, ids: dict[str, str]
) -> None:
    verb = BY_NAME[name]
    body = {key: value for key, value in {**verb.fresh_body(), **change}.items() if value is not None}
    if name == "settle":
        del body["idempotency_key"]
    before = await world.state()
    code = "infeasible_allocation" if field == "limits.tokens" else "invalid_request"
    check_problem(await _send(world, verb, ids, json.dumps(body).encode()), 422, code, field)
    assert await world.state() == before


@pytest.mark.parametrize("name", [verb.name for verb in VERBS if verb.model])
def test_the_tables_list_every_field_of_every_body(name: str) -> None:
    verb = BY_NAME[name]
    assert verb.model is not None
    assert {path for path in verb.kinds if "." not in path} == set(verb.model.model_fields)
    required = {field for field, info in verb.model.model_fields.items() if info.is_required()}
    assert {path for path in verb.required if "." not in path} == required


@pytest.mark.parametrize("name", [verb.name for verb in VERBS])
async def test_the_complete_body_is_accepted_and_its_change_is_seen(name: str, world: World) -> None:
    verb = BY_NAME[name]
    ids = await named_ids(world)
    before = await world.state()
    answer = await _send(world, verb, ids, json.dumps(verb.fresh_body()).encode())
    assert answer.status_code == verb.status, answer.text
    assert (await world.state() != before) is (name not in ("preflight", "token"))
