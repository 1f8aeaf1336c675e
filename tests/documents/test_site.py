"""The documentation site can be read without a network."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents.__main__ import REPOSITORY

# What a browser fetches by itself; links that a reader follows may lead anywhere.
FETCHED = re.compile(
    r"<(?:script|img|iframe|link)\b[^>]*\b(?:src|href)=\"?(https?:[^\" >]+)|url\(['\"]?(https?:[^)'\"]+)"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(built)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return built


def test_no_page_fetches_anything_from_elsewhere(site: Path) -> None:
    files = [path for kind in ("*.html", "*.css", "*.svg") for path in site.rglob(kind)]
    assert len(files) > 30
    found = {path.name: FETCHED.findall(path.read_text(encoding="utf-8")) for path in files}
    assert {name: addresses for name, addresses in found.items() if addresses} == {}


def test_what_would_be_fetched_is_noticed() -> None:
    for text in (
        '<script src="https://a.example/x.js">',
        "<link rel=x href=http://b.example>",
        "url('https://c.example/f')",
    ):
        assert FETCHED.search(text)
    assert not FETCHED.search('<a href="https://d.example">')


def test_the_search_knows_every_page(site: Path) -> None:
    index = (site / "search" / "search_index.js").read_text(encoding="utf-8")
    pages = {str(path.relative_to(site)) for path in site.rglob("*.html")} - {"404.html"}
    assert {page for page in pages if f'"location":"{page}"' not in index} == set()
