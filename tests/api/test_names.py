"""Names over HTTP: another spelling of a name is the same name, and the longest ones fit every index."""

import json
import random
from typing import Any

import pytest

from tests.api.verbs import budget, event, reservation
from tests.api.world import World, check_problem, fresh
from token_ledger.core.model.principal import Role

SPELLINGS = {
    "as it is": "zo\u00eb{}",
    "white space after it": "zo\u00eb{} ",
    "white space around it": "\t\u00a0 zo\u00eb{}\u3000\n",
    "decomposed": "zoe\u0308{}",
}
INVISIBLE = ("\u200b", "\u200e", "\u00ad", "\u034f", "\u3164", "\ufe0f", "\ufeff", "\U000e0061", "\u2028", "\u0378")


async def test_every_spelling_of_a_user_falls_on_one_budget(world: World) -> None:
    limit = {"selector": {"user": "*"}, "limits": {"calls": 3}, "window": "total"}
    await world.made("/v1/budgets", budget(fresh("each"), **limit), tenant="globex")
    number = fresh("")
    statuses = [
        (await world.post("/v1/reservations", reservation(user=text.format(number)), tenant="globex")).status_code
        for text in SPELLINGS.values()
    ]
    assert statuses == [201, 201, 201, 402]
    (stored,) = await world.rows(
        "select distinct user_id from reservations where user_id like 'zo%' || $1 || '%'", number
    )
    assert stored["user_id"] == f"zo\u00eb{number}"
    listed = await world.get("/v1/reservations", user=f" zoe\u0308{number}", tenant="globex")
    assert len(listed.json()["reservations"]) == 3


async def test_case_stays(world: World) -> None:
    limit = {"selector": {"agent_type": "*"}, "limits": {"calls": 1}, "window": "total"}
    await world.made("/v1/budgets", budget(fresh("each"), **limit), tenant="globex")
    name = fresh("agent")
    for agent_type in (name, name.upper()):
        await world.made("/v1/reservations", reservation(agent_type=agent_type), tenant="globex")


async def test_names_of_a_budget_match_however_calls_spell_them(world: World) -> None:
    team = fresh("core")
    selector = {" tag. team\u0300 ": f"{team}\u00a0", "cost_center ": f" research-{team}"}
    made = await world.made("/v1/budgets", budget(f" {team} ", selector=selector, limits={"calls": 0}))
    assert (made["name"], made["selector"]) == (
        team, {"tag.team\u0300": team, "cost_center": f"research-{team}"},
    )  # fmt: skip
    call = reservation(cost_center=f"research-{team}  ", tags={"\u3000team\u0300": f"{team}\n"})
    check_problem(await world.post("/v1/reservations", call), 402, "budget_exceeded")
    check_problem(await world.post("/v1/budgets", budget(team)), 409, "budget_exists")


FIELDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "user": ("user", "/v1/reservations", reservation(user="{}")),
    "cost center": ("cost_center", "/v1/reservations", reservation(cost_center="{}")),
    "agent type": ("agent_type", "/v1/reservations", reservation(agent_type="{}")),
    "request type": ("request_type", "/v1/reservations", reservation(request_type="{}")),
    "provider": ("provider", "/v1/reservations", reservation(provider="{}")),
    "model": ("model", "/v1/reservations", reservation(model="{}")),
    "tool": ("tool", "/v1/reservations", reservation(tool="{}")),
    "capability": ("requires.0", "/v1/reservations", reservation(requires=["{}"])),
    "tag": ("tags.{}.[key]", "/v1/reservations", reservation(tags={"{}": "core"})),
    "value of a tag": ("tags.team", "/v1/reservations", reservation(tags={"team": "{}"})),
    "budget": ("name", "/v1/budgets", budget("{}", selector={"user": "ada"})),
    "selected user": ("selector", "/v1/budgets", budget("one", selector={"user": "{}"})),
    "selected tag": ("selector.tag.{}.[key]", "/v1/budgets", budget("one", selector={"tag.{}": "core"})),
    "user of a run": ("user", "/v1/runs", {"idempotency_key": "run", "user": "{}"}),
    "cost center of a run": ("cost_center", "/v1/runs", {"idempotency_key": "run", "user": "a", "cost_center": "{}"}),
    "user of a token": ("user", "/v1/tokens", {"user": "{}"}),
}


def _filled(value: Any, name: str) -> Any:
    """Return a body in which a name takes the place of `{}`."""
    if isinstance(value, dict):
        return {each.replace("{}", name): _filled(inner, name) for each, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, name) for inner in value]
    return value.replace("{}", name) if isinstance(value, str) else value


@pytest.mark.parametrize("label", FIELDS)
async def test_a_character_that_nobody_sees_is_refused_with_its_position(label: str, world: World) -> None:
    field, path, body = FIELDS[label]
    for character in INVISIBLE:
        name = f"ad{character}a"
        problem = check_problem(await world.post(path, _filled(body, name)), 422, "invalid_request")
        assert f"character 3 is U+{ord(character):04X}" in problem["detail"]
        shown = field.replace("{}", name)
        assert problem["errors"][0]["field"] == (shown if shown.isprintable() else ascii(shown)[1:-1])


