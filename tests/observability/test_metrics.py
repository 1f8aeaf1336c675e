"""The metrics as a scrape shows them: every name and label, what is counted, what is capped."""

import math
import re
from collections.abc import Callable, ValuesView

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from token_ledger.observability.metric_types import HISTOGRAMS_LIMIT, IDLE_SCRAPES, LABEL_SETS_LIMIT
from token_ledger.observability.metrics import (
    BUDGET_ROWS_LIMIT,
    USERS_LIMIT,
    BookedCalls,
    BudgetUse,
    Metrics,
)
from token_ledger.observability.requested_figures import REQUESTED_FIGURES

DECLARED = {
    "token_ledger_user_tokens_total": {"tenant", "user", "kind"},
    "token_ledger_request_cost_dollars": {"tenant", "model"},
    "token_ledger_input_tokens_total": {"tenant", "model", "source"},
    "token_ledger_trigger_firings_total": {"tenant", "trigger", "technique", "applied"},
    "token_ledger_optimizations_total": {"tenant", "technique", "outcome"},
    "token_ledger_compression_input_tokens_total": {"tenant", "stage"},
    "token_ledger_calls_total": {"tenant", "agent_type", "model"},
    "token_ledger_denials_total": {"tenant", "budget", "unit", "enforcement"},
    "token_ledger_stream_events_total": {"tenant"},
    "token_ledger_operations_total": {"operation", "outcome"},
    "token_ledger_batch_seconds": set(),
    "token_ledger_batch_operations": set(),
    "token_ledger_batches_at_once_total": {"outcome"},
    "token_ledger_http_request_seconds": {"route", "method", "status"},
    "token_ledger_thresholds_total": {"tenant", "budget", "unit", "percent"},
    "token_ledger_overrun_total": {"tenant"},
    "token_ledger_late_settles_total": {"tenant"},
    "token_ledger_unpriced_total": {"tenant"},
    "token_ledger_quarantined_total": {"tenant"},
    "token_ledger_duplicates_total": {"tenant"},
    "token_ledger_doubtful_calls_total": {"tenant", "repetition"},
    "token_ledger_budget_used_ratio": {"tenant", "budget", "subject"},
    "token_ledger_cost_dollars_total": {"tenant", "cost_center", "model"},
    "token_ledger_open_holds": {"tenant"},
    "token_ledger_connections": {"of"},
    "token_ledger_refused_connections_total": {"reason"},
    "token_ledger_build_info": {"version"},
}


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(registry, version="1.2.3")


def call(metrics: Metrics, user: str = "ada", model: str = "gpt-5", **amounts: int) -> None:
    figures = {
        "calls": 1,
        "input_tokens": 100,
        "output_tokens": 10,
        "cache_read_tokens": 0,
        "cache_write_tokens": 0,
        "cost_nanos": 2_000_000,
    }
    metrics.count_calls("acme", [BookedCalls(user, "data_agent", "research", model, **(figures | amounts))])


def compress(metrics: Metrics) -> None:
    before, after = metrics.compression_input_tokens("acme")
    before.inc(100)
    after.inc(40)


def use_everything(metrics: Metrics) -> None:
    call(metrics)
    metrics.observe_costs("acme", "gpt-5", [2_000_000])
    metrics.trigger_firings("acme", "high_cost", "model_downgrade", "true").inc()
    metrics.optimizations("acme", "model_downgrade")[0].inc()
    compress(metrics)
    metrics.denials("acme", "daily", "tokens", "hard").inc()
    metrics.thresholds("acme", "daily", "tokens", "90").inc()
    metrics.stream_events("acme").inc()
    metrics.operations("reserve", "granted").inc()
    metrics.batch_seconds.observe(0.003)
    metrics.batch_operations.observe(12)
    metrics.count_at_once("booked")
    metrics.http_request_seconds("/v1/runs/{run_id}", "GET", "200").observe(0.004)
    metrics.overruns("acme").inc()
    metrics.late_settles("acme").inc()
    metrics.unpriced_calls("acme").inc()
    metrics.quarantined_events("acme").inc()
    metrics.duplicates("acme").inc()
    metrics.doubtful_calls("acme", "other_usage").inc()
    metrics.show_budget_use([BudgetUse("acme", "daily", "user=ada", 45, 50)])
    metrics.show_open_holds({"acme": 3})
    metrics.show_connections(3, 4_096)
    metrics.count_refused_connection("slow")


