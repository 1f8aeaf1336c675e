"""Writes the reference of the command line from the table of commands."""

from tests.documents.markdown import table
from token_ledger.cli.command_rows import Argument, Command, Group
from token_ledger.cli.commands import COMMANDS, DATABASE, EXIT_STATUSES
from token_ledger.cli.parser import build_parser


def commands() -> str:
    """Return a part for every group of commands, and a section for every command."""
    parts = []
    for group in Group:
        parts += [f"## {group}", *(_section(command) for command in COMMANDS if command.group is group)]
    return "\n\n".join(parts)


def database() -> str:
    """Return the arguments that every command takes."""
    return table(("every command takes", "meaning", "default", "example"), [_row(argument) for argument in DATABASE])


def exit_statuses() -> str:
    """Return what the exit statuses mean."""
    return table(("status", "meaning"), [(str(status), text) for status, text in EXIT_STATUSES.items()])


def _section(command: Command) -> str:
    parts = [f"### {command.name}", f"{command.help[0].upper()}{command.help[1:]}. {command.details}".rstrip()]
    if command.example:
        parts.append(f"    {command.example}")
    if command.arguments:
        rows = [_row(argument) for argument in command.arguments]
        parts.append(table(("argument", "meaning", "default", "example"), rows))
    return "\n\n".join(parts)


def _row(argument: Argument) -> tuple[str, str, str, str]:
    choices = f": {', '.join(argument.choices)}" if argument.choices else ""
    default = "" if argument.default is None else f"`{argument.default}`"
    example = f"`{argument.example}`" if argument.example else ""
    return f"`{argument.name}`", f"{argument.help}{choices}", default, example


def help_of(command: str) -> str:
    """Return what `token-ledger COMMAND --help` prints, on one line."""
    parser = build_parser()
    for word in command.split():
        [choices] = [action.choices for action in parser._actions if isinstance(action.choices, dict)]
        parser = choices[word]
    return " ".join(parser.format_help().split())