async def test_what_is_no_name_is_kept_as_it_is_sent(world: World) -> None:
    reason = " \u2764\ufe0f zoe\u0308 "
    made = await world.made("/v1/runs", {"idempotency_key": f" {fresh()} ", "user": "ada", "external_id": reason})
    assert made["external_id"] == reason
    assert len((await world.get("/v1/runs", external_id=reason)).json()["runs"]) == 1
    assert (await world.get("/v1/runs", external_id=reason.strip())).json()["runs"] == []
    hold = await world.made("/v1/reservations", reservation())
    released = {"idempotency_key": fresh(), "reason": reason}
    await world.made(f"/v1/reservations/{hold['reservation_id']}/force-release", released)
    (entry,) = await world.rows("select after::text from audit_log where action = 'reservation.force_release'")
    assert json.loads(entry["after"])["reason"] == reason


@pytest.mark.parametrize("sent", [{"team": "a", "team ": "b"}, {"zo\u00eb": "a", "zoe\u0308": "b"}])
async def test_two_spellings_of_one_name_in_a_mapping_are_refused(sent: dict[str, str], world: World) -> None:
    answer = await world.post("/v1/reservations", reservation(tags=sent))
    check_problem(answer, 422, "invalid_request", "tags")
    selector = {f"tag.{name}": value for name, value in sent.items()}
    check_problem(
        await world.post("/v1/budgets", budget(fresh(), selector=selector)), 422, "invalid_request", "selector"
    )


async def test_two_spellings_of_one_user_in_a_list_are_refused(world: World) -> None:
    body = {"idempotency_key": fresh(), "users": [{"user": "ada"}, {"user": "ada "}]}
    check_problem(await world.post("/v1/users", body, method="PUT"), 422, "invalid_request", "users")


async def test_a_user_is_erased_by_any_spelling(own_world: World) -> None:
    await own_world.made("/v1/reservations", reservation(user="zo\u00eb"))
    await own_world.made("/v1/users/%20zoe%CC%88/erase", {"idempotency_key": "erase"})
    problem = await own_world.post("/v1/users/zo%E2%80%8Be/erase", {"idempotency_key": "erase-2"})
    assert "character 3 is U+200B" in check_problem(problem, 422, "invalid_request")["detail"]


async def test_events_spell_names_alike_and_a_name_that_is_none_is_quarantined(world: World) -> None:
    user = fresh("ada")
    events = [
        event(user=f" {user}"),
        event(user=f"ad\u200ba-{user}"),
        event(user="\u7814" * 167, agent_type="\u7814" * 167, model="\u7814" * 167, request_type="\u7814" * 167),
        event(user="\U00020000" * 167, agent_type="\U00020000" * 167, request_type="\U00020000" * 167),
        event(user=f"{user}\u3000"),
    ]
    results = (await world.made("/v1/events", {"events": events}))["results"]
    assert [each["status"] for each in results] == ["booked", "quarantined", "quarantined", "quarantined", "booked"]
    assert results[1]["detail"] == (
        "events.1.user: character 3 is U+200B (ZERO WIDTH SPACE), an invisible or format character; leave it out of"
        " the name"
    )
    assert "at most 256 bytes of UTF-8; this one has 501" in results[2]["detail"]
    assert "at most 256 bytes of UTF-8; this one has 668" in results[3]["detail"]
    counted = await world.rows("select count(*) from usage_events where user_id = $1", user)
    assert counted[0][0] == 2


async def test_the_longest_names_in_all_fields_at_once_are_booked(world: World) -> None:
    """Every character differs, because PostgreSQL compresses what repeats before it measures an entry of an index."""
    dice = random.Random(2_704)

    def text(characters: int) -> str:
        return "".join(map(chr, dice.choices(range(0x20000, 0x2A6D0), k=characters)))

    def name() -> str:
        return text(64)

    def call(**fields: Any) -> dict[str, Any]:
        named = {"agent_type": name(), "request_type": name(), "tool": name(), "tags": {name(): name()}}
        return reservation(idempotency_key=text(200), **{**named, **fields})

    run = await world.made(
        "/v1/runs",
        {"idempotency_key": text(200), "user": name(), "cost_center": name(), "external_id": text(200)},
    )
    of_run = {"user": None, "run_id": run["run_id"]}
    for fields in ({"user": name(), "cost_center": name()}, of_run):
        hold = await world.made("/v1/reservations", call(**fields))
        path = f"/v1/reservations/{hold['reservation_id']}/settle"
        usage = {"input_tokens": 10, "output_tokens": 10}
        served = {"provider": name(), "model": name(), "tool": name(), "response_id": text(200)}
        part = {"idempotency_key": text(200), "usage": usage, "part": True, **served}
        await world.made(path, part)
        await world.made(path, {"idempotency_key": text(200), "usage": usage, **served})
    recorded = event(
        source=text(200), idempotency_key=text(200), user=name(), cost_center=name(), agent_type=name(),
        provider=name(), model=name(), request_type=name(), tool=name(), response_id=text(200),
        tags={name(): name() for _ in range(8)},
    )  # fmt: skip
    bad = event(source=text(200), idempotency_key=text(200), user=name() + "x")
    results = (await world.made("/v1/events", {"events": [recorded, bad]}))["results"]
    assert [each["status"] for each in results] == ["booked", "quarantined"]
    await world.made("/v1/budgets", budget(name(), selector={f"tag.{name()}": name()}))
    await world.made(
        "/v1/users",
        {"idempotency_key": text(200), "users": [{"user": name(), "cost_centers": [{"cost_center": name()}]}]},
        method="PUT",
    )
    await world.made("/v1/tenants", {"name": name()}, tenant="operator", role=Role.OPERATOR)
