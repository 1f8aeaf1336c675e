"""The alert rules under promtool: they load, their unit tests pass, and the unit tests notice a changed rule."""

import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

RULES = Path(__file__).parents[2] / "dashboards" / "rules"

# A piece of a rule and its replacement: thresholds in both directions, waiting times, least traffic.
CHANGES = [
    ("> 0.9\n", "> 0.92\n"),
    ("> 0.9\n", "> 0.89\n"),
    ("for: 1m", "for: 0m"),
    ("max by (tenant, budget, subject) (token_ledger_budget_used_ratio)", "token_ledger_budget_used_ratio"),
    ("> 3 *", "> 3.2 *"),
    ("> 3 *", "> 2.8 *"),
    ("for: 2m", "for: 0m"),
    (">= 60", ">= 40"),
    ("> 10000\n", "> 1000\n"),
    ("rate(token_ledger_user_tokens_total[5m])) > 0", "rate(token_ledger_user_tokens_total[5m]))"),
    ("< 0.2\n", "< 0.18\n"),
    ("< 0.2\n", "< 0.22\n"),
    ("for: 15m", "for: 0m"),
    ("> 100000\n", "> 10000\n"),
    ("> 0.05\n", "> 0.052\n"),
    ("> 0.05\n", "> 0.048\n"),
    ("for: 5m", "for: 0m"),
    ("> 20\n", "> 10\n"),
]


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=60, check=False)


def test_rules_and_configuration_load() -> None:
    for arguments in (
        ("check", "rules", str(RULES / "token-ledger.yml")),
        ("check", "config", str(RULES.parent / "prometheus.yml")),
    ):
        checked = promtool(*arguments)
        assert checked.returncode == 0, checked.stdout + checked.stderr


def test_alerts_fire_stay_silent_and_resolve() -> None:
    tested = promtool("test", "rules", str(RULES / "token-ledger.test.yml"))
    assert tested.returncode == 0, tested.stdout + tested.stderr


@pytest.mark.parametrize(("rule", "changed"), CHANGES)
def test_unit_tests_notice_a_changed_rule(rule: str, changed: str, tmp_path: Path) -> None:
    rules = (RULES / "token-ledger.yml").read_text(encoding="utf-8")
    assert rules.count(rule) == 1
    (tmp_path / "token-ledger.yml").write_text(rules.replace(rule, changed), encoding="utf-8")
    shutil.copy(RULES / "token-ledger.test.yml", tmp_path)

    assert promtool("check", "rules", str(tmp_path / "token-ledger.yml")).returncode == 0
    tested = promtool("test", "rules", str(tmp_path / "token-ledger.test.yml"))
    assert tested.returncode == 1
    assert "FAILED" in tested.stdout + tested.stderr