def scraped(registry: CollectorRegistry) -> dict[str, set[str]]:
    """Return the labels of each series a scrape shows, parts of histograms under the histogram's name."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            name = sample.name
            if family.type == "histogram":
                name = family.name
            if not name.endswith("_created"):
                found.setdefault(name, set()).update(set(sample.labels) - {"le"})
    return found


def test_a_scrape_shows_exactly_the_declared_names_and_labels(metrics: Metrics, registry: CollectorRegistry) -> None:
    use_everything(metrics)
    assert scraped(registry) == DECLARED


def test_registries_are_independent() -> None:
    first, second = CollectorRegistry(), CollectorRegistry()
    Metrics(first).overruns("acme").inc()
    Metrics(second)
    assert first.get_sample_value("token_ledger_overrun_total", {"tenant": "acme"}) == 1
    assert second.get_sample_value("token_ledger_overrun_total", {"tenant": "acme"}) is None


def test_calls_split_input_by_source_and_sum_money_in_dollars(metrics: Metrics, registry: CollectorRegistry) -> None:
    call(metrics, calls=2, input_tokens=1_000, output_tokens=50, cache_read_tokens=700, cache_write_tokens=200)
    call(metrics, calls=3, cost_nanos=1_500_000_000)

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"token_ledger_{name}", {"tenant": "acme", **labels})

    assert value("user_tokens_total", user="ada", kind="input") == 1_100
    assert value("user_tokens_total", user="ada", kind="output") == 60
    assert value("input_tokens_total", model="gpt-5", source="uncached") == 200
    assert value("input_tokens_total", model="gpt-5", source="cache_read") == 700
    assert value("input_tokens_total", model="gpt-5", source="cache_write") == 200
    assert value("calls_total", agent_type="data_agent", model="gpt-5") == 5
    assert value("cost_dollars_total", cost_center="research", model="gpt-5") == pytest.approx(1.502)


def test_a_correction_with_negative_cost_leaves_counters_alone(metrics: Metrics, registry: CollectorRegistry) -> None:
    call(metrics)
    call(metrics, calls=0, input_tokens=0, output_tokens=0, cost_nanos=-1_000_000)
    metrics.observe_costs("acme", "gpt-5", [-1_000_000])
    labels = {"tenant": "acme", "cost_center": "research", "model": "gpt-5"}
    assert registry.get_sample_value("token_ledger_cost_dollars_total", labels) == 0.002
    labels = {"tenant": "acme", "model": "gpt-5"}
    assert registry.get_sample_value("token_ledger_request_cost_dollars_count", labels) is None


@pytest.mark.parametrize(
    ("count", "name", "label", "values"),
    [
        (call, "user_tokens_total", "kind", {"input": 100, "output": 10}),
        (call, "input_tokens_total", "source", {"uncached": 100, "cache_read": 0, "cache_write": 0}),
        (
            lambda metrics: metrics.optimizations("acme", "model_downgrade")[1].inc(4),
            "optimizations_total",
            "outcome",
            {"ok": 0, "failed": 4},
        ),
        (
            compress,
            "compression_input_tokens_total",
            "stage",
            {"before": 100, "after": 40},
        ),
    ],
)
def test_both_sides_of_a_ratio_exist_from_the_first_count_on(
    count: Callable[[Metrics], None],
    name: str,
    label: str,
    values: dict[str, float],
    metrics: Metrics,
    registry: CollectorRegistry,
) -> None:
    count(metrics)
    found = {
        sample.labels[label]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == f"token_ledger_{name}"
    }
    assert found == values


def test_cost_falls_into_the_bucket_of_its_dollars(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.observe_costs("acme", "gpt-5", [2_400_000])

    def bucket(bound: str) -> float | None:
        labels = {"tenant": "acme", "model": "gpt-5", "le": bound}
        return registry.get_sample_value("token_ledger_request_cost_dollars_bucket", labels)

    assert (bucket("0.001"), bucket("0.0025"), bucket("10.0")) == (0, 1, 1)


def test_users_past_the_cap_are_counted_together(metrics: Metrics, registry: CollectorRegistry) -> None:
    for number in range(USERS_LIMIT + 5):
        call(metrics, user=f"user-{number}")
    call(metrics, user="user-0")

    def tokens(user: str) -> float | None:
        labels = {"tenant": "acme", "user": user, "kind": "input"}
        return registry.get_sample_value("token_ledger_user_tokens_total", labels)

    assert tokens("user-0") == 200
    assert tokens(f"user-{USERS_LIMIT - 1}") == 100
    assert tokens(f"user-{USERS_LIMIT}") is None
    assert tokens("~other") == 500


def test_label_sets_made_of_free_text_are_capped_and_keep_their_sum(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    total = LABEL_SETS_LIMIT + 5
    for number in range(total):
        text = f"made-up-{number}"
        metrics.count_calls("acme", [BookedCalls(text, text, text, text, 1, 1, 0, 0, 0, 1_000_000_000)])
        metrics.observe_costs("acme", text, [1])
        metrics.denials("acme", text, "tokens", "hard").inc()
        metrics.http_request_seconds(text, "GET", "200").observe(0.001)
    series: dict[str, list[float]] = {}
    for family in registry.collect():
        for sample in family.samples:
            series.setdefault(sample.name.removeprefix("token_ledger_"), []).append(sample.value)
    for name, limit in {
        "user_tokens_total": 2 * USERS_LIMIT + 2,
        "input_tokens_total": 3 * LABEL_SETS_LIMIT + 3,
        "calls_total": LABEL_SETS_LIMIT + 1,
        "cost_dollars_total": LABEL_SETS_LIMIT + 1,
        "denials_total": LABEL_SETS_LIMIT + 1,
        "request_cost_dollars_count": HISTOGRAMS_LIMIT + 1,
        "http_request_seconds_count": HISTOGRAMS_LIMIT + 1,
    }.items():
        assert (name, len(series[name]), sum(series[name])) == (name, limit, total)


def ratios(registry: CollectorRegistry) -> dict[str, float]:
    return {
        sample.labels["subject"]: sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name == "token_ledger_budget_used_ratio"
    }


def test_budget_ratios_are_replaced_as_a_whole(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.show_budget_use(
        [BudgetUse("acme", "daily", "user=ada", 45, 50), BudgetUse("acme", "daily", "user=bob", 5, 50)]
    )
    assert ratios(registry) == {"user=ada": 0.9, "user=bob": 0.1}
    metrics.show_budget_use([BudgetUse("acme", "daily", "user=bob", 60, 50)])
    assert ratios(registry) == {"user=bob": 1.2}
    metrics.show_budget_use([])
    assert ratios(registry) == {}


def test_a_subject_shows_its_fullest_unit_once_and_a_ban_not_at_all(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    metrics.show_budget_use(
        [
            BudgetUse("acme", "daily", "user=ada", 45, 50),
            BudgetUse("acme", "daily", "user=ada", 1, 50),
            BudgetUse("acme", "daily", "user=eve", 0, 0),
        ]
    )
    assert ratios(registry) == {"user=ada": 0.9}


def test_the_fullest_accounts_win_when_there_are_too_many(metrics: Metrics, registry: CollectorRegistry) -> None:
    total = BUDGET_ROWS_LIMIT + 10
    metrics.show_budget_use(BudgetUse("acme", "daily", f"user={number}", number, total) for number in range(total))
    shown = ratios(registry)
    assert len(shown) == BUDGET_ROWS_LIMIT
    assert math.isclose(min(shown.values()), 10 / total)


def test_open_holds_forget_tenants_without_any(metrics: Metrics, registry: CollectorRegistry) -> None:
    metrics.show_open_holds({"acme": 3, "initech": 1})
    metrics.show_open_holds({"initech": 2})
    assert registry.get_sample_value("token_ledger_open_holds", {"tenant": "acme"}) is None
    assert registry.get_sample_value("token_ledger_open_holds", {"tenant": "initech"}) == 2


def test_the_eight_requested_figures_query_declared_metrics() -> None:
    assert set(REQUESTED_FIGURES) == {
        "token_usage_per_user",
        "token_cost_per_request",
        "cache_hit_rate",
        "optimization_trigger_rate",
        "prompt_compression_ratio",
        "model_selection_distribution",
        "budget_exceeded_events",
        "websocket_token_events",
    }
    for expression in REQUESTED_FIGURES.values():
        for name in re.findall(r"token_ledger_\w+", expression):
            assert re.sub(r"_(sum|count|bucket)$", "", name) in DECLARED


def counted(registry: CollectorRegistry) -> dict[str, list[str]]:
    """Return the users that are counted by name, by tenant."""
    found: dict[str, list[str]] = {}
    for family in registry.collect():
        for sample in family.samples:
            if sample.name == "token_ledger_user_tokens_total" and sample.labels["kind"] == "input":
                found.setdefault(sample.labels["tenant"], []).append(sample.labels["user"])
    return found


def test_a_tenant_that_takes_all_room_gives_way_to_others_and_keeps_what_it_used_last(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    for number in range(2 * USERS_LIMIT):
        metrics.user_tokens("acme", f"user-{number}")
    metrics.begin_scrape()
    metrics.user_tokens("acme", "user-0")
    for number in range(USERS_LIMIT):
        metrics.user_tokens("globex", f"user-{number}")
    metrics.user_tokens("initech", "ada")
    users = counted(registry)
    assert {tenant: len(named) // 10 for tenant, named in users.items()} == {
        "acme": USERS_LIMIT // 20, "globex": USERS_LIMIT // 20, "initech": 0,
    }  # fmt: skip
    assert {"user-0", "~other"} <= set(users["acme"])
    assert "~other" in users["globex"]
    assert users["initech"] == ["ada"]


def test_what_a_tenant_has_not_used_for_long_gives_way_to_what_it_uses(
    metrics: Metrics, registry: CollectorRegistry
) -> None:
    for number in range(USERS_LIMIT):
        metrics.user_tokens("acme", f"user-{number}")
    for _ in range(IDLE_SCRAPES - 1):
        metrics.begin_scrape()
    metrics.user_tokens("acme", "user-0")
    metrics.user_tokens("acme", "early")
    metrics.begin_scrape()
    metrics.user_tokens("acme", "late")
    [users] = counted(registry).values()
    assert "early" not in users
    assert {"user-0", "late", "~other"} <= set(users)
    assert len(users) == USERS_LIMIT + 1


def test_a_tenant_that_has_no_room_is_looked_at_once_between_scrapes(metrics: Metrics) -> None:
    for number in range(USERS_LIMIT):
        metrics.user_tokens("acme", f"user-{number}")
    looked: list[object] = []
    metrics.user_tokens._rooms = CountedRooms(metrics.user_tokens._rooms, looked)
    for number in range(100):
        metrics.user_tokens("acme", f"more-{number}")
    assert len(looked) == 1


class CountedRooms(dict[str, set[tuple[str, ...]]]):
    """Rooms that note each time all of them are looked at."""

    def __init__(self, rooms: dict[str, set[tuple[str, ...]]], looked: list[object]) -> None:
        super().__init__(rooms)
        self._looked = looked

    def values(self) -> ValuesView[set[tuple[str, ...]]]:  # type: ignore[override]
        self._looked.append(None)
        return super().values()
