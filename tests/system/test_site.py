"""The documentation site can be searched in a browser that opens it from a folder, where there is no server."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.documents.test_site import site

__all__ = ["site"]

pytestmark = pytest.mark.system


def test_the_site_is_searched_from_a_folder(site: Path, tmp_path: Path) -> None:
    found = shown(f"{(site / 'index.html').as_uri()}?q=rollover", tmp_path)
    assert re.search(r">\s*\d+ matching documents\s*<", found)


def shown(url: str, profile: Path) -> str:
    """Return what Chromium shows at an address, some seconds of its own time later; no host can be reached."""
    arguments = (
        "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={profile}", "--virtual-time-budget=10000", "--dump-dom", url,
    )  # fmt: skip
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout
