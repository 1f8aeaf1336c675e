"""The page of the cost report in Chromium: nothing is cut off on a phone or a desk, and it prints on A4."""

import json
import re
import subprocess
from html import escape
from pathlib import Path
from typing import Any

import pytest

from tests.system.test_site import shown
from token_ledger.reports.formats.cost_html import cost_html

pytestmark = pytest.mark.system

SUMS = {
    "calls": 123_456_789, "input_tokens": 987_654_321_012, "output_tokens": 87_654_321_012, "cache_read_tokens": 1,
    "cache_write_tokens": 1, "reasoning_tokens": 1, "cost": "9123456.789012345",
}  # fmt: skip
NAMES = ("research", "a cost center with quite a long name of many words", "one_word_" * 12, "名前" * 20, "<b>bold</b>")
WIDTHS = (320, 390, 768, 1_280)


def table(by: str, keys: list[str]) -> dict[str, Any]:
    rows = [{"key": key, "share": 0.9 / (place + 1), "before": SUMS, **SUMS} for place, key in enumerate(keys)]
    return {"by": by, "rows": rows, "rest": SUMS, "others": 1_234}


def report() -> Any:
    days = [f"2026-{month:02}-{day:02}" for month in (9, 10, 11) for day in range(1, 31)]
    return {
        "tenant": NAMES[1], "from": "2026-09-01T00:00:00+00:00", "to": "2026-12-01T00:00:00+00:00",
        "time_zone": "America/Argentina/ComodRivadavia", "first_day": days[0], "last_day": days[-1],
        "booked_until": "2026-12-02T09:30:00.123456+00:00", "total": SUMS, "before": SUMS, "cost_per_call": "0.0739",
        "change": 1_234.5, "lines": dict.fromkeys(("unattributed", "unpriced", "estimated", "adjusted"), SUMS),
        "lines_are_complete": True, "top": [], "saved": "1234.500000000",
        "recommendations": [{"action": "find out why calls fail", "evidence": "they do " * 20, "saves": "12.5"}],
        "tables": [table(by, [*NAMES]) for by in ("cost_center", "user", "tag:a long name of a tag", "model")],
        "trend": table("day", days), "techniques": [
            {"technique": name, "fired": 123_456_789, "applied": 1, "saved": None}
            for name in ("aggressive_compression", "model_downgrade", "smart_caching")
        ],
    }  # fmt: skip


def test_nothing_is_wider_than_the_screen(tmp_path: Path) -> None:
    page = escape(cost_html(report()), quote=True)
    frames = "".join(
        f'<iframe width="{width}" height="900" style="border:0" srcdoc="{page}"></iframe>' for width in WIDTHS
    )
    script = (
        "onload = () => { const seen = [...document.querySelectorAll('iframe')].map(each => {"
        " const root = each.contentDocument.documentElement;"
        " const cut = [...root.querySelectorAll('th, td, dd, p, li')].filter(each =>"
        "  each.scrollWidth > each.clientWidth + 1 && getComputedStyle(each).display !== 'none');"
        " return [root.scrollWidth, cut.map(each => each.outerHTML), root.innerText.includes('9123456.789012345'),"
        "  root.querySelectorAll('rect').length]; });"
        " document.body.textContent = 'SEEN ' + JSON.stringify(seen) + ' END'; }"
    )
    wrapper = tmp_path / "wrapper.html"
    wrapper.write_text(f"<!doctype html><meta charset=utf-8><script>{script}</script><body>{frames}", encoding="utf-8")
    found = re.search(r"SEEN (\[.*\]) END", shown(wrapper.as_uri(), tmp_path / "profile"), re.DOTALL)
    assert found is not None
    seen = json.loads(found[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    for width, (wide, cut, says_total, columns) in zip(WIDTHS, seen, strict=True):
        assert wide <= width, f"at {width} pixels the page is {wide} wide"
        assert cut == [], f"cut off at {width} pixels"
        assert says_total
        assert columns == 90


def test_it_prints_on_a_few_pages_of_a4(tmp_path: Path) -> None:
    page, printed = tmp_path / "report.html", tmp_path / "report.pdf"
    page.write_text(cost_html(report()), encoding="utf-8")
    arguments = (
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        f"--user-data-dir={tmp_path / 'profile'}", f"--print-to-pdf={printed}", "--no-pdf-header-footer", page.as_uri(),
    )  # fmt: skip
    subprocess.run(arguments, capture_output=True, timeout=120, check=True)
    pdf = printed.read_bytes()
    sizes = set(re.findall(rb"/MediaBox\s*\[([^\]]*)\]", pdf))
    pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
    assert [[round(float(side)) for side in size.split()] for size in sizes] == [[0, 0, 595, 842]]
    assert 2 <= pages <= 8
