"""The demo itself, run as a person runs it: what it prints, how it ends, and that nothing of it is left."""

import signal
from pathlib import Path

import httpx2

from tests.demo.programs import SECONDS, found, left_behind, run_demo, start_demo


def test_it_replays_denies_reports_and_proves(tmp_path: Path) -> None:
    page = tmp_path / "made" / "report.html"
    done = run_demo(tmp_path, "--calls", "300", "--page", str(page))
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(found(r"300 calls: \d+ settled, (\d+) denied", done.stdout)) > 0
    assert int(found(r"│ hard +│ +(\d+) │", done.stdout)) > 0
    assert "verify: clean" in done.stdout
    assert int(found(r"equal\s+\((\d+)\s+of\s+\d+\s+calls\s+differ\)", done.stdout)) == 0
    assert f"the cost report as a page: {page.as_uri()}" in done.stdout
    total = found(r"the reports say ([\d.]+)", done.stdout)
    assert f"exactly {total} dollars" in page.read_text(encoding="utf-8")
    for title in ("Spend by user", "Spend by agent type", "Spend by model", "Denials by account", "Triggers"):
        assert title in done.stdout
    for trigger in ("high_cost", "high_token_usage"):
        assert int(found(rf"│ {trigger} +│ \w+ +│ +\d+ │ +(\d+) │", done.stdout)) > 0
    assert done.stderr == ""
    assert left_behind(tmp_path) == []


def test_control_c_leaves_nothing_behind(tmp_path: Path) -> None:
    demo = start_demo(tmp_path)
    assert demo.stdout is not None
    with demo.stdout:
        printed = ""
        while " calls, " not in printed:
            line = demo.stdout.readline()
            assert line, printed
            printed += line
        assert left_behind(tmp_path) != []
        demo.send_signal(signal.SIGINT)
        printed += demo.stdout.read()
    assert demo.wait(SECONDS) == 130, printed
    assert "nothing is left behind" in printed
    assert left_behind(tmp_path) == []


def test_what_it_keeps_runs_until_it_is_stopped(tmp_path: Path) -> None:
    done = run_demo(tmp_path, "--calls", "20", "--keep", "--page", str(tmp_path / "report.html"))
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        url, key = found(r"still running: (\S+)", done.stdout), found(r"admin key: +(\S+)", done.stdout)
        answer = httpx2.get(f"{url}/v1/reports/spend", headers={"Authorization": f"Bearer {key}"}, timeout=SECONDS)
        settled = int(found(r"20 calls: (\d+) settled", done.stdout))
        assert answer.raise_for_status().json()["total"]["calls"] == settled
    finally:
        directories = list(tmp_path.glob("token-ledger-demo-*"))
        stopped = [run_demo(tmp_path, "--stop", str(directory)).returncode for directory in directories]
    assert stopped == [0]
    assert left_behind(tmp_path) == []


def test_only_its_own_directories_can_be_stopped(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("kept")
    done = run_demo(tmp_path, "--stop", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == f"{tmp_path} was not made by --keep\n"
    assert (tmp_path / "mine").read_text() == "kept"
