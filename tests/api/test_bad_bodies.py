"""Malformed, oversized and wrongly typed bodies, unknown ids, invalid parameters."""

import json
from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest

from tests.api.verbs import BY_NAME, VERBS, Verb, named_ids
from tests.api.world import World, check_problem
from token_ledger.core.model.principal import Role

WITH_BODY = [verb.name for verb in VERBS if verb.model]
LARGEST = 1_048_576


@pytest.fixture(scope="module")
async def ids(world: World) -> dict[str, str]:
    return await named_ids(world)


def _headers(world: World, verb: Verb, content_type: str | None = "application/json") -> dict[str, str]:
    return {**world.headers(*verb.who), **({"Content-Type": content_type} if content_type is not None else {})}


MALFORMED = {
    "cut off": b'{"idempotency_key": "a"',
    "only a brace": b"{",
    "single quotes": b"{'idempotency_key': 'a'}",
    "a trailing comma": b'{"idempotency_key": "a",}',
    "two values": b"{} {}",
    "a comment": b'{"idempotency_key": "a" /* b */}',
    "words": b"give me tokens",
    "a bare NUL": b'{"idempotency_key": "\x00"}',
    "bytes that are no text": b'{"idempotency_key": "\xff\xfe"}',
    "a million nested lists": b"[" * 1_000_000,
    "a number of five thousand digits": b'{"idempotency_key": ' + b"9" * 5_000 + b"}",
    "a form": b"idempotency_key=a&user=ada",
    "nothing but blanks": b"   ",
}


@pytest.mark.parametrize("label", MALFORMED)
@pytest.mark.parametrize("name", WITH_BODY)
async def test_a_body_that_is_not_json_is_400_and_changes_nothing(
    name: str, label: str, world: World, ids: dict[str, str]
) -> None:
    verb = BY_NAME[name]
    before = await world.state()
    answer = await world.client.request(
        verb.method, verb.path.format(**ids), headers=_headers(world, verb), content=MALFORMED[label]
    )
    check_problem(answer, 400, "malformed_json")
    assert await world.state() == before


NO_OBJECTS = ("null", "[]", '"text"', "5", "true", "NaN", "[{}]")
OPTIONAL_BODY = ("cancel", "close")


@pytest.mark.parametrize(
    ("name", "text"), [(n, t) for n in WITH_BODY for t in NO_OBJECTS if not (t == "null" and n in OPTIONAL_BODY)]
)
async def test_json_that_is_not_an_object_is_refused_and_changes_nothing(
    name: str, text: str, world: World, ids: dict[str, str]
) -> None:
    verb = BY_NAME[name]
    before = await world.state()
    answer = await world.client.request(
        verb.method, verb.path.format(**ids), headers=_headers(world, verb), content=text.encode()
    )
    check_problem(answer, 422, "invalid_request", "")
    assert await world.state() == before


@pytest.mark.parametrize("name", ["cancel", "close", "release"])
async def test_a_body_with_only_optional_fields_may_be_left_out(name: str, world: World) -> None:
    path = BY_NAME[name].path.format(**await named_ids(world))
    answer = await world.client.post(path, headers=world.headers())
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("name", WITH_BODY)
async def test_a_body_whose_content_length_is_too_large_is_413_and_changes_nothing(
    name: str, world: World, ids: dict[str, str]
) -> None:
    verb = BY_NAME[name]
    body = json.dumps(verb.fresh_body()).encode()
    body += b" " * (LARGEST + 1 - len(body))
    before = await world.state()
    answer = await world.client.request(
        verb.method, verb.path.format(**ids), headers=_headers(world, verb), content=body
    )
    check_problem(answer, 413, "body_too_large")
    assert await world.state() == before


@pytest.mark.parametrize("name", WITH_BODY)
async def test_a_streamed_body_that_is_too_large_is_413_and_changes_nothing(
    name: str, world: World, ids: dict[str, str]
) -> None:
    verb = BY_NAME[name]
    body = json.dumps(verb.fresh_body()).encode()

    async def chunks() -> AsyncIterator[bytes]:
        yield body
        for _ in range(17):
            yield b" " * 65_536

    before = await world.state()
    answer = await world.client.request(
        verb.method, verb.path.format(**ids), headers=_headers(world, verb), content=chunks()
    )
    check_problem(answer, 413, "body_too_large")
    assert await world.state() == before


async def test_a_body_of_exactly_the_largest_size_is_accepted(world: World) -> None:
    body = json.dumps(BY_NAME["reserve"].fresh_body()).encode()
    body += b" " * (LARGEST - len(body))
    headers = _headers(world, BY_NAME["reserve"])
    assert (await world.client.post("/v1/reservations", headers=headers, content=body)).status_code == 201


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "text/json", "", None]
)
@pytest.mark.parametrize("name", WITH_BODY)
async def test_a_body_of_another_media_type_is_415_and_changes_nothing(
    name: str, content_type: str | None, world: World, ids: dict[str, str]
) -> None:
    verb = BY_NAME[name]
    body = json.dumps(verb.fresh_body()).encode()
    before = await world.state()
    answer = await world.client.request(
        verb.method, verb.path.format(**ids), headers=_headers(world, verb, content_type), content=body
    )
    check_problem(answer, 415, "unsupported_media_type")
    assert await world.state() == before


