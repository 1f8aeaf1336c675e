"""Health, readiness, and samples for each of the eight requested metrics."""

import re
import time
from functools import partial

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.api.verbs import MODEL, budget, event, reservation
from tests.api.waiting import until
from tests.api.world import World, check_problem, fresh
from token_ledger.cli.tenants import make_tenant
from token_ledger.core.model.principal import Role
from token_ledger.observability.requested_figures import REQUESTED_FIGURES
from token_ledger.worker.gauges import refresh_gauges

Samples = list[tuple[str, dict[str, str], float]]


async def _scrape(world: World) -> Samples:
    families = text_string_to_metric_families(await world.metrics())
    return [(s.name, s.labels, s.value) for family in families for s in family.samples]


def _sum(samples: Samples, name: str, **labels: str) -> float:
    return sum(value for found, has, value in samples if found == name and labels.items() <= has.items())


async def test_a_serving_process_is_up_and_ready_and_needs_no_key(world: World) -> None:
    up, ready = await world.client.get("/healthz"), await world.client.get("/readyz")
    assert (up.status_code, up.json()["status"]) == (200, "ok")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready"})


@pytest.mark.parametrize(("proxy", "scheme"), [({"X-Forwarded-Proto": "https"}, "https"), ({}, "http")])
async def test_a_redirect_keeps_the_scheme_that_the_proxy_names(
    world: World, proxy: dict[str, str], scheme: str
) -> None:
    answer = await world.client.get("/healthz/", headers=proxy)
    assert answer.status_code == 307
    assert answer.headers["location"].startswith(f"{scheme}://")


async def _answers_readyz(world: World, status: int) -> bool:
    return (await world.client.get("/readyz")).status_code == status


async def test_a_process_whose_database_is_at_another_revision_is_up_but_not_ready(own_world: World) -> None:
    await own_world.rows("update alembic_version set version_num = '1999_01_01_older'")
    await until(partial(_answers_readyz, own_world, 503))  # an answer is good for a second
    answer = await own_world.client.get("/readyz")
    problem = check_problem(answer, 503, "unavailable")
    assert "1999_01_01_older" in problem["detail"]
    assert answer.headers["retry-after"]
    assert (await own_world.client.get("/healthz")).status_code == 200


async def _readiness_is(world: World, status: int) -> bool:
    """Ask whether the process is ready; the database is asked once a second at most."""
    return (await world.client.get("/readyz")).status_code == status


async def test_a_process_whose_clock_is_wrong_is_not_ready_and_books_nothing_until_it_is_right(
    own_world: World,
) -> None:
    clocks = own_world.service.database.clocks
    held = await own_world.made("/v1/reservations", reservation())
    settle = f"/v1/reservations/{held['reservation_id']}/settle", {"usage": {"input_tokens": 5, "output_tokens": 5}}
    requests = (("/v1/reservations", reservation()), settle, ("/v1/budgets", budget("new")))
    clocks._wall = lambda: time.time() - 400 * 86_400
    for path, body in requests:
        refused = await own_world.post(path, {"idempotency_key": fresh(), **body})
        detail = check_problem(refused, 503, "unavailable")["detail"]
        assert "the database's clock is 400 days ahead of this process's" in detail
        assert refused.headers["retry-after"]
    await until(partial(_readiness_is, own_world, 503))
    ready = await own_world.client.get("/readyz")
    assert "400 days ahead of this process's" in check_problem(ready, 503, "unavailable")["detail"]
    assert ready.headers["retry-after"]
    assert (await own_world.get("/v1/accounts")).status_code == 200
    clocks._wall = time.time
    for path, body in requests:
        await own_world.made(path, {"idempotency_key": fresh(), **body})
    await until(partial(_readiness_is, own_world, 200))


async def test_a_stopping_process_is_up_but_not_ready(own_world: World) -> None:
    own_world.service.stopping.set()
    check_problem(await own_world.client.get("/readyz"), 503, "unavailable")
    assert (await own_world.client.get("/healthz")).status_code == 200


async def _use_everything(world: World) -> None:
    """Make traffic that every requested metric counts, except live streams."""
    user = fresh("user")
    await world.made("/v1/budgets", budget(user, limits={"tokens": 4_000}))
    step = {**MODEL, "to_provider": "openai", "to_model": "gpt-5.4-mini", "context_tokens": 10_000}
    trigger = {"idempotency_key": fresh(), "kind": "high_cost", "at_percent": 1, "mode": "apply", "downgrades": [step]}
    await world.made("/v1/triggers", {**trigger, "per_call_cost": "0.001"})
    held = await world.made("/v1/reservations", reservation(user=user))
    usage = {"input_tokens": 900, "output_tokens": 100, "cache_read_tokens": 300, "cache_write_5m_tokens": 100}
    await world.made(
        f"/v1/reservations/{held['reservation_id']}/settle", {"usage": usage, "original_input_tokens": 1_800}
    )
    check_problem(await world.post("/v1/reservations", reservation(user=user, input_tokens=9_000)), 402,
                  "budget_exceeded")  # fmt: skip
    await world.made("/v1/events", {"events": [event(user=user), event(user=user, model="gpt-5.4-mini")]})


