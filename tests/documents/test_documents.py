"""What the documents show of the code is what the code says."""

import re

import pytest
import token_ledger_sdk

from tests.documents import commands, errors, folders, holds, settings
from tests.documents.__main__ import PAGES, REPOSITORY, written
from tests.documents.commands import help_of
from token_ledger.cli.commands import COMMANDS
from token_ledger.core.batch.outcomes import Code
from token_ledger.core.model.reservation import TRANSITIONS
from token_ledger.wire.problems import STATUS_OF, RequestCode

PROSE = [path.relative_to(REPOSITORY) for path in (REPOSITORY / "docs").rglob("*.md")]
ELSEWHERE = {"build/bench.json", "credentials.json", "postgres/"}
"""What pages name that is not in the repository: what a bench writes, and what a data directory holds."""

ARCHITECTURE = (REPOSITORY / "ARCHITECTURE.md").read_text(encoding="utf-8")
TEST_NAMED = re.compile(r"`((?:sdk/)?tests/[\w/]+\.py)::(test_\w+)`")


@pytest.mark.parametrize("page", PAGES)
def test_the_page_is_up_to_date(page: str) -> None:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    assert written(page, text) == text


def test_a_page_without_marks_is_noticed() -> None:
    with pytest.raises(ValueError, match="has no part between"):
        written("ARCHITECTURE.md", "no marks")


def test_the_picture_shows_every_transition() -> None:
    drawn = holds.picture()
    for state, events in TRANSITIONS.items():
        assert f"    {state.value}" in drawn
        for event, target in events.items():
            assert event.value in drawn
            assert target is state or f"▶ {target.value}" in drawn
    assert drawn.count("▶") == sum(target is not state for state, to in TRANSITIONS.items() for target in to.values())


def test_the_tables_show_every_code() -> None:
    assert all(f"`{code}`" in errors.refusals() for code in Code)
    assert all(f"`{code}`" in errors.codes() for code in Code)


def test_the_page_of_errors_shows_every_code_of_a_request_with_its_status() -> None:
    page = (REPOSITORY / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
    for code in RequestCode:
        status = str(int(STATUS_OF[code])) if code in STATUS_OF else "other"
        assert re.search(rf"^\| {status} \| [^|]*`{code}`", page, re.MULTILINE), code


def test_the_picture_of_folders_shows_those_that_there_are() -> None:
    assert folders.shown(ARCHITECTURE) == folders.there()


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md", *sorted(map(str, PROSE))])
def test_files_that_a_page_names_exist(page: str) -> None:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    roots = [REPOSITORY, REPOSITORY / "token_ledger", REPOSITORY / "sdk", REPOSITORY / "sdk" / "token_ledger_sdk"]
    named = set(re.findall(r"(?<!\*)`([a-z_]+(?:/[\w.]+)*(?:/|\.py|\.json|\.yml))`", text))
    assert {name for name in named if not any((root / name).exists() for root in roots)} - ELSEWHERE == set()


def test_every_test_that_the_page_of_threats_names_exists() -> None:
    page = (REPOSITORY / "docs" / "operations" / "threats.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith(("| tries", "| does"))]
    assert len(rows) > 30
    assert [row for row in rows if not TEST_NAMED.search(row)] == []
    named = TEST_NAMED.findall(page)
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (REPOSITORY / file).exists()
        or not re.search(rf"^(async )?def {name}\(", (REPOSITORY / file).read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert missing == []


def test_the_reference_of_the_sdk_shows_every_export() -> None:
    page = (REPOSITORY / "docs" / "reference" / "sdk.md").read_text(encoding="utf-8")
    assert {name for name in token_ledger_sdk.__all__ if not re.search(rf"\b{name}\b", page)} == set()
    assert all(f"`{name}" in page for name in ("settle(", "settle_part(", "not_sent(", "release(", "directive"))


@pytest.mark.parametrize("page", ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "sdk/README.md"])
def test_links_between_files_lead_somewhere(page: str) -> None:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    links = set(re.findall(r"\]\((?!https?:|#)([^)#]+)", text))
    assert {link for link in links if not (REPOSITORY / page).parent.joinpath(link).exists()} == set()


def test_the_architecture_is_short() -> None:
    assert len(ARCHITECTURE.splitlines()) <= 250


def test_every_setting_is_described() -> None:
    assert not re.search(r"^\| `\w+` \|\s+\|", settings.settings(), re.MULTILINE)


def test_the_page_of_commands_says_what_their_help_says() -> None:
    page = " ".join(commands.commands().split())
    for command in COMMANDS:
        assert f"### {command.name} " in page
        for text in (command.details, command.example, *(argument.help for argument in command.arguments)):
            assert text in page
            assert text.replace("%", "%%") in help_of(command.name) or text in help_of(command.name)
