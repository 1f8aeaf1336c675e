"""Makes the parser of the command line from the table of commands."""

import argparse
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import token_ledger
from token_ledger.cli import commands
from token_ledger.cli.command_rows import Argument, Command, Group


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of `token-ledger`; what it parses has the row of the table as `command`."""
    parser = argparse.ArgumentParser(
        prog="token-ledger",
        usage="token-ledger [-h] [--version] COMMAND ...",
        description=token_ledger.__doc__,
        epilog=_overview(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=token_ledger.__version__, help="print the version")
    subparsers = parser.add_subparsers(prog="token-ledger", required=True, metavar="COMMAND", help=argparse.SUPPRESS)
    families: dict[str, Any] = {}
    for command in commands.COMMANDS:
        family, _, name = command.name.rpartition(" ")
        if family and family not in families:
            families[family] = _add_family(subparsers, family)
        _add_command(families.get(family, subparsers), name, command)
    return parser


def _add_family(subparsers: Any, family: str) -> Any:
    """Add the commands that begin with one word, and return what each of them is added to."""
    rows = [command for command in commands.COMMANDS if command.name.startswith(f"{family} ")]
    parser = subparsers.add_parser(
        family,
        usage=f"token-ledger {family} [-h] COMMAND ...",
        description=_sentence(f"the commands of {family}"),
        epilog="\n".join(_columns((command.name.partition(" ")[2], command.help) for command in rows)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    return parser.add_subparsers(
        prog=f"token-ledger {family}", required=True, metavar="COMMAND", help=argparse.SUPPRESS
    )  # fmt: skip


def _add_command(subparsers: Any, name: str, command: Command) -> None:
    subparser = subparsers.add_parser(
        name,
        help=command.help,
        description=_sentence(command.help) + (f" {command.details}" if command.details else ""),
        epilog=f"example: {command.example}" if command.example else None,
    )
    for argument in command.arguments:
        subparser.add_argument(argument.name, **_options(argument))
    database = subparser.add_argument_group("database")
    for argument in commands.DATABASE:
        database.add_argument(argument.name, **_options(argument))
    subparser.set_defaults(command=command)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the command with its options; exits with status 2 and the reason if there is no such command or option."""
    parser = build_parser()
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["resume"]:
        parser.error("the end of a tenant's emergency stop is now: token-ledger resume-tenant TENANT")
    options, unknown = parser.parse_known_args(given)
    if unknown and options.command.name == "stop":
        parser.error(
            "stop ends the embedded PostgreSQL and takes no tenant; the emergency stop of a tenant is now:"
            " token-ledger stop-tenant TENANT"
        )
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    return options


def _options(argument: Argument) -> dict[str, Any]:
    """Return what argparse takes for an argument."""
    options: dict[str, Any] = {"help": argument.text.replace("%", "%%")}
    if argument.is_flag:
        return {**options, "action": "store_true"}
    if argument.optional or argument.many:
        options["nargs"] = "+" if argument.many else "?"
    return {**options, "default": argument.default, "choices": argument.choices, "type": argument.type}


def _overview() -> str:
    """Return the commands by group, how to learn more, and the exit statuses."""
    lines: list[str] = []
    for group in Group:
        members = [command for command in commands.COMMANDS if command.group is group]
        lines += [f"{group}:", *_columns((command.name, command.help) for command in members), ""]
    lines += [
        "Every command takes --database-url, or --data-dir for the embedded PostgreSQL there, and prints on standard",
        "error which database it works on. Other settings are environment variables that start with TOKEN_LEDGER_.",
        "",
        "`token-ledger COMMAND --help` explains a command and its options.",
        "",
        "Exit status:",
        *_columns((str(status), text) for status, text in commands.EXIT_STATUSES.items()),
    ]
    return "\n".join(lines)


def _columns(rows: Iterable[tuple[str, str]]) -> list[str]:
    return [f"  {name:<14}{text}" for name, text in rows]


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