def _selected(expression: str) -> list[tuple[str, dict[str, str]]]:
    found = re.findall(r"(token_ledger_\w+)(?:\{([^}]*)\})?", expression)
    return [(name, dict(re.findall(r'(\w+)="([^"]*)"', labels))) for name, labels in found]


async def test_every_requested_metric_has_samples_after_traffic(own_world: World) -> None:
    before = await _scrape(own_world)
    await _use_everything(own_world)
    own_world.service.metrics.stream_events("acme").inc(2)  # test_live counts those of real streams
    after = await _scrape(own_world)
    assert len(REQUESTED_FIGURES) == 8
    for figure, expression in REQUESTED_FIGURES.items():
        selected = _selected(expression)
        assert selected, figure
        for name, labels in selected:
            assert _sum(before, name, **labels) == 0, (figure, name)
            assert _sum(after, name, tenant="acme", **labels) > 0, (figure, name)
            assert _sum(after, name, tenant="globex", **labels) == 0, (figure, name)


async def test_counters_show_what_was_booked(own_world: World) -> None:
    await _use_everything(own_world)
    samples = await _scrape(own_world)

    def value(name: str, **labels: str) -> float:
        return _sum(samples, f"token_ledger_{name}", tenant="acme", **labels)

    [row] = await own_world.rows(
        "select count(*) as calls, sum(input_tokens) as input, sum(output_tokens) as output,"
        " sum(cost_nanos) / 1e9 as dollars from usage_events"
    )
    assert value("calls_total") == row["calls"] == 3
    assert value("user_tokens_total", kind="input") == row["input"]
    assert value("user_tokens_total", kind="output") == row["output"]
    assert round(value("cost_dollars_total"), 9) == round(float(row["dollars"]), 9)
    assert value("request_cost_dollars_count") == 3
    assert value("input_tokens_total", source="cache_read") == 300
    assert value("input_tokens_total", source="cache_write") == 100
    assert value("denials_total", enforcement="hard", unit="tokens") == 1
    assert value("compression_input_tokens_total", stage="before") == 1_800
    assert value("compression_input_tokens_total", stage="after") == 900
    assert value("optimizations_total", outcome="ok", technique="model_downgrade") == 1


async def test_a_replay_is_counted_as_an_operation_and_not_as_a_call(own_world: World) -> None:
    sent = {"events": [event()]}
    for _ in range(3):
        await own_world.made("/v1/events", sent)
    samples = await _scrape(own_world)
    assert _sum(samples, "token_ledger_calls_total") == 1
    assert _sum(samples, "token_ledger_operations_total", operation="record", outcome="done") == 1
    assert _sum(samples, "token_ledger_operations_total", operation="record", outcome="replayed") == 2


async def test_what_became_of_batches_that_were_to_be_one_statement_is_counted(own_world: World) -> None:
    for _ in range(3):
        # What administrators do has keys of a space of its own, and goes under the lock.
        await own_world.made("/v1/reservations", reservation(), role=Role.AGENT)
    assert _sum(await _scrape(own_world), "token_ledger_batches_at_once_total") > 0


async def test_requests_are_measured_by_the_template_of_their_route(own_world: World) -> None:
    held = await own_world.made("/v1/reservations", reservation())
    await own_world.made(f"/v1/reservations/{held['reservation_id']}/release")
    await own_world.get(f"/v1/reservations/{held['reservation_id']}")
    await own_world.get("/v1/runs/12345")
    await own_world.client.get("/nowhere/" + fresh())
    samples = await _scrape(own_world)
    counted = {
        (labels["route"], labels["method"], labels["status"]): value
        for name, labels, value in samples
        if name == "token_ledger_http_request_seconds_count"
    }
    assert counted[("/v1/reservations", "POST", "201")] == 1
    assert counted[("/v1/reservations/{reservation_id}/release", "POST", "200")] == 1
    assert counted[("/v1/reservations/{reservation_id}", "GET", "200")] == 1
    assert counted[("/v1/runs/{run_id}", "GET", "404")] == 1
    assert [route for route, _, _ in counted if held["reservation_id"] in route or "12345" in route] == []
    assert ("unknown", "GET", "404") in counted


async def test_a_tenant_made_by_another_process_has_its_name_on_every_metric(own_world: World) -> None:
    service = own_world.service
    _, key = await make_tenant(service.settings, own_world.url, "acme-abroad", "UTC")
    sent = {"Authorization": f"Bearer {key}"}
    for path, body in (
        ("/v1/budgets", budget("ada", limits={"tokens": 4_000})),
        ("/v1/reservations", reservation(user="ada")),
        ("/v1/reservations", reservation(user="ada", input_tokens=9_000)),
        ("/v1/events", {"events": [event(user="ada")]}),
    ):
        await own_world.client.post(path, headers=sent, json=body)
    await refresh_gauges(service.database, service.metrics)
    shown = {name: labels["tenant"] for name, labels, _ in await _scrape(own_world) if "tenant" in labels}
    assert {"token_ledger_calls_total", "token_ledger_denials_total", "token_ledger_budget_used_ratio"} <= set(shown)
    assert "token_ledger_open_holds" in shown
    assert set(shown.values()) == {"acme-abroad"}
