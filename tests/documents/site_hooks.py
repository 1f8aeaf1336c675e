"""Hooks of mkdocs: adds the pages that stand outside docs/ to the site, with their links put right."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).parents[2]
PAGES = {
    "ARCHITECTURE.md": "architecture.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "sdk/README.md": "sdk.md",
}
"""Where a page is in the repository, and where on the site."""

_LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that stand outside docs/."""
    for source, target in PAGES.items():
        files.append(File.generated(config, target, content=_page(source)))
    return files


def _page(source: str) -> str:
    text = (REPOSITORY / source).read_text(encoding="utf-8")
    return _LINK.sub(lambda link: f"]({_on_site(source, link[1])}", text)


def _on_site(source: str, link: str) -> str:
    """Return a link of a page outside docs/ as the site has it; one that leads nowhere fails the strict build."""
    target = (REPOSITORY / source).parent.joinpath(link).resolve().relative_to(REPOSITORY).as_posix()
    return PAGES.get(target, target.removeprefix("docs/"))
