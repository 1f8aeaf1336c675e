"""The committed dashboard is what the code builds, shows every metric, and queries only metrics that exist."""

import json
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from token_ledger.observability.metrics import Metrics
from token_ledger.observability.requested_figures import REQUESTED_FIGURES

# The classic schema is what Grafana provisions from files; the SDK warns of it on import, once per class.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from dashboards import build

REPOSITORY = Path(__file__).parents[2]
RULES = REPOSITORY / "dashboards" / "rules" / "token-ledger.yml"


@pytest.fixture(scope="module")
def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(build.OUTPUT.read_text(encoding="utf-8"))
    return loaded


@pytest.fixture(scope="module")
def panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions(panels: list[dict[str, Any]]) -> list[str]:
    return [target["expr"] for panel in panels for target in panel["targets"]]


def metric_names(text: str) -> set[str]:
    return {re.sub(r"_(sum|count|bucket)$", "", name) for name in re.findall(r"\btoken_ledger_\w+", text)}


def declared_names() -> set[str]:
    """Return every declared metric as a query names it."""
    registry = CollectorRegistry()
    Metrics(registry)
    return {family.name + {"counter": "_total", "info": "_info"}.get(family.type, "") for family in registry.collect()}


def test_the_committed_file_is_what_the_code_builds(capsys: pytest.CaptureFixture[str]) -> None:
    assert build.main(["--check"]) == 0
    assert capsys.readouterr().err == ""


def test_a_stale_file_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stale = tmp_path / "token-ledger.json"
    stale.write_text(build.OUTPUT.read_text(encoding="utf-8").replace("orange", "red"), encoding="utf-8")
    monkeypatch.setattr(build, "OUTPUT", stale)
    assert build.main(["--check"]) == 1
    assert "stale" in capsys.readouterr().err
    assert build.main([]) == 0
    assert build.main(["--check"]) == 0


@pytest.mark.parametrize("figure", REQUESTED_FIGURES)
def test_each_requested_figure_has_a_panel_with_its_expression(figure: str, panels: list[dict[str, Any]]) -> None:
    [panel] = [panel for panel in panels if panel["description"].startswith(f"{figure}: ")]
    plain = panel["targets"][0]["expr"].replace("$__rate_interval", "5m")
    plain = plain.replace('tenant=~"$tenant", ', "").replace('{tenant=~"$tenant"}', "")
    assert REQUESTED_FIGURES[figure] in plain


def test_panels_and_rules_use_every_declared_metric_and_no_other(panels: list[dict[str, Any]]) -> None:
    used = metric_names("\n".join(expressions(panels)) + RULES.read_text(encoding="utf-8"))
    used -= {"token_ledger_user_tokens"}  # the recording rule, tenant:token_ledger_user_tokens:rate5m
    assert used == declared_names()


def test_every_metric_about_tenants_is_filtered_by_the_variable(panels: list[dict[str, Any]]) -> None:
    service_wide = (
        r"token_ledger_(operations_total|batch_|batches_|http_request_seconds|build_info|connections"
        r"|refused_connections)"
    )
    for expression in expressions(panels):
        for name, selector in re.findall(r"(token_ledger_\w+)(\{[^}]*\})?", expression):
            filtered = 'tenant=~"$tenant"' in selector
            assert filtered is not bool(re.match(service_wide, name)), expression


def test_panels_lie_side_by_side_and_are_numbered(dashboard: dict[str, Any]) -> None:
    cells: set[tuple[int, int]] = set()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        own = {
            (column, line)
            for column in range(place["x"], place["x"] + place["w"])
            for line in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells, panel["title"]
        cells |= own
    identifiers = [panel["id"] for panel in dashboard["panels"]]
    assert identifiers == list(range(1, len(identifiers) + 1))


def test_every_query_goes_to_the_chosen_data_source(dashboard: dict[str, Any], panels: list[dict[str, Any]]) -> None:
    variables = {variable["name"]: variable["type"] for variable in dashboard["templating"]["list"]}
    assert variables == {"datasource": "datasource", "tenant": "query"}
    for panel in panels:
        assert panel["description"]
        for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
            assert source == {"type": "prometheus", "uid": "${datasource}"}
        references = [target["refId"] for target in panel["targets"]]
        assert len(references) == len(set(references))