NO_IDS = (
    "abc", "-1", "+1", "1.0", "0x10", "1e3", "\0", "1\0", "\u0663", " 1", "1 ", "9223372036854775808", "9" * 20,
    "9" * 5_000, "null", "'; drop table runs; --", "%00",
)  # fmt: skip
NOWHERE = ("0", "1", "9223372036854775807")


def _bodies_of_paths_with_ids() -> list[tuple[str, str, bytes | None]]:
    verbs = [
        (v.method, v.path, json.dumps(v.fresh_body()).encode() if v.model else None)
        for v in VERBS
        if "{" in v.path and not {"{user}", "{tenant_id}", "{provider}"} & set(v.path.split("/"))
    ]
    return [*verbs, ("GET", "/v1/runs/{run_id}", None), ("GET", "/v1/reservations/{reservation_id}", None)]


@pytest.mark.parametrize("text", [*NO_IDS, *NOWHERE], ids=lambda text: ascii(text[:24]))
async def test_an_id_that_does_not_exist_is_404_and_changes_nothing(text: str, world: World) -> None:
    before = await world.state()
    for method, path, body in _bodies_of_paths_with_ids():
        url = path[: path.index("{")] + quote(text, safe="") + path[path.index("}") + 1 :]
        who = ("operator", Role.OPERATOR) if path.startswith("/v1/tenants") else ("acme", Role.ADMIN)
        headers = {**world.headers(*who), "Content-Type": "application/json"}
        answer = await world.client.request(method, url, headers=headers, content=body)
        assert answer.status_code == 404, (method, path, answer.text)
        code = answer.json()["code"]
        check_problem(answer, 404, code)
        known = {
            "not_found",
            *(f"{what}_not_found" for what in ("run", "reservation", "budget", "account", "increase")),
        }
        assert code == "not_found" if text in NO_IDS else code in known, (path, code)
    assert await world.state() == before


BAD_PARAMETERS = (
    ("/v1/runs", "limit", ("0", "-1", "501", "1.5", "abc", "", "9" * 30)),
    ("/v1/runs", "after", ("-1", "abc", "9" * 20, "")),
    ("/v1/runs", "state", ("ended", "", "OPEN", "\0")),
    ("/v1/runs", "user", ("", "\0", "a\nb", "x" * 201)),
    ("/v1/runs", "external_id", ("", "\0", "a\x7fb", "x" * 201)),
    ("/v1/accounts", "limit", ("0", "1001", "abc")),
    ("/v1/accounts", "after", ("-1", "abc", "9" * 20, "9223372036854775808", "")),
    ("/v1/accounts", "budget_id", ("-1", "abc", "9223372036854775808", "\u0663")),
    ("/v1/quarantine", "limit", ("0", "1001", "abc")),
    ("/v1/quarantine", "after", ("-1", "abc", "9" * 20, "")),
    ("/v1/quarantine", "state", ("held", "", "OPEN", "\0")),
    ("/v1/reports/spend", "group_by", ("planet", "", "user; drop table runs", "user_id")),
    (
        "/v1/reports/spend", "from",
        (
            "yesterday", "5", "1763719200", "2026-11-31", "1999-12-31", "20261121", "2026-11",
            "2026-11-21T00:00:00", "0001-01-01T00:00:00+14:00",
            "9999-12-31T23:59:59-14:00", "1999-12-31T23:59:59Z", "3000-01-01T00:00:00Z", "\0", "",
        ),
    ),
    ("/v1/reports/spend", "to", ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59-14:00", "NaN", "2026-02-30T00:00:00Z")),
    ("/v1/live", "after", ("-1", "1.5", "abc", "140737488355328", "9" * 30)),
)  # fmt: skip


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [(path, name, value) for path, name, values in BAD_PARAMETERS for value in values],
    ids=lambda value: ascii(value[:24]),
)
async def test_a_bad_parameter_is_named(path: str, name: str, value: str, world: World) -> None:
    check_problem(
        await world.client.get(path, headers=world.headers(), params={name: value}), 422, "invalid_request", name
    )


async def test_a_span_that_ends_before_it_begins_is_an_empty_report(world: World) -> None:
    span = {"from": "2026-11-21T00:00:00Z", "to": "2026-11-20T00:00:00Z"}
    answer = await world.client.get("/v1/reports/spend", headers=world.headers(), params=span)
    assert (answer.status_code, answer.json()["rows"]) == (200, [])


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "TRACE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/v1/reservations", "/v1/reservations/1/settle", "/v1/runs", "/v1/reports/spend"])
async def test_an_unsupported_method_is_405_and_a_problem(method: str, path: str, world: World) -> None:
    answer = await world.client.request(method, path, headers=world.headers())
    check_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"]


@pytest.mark.parametrize("path", ["/v1", "/v1/nothing", "/v1/reservations/1/refund", "/v2/runs", "/%00"])
async def test_an_unknown_path_is_404_and_a_problem(path: str, world: World) -> None:
    check_problem(await world.client.get(path, headers=world.headers()), 404, "not_found")
