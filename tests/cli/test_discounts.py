"""`prices discount`: what is negotiated off published prices, in the words of a contract."""

import re
from pathlib import Path

import pytest

from tests.cli.commands import run
from tests.cli.test_prices import Capture, acme, said

__all__ = ["acme"]


async def test_a_discount_is_set_listed_and_taken_away(acme: str, capsys: Capture) -> None:
    assert await said(capsys, "prices", "discount", "acme") == "no discounts are set\n"
    discount = ("prices", "discount", "acme", "openai/gpt-5*")
    said_now = await said(capsys, *discount, "--off", "12.5%")
    assert re.fullmatch(r"acme: openai/gpt-5\* from \d{4}-\d\d-\d\d \d\d:\d\d UTC: 12.5 % off\n", said_now)
    assert "has this discount already; nothing changes" in await said(capsys, *discount, "--off", "12.5")
    dated = await said(capsys, *discount, "--off", "20", "--from", "2099-01-01", "--until", "2100-01-01")
    assert (
        dated
        == "acme: openai/gpt-5* from 2099-01-01 00:00 UTC until 2100-01-01 00:00 UTC: 20 % off (it was 12.5 % off)\n"
    )
    await said(capsys, "prices", "discount", "acme", "azure/*", "--off=-5")
    listed = (await said(capsys, "prices", "discount", "acme")).splitlines()
    assert listed[0].startswith("azure/*: 5 % on top, from ")
    assert listed[0].endswith(" UTC  in force")
    assert listed[1] == "openai/gpt-5*: 20 % off, from 2099-01-01 00:00 until 2100-01-01 00:00 UTC"
    assert listed[2].startswith("openai/gpt-5*: 12.5 % off, from ")
    assert listed[2].endswith("  in force")
    assert "withdrawn: no discount of this name (it was 12.5 % off)" in await said(capsys, *discount, "--remove")
    assert len((await said(capsys, "prices", "discount", "acme")).splitlines()) == 4


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["openai/*"], "say how many percent are off, such as --off 15, or take the discount away: --remove"),
        (["openai/*", "--off", "1", "--remove"], "say how many percent are off"),
        (["openai/*", "--off", "0,85"], "--off '0,85': write percent, such as 15 or 12.5"),
        (["openai/*", "--off", "101"], "--off '101': more than 100 percent can't be off"),
        (["openai/*", "--off", "1", "--from", "soon"], "--from 'soon'"),
        (["openai/*", "--off", "1", "--until", "2020-01-01"], "a discount ends after it begins; give a later instant"),
        (["openai/*", "--remove", "--until", "2099-01-01"], "a withdrawal has no end; leave it out"),
        (["openai", "--off", "1"], "write the provider and the model, such as openai/gpt-5.4"),
        (["open*/x", "--off", "1"], "a provider is no pattern; only the name of a model may have `*`"),
        (["--off", "1"], "--off: name the models too, such as openai/gpt-5*, or openai/* for a provider"),
    ],
)
async def test_complaints_say_what_would_be_right(words: list[str], complaint: str, acme: str, capsys: Capture) -> None:
    assert complaint in await said(capsys, "prices", "discount", "acme", *words, status=1)
    assert await said(capsys, "prices", "discount", "acme") == "no discounts are set\n"


async def test_a_file_sets_discounts_once(acme: str, tmp_path: Path, capsys: Capture) -> None:
    path = tmp_path / "setup.yaml"
    entry = "{provider: openai, model: '*', factor: '0.9', valid_from: 2026-01-01T00:00:00Z}"
    path.write_text(f"tenants:\n  - name: acme\n    discounts:\n      - {entry}\n")
    assert "set the discount openai/*: 10 % off, from 2026-01-01 00:00 UTC" in await said(capsys, "apply", str(path))
    assert "set the discount" not in await said(capsys, "apply", str(path))
    path.write_text(f"tenants:\n  - name: acme\n    discounts:\n      - {entry}\n      - {entry}\n")
    assert "has two entries for the discount 'openai/* from" in await said(capsys, "apply", str(path), status=1)
    path.write_text(f"tenants:\n  - name: acme\n    discounts:\n      - {entry}\n".replace("0.9", "11"))
    await run("apply", str(path))
    assert "discounts.0.factor: '11' is no factor" in capsys.readouterr().err
