"""Owns what a row of the table of commands is, and the arguments that many rows have."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Group(StrEnum):
    """What commands are for; `token-ledger --help` shows them by group."""

    RUN = "Run the service"
    DATABASE = "Look after the database"
    TENANTS = "Set up tenants"
    KEYS = "Manage API keys"
    USERS = "Manage users"
    PRICES = "Look up and set prices"
    USAGE = "Import usage, compare bills"


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One argument of a command: `name` is positional, `--name` an option, or a flag with `is_flag`.

    One that is positional may be left out if it is `optional`, and given more than once if it is `many`.
    """

    name: str
    help: str
    example: str = ""
    default: Any = None
    choices: tuple[str, ...] | None = None
    type: Callable[[str], Any] = str
    is_flag: bool = False
    optional: bool = False
    many: bool = False

    @property
    def text(self) -> str:
        """The help with default and example."""
        notes = [f"default: {self.default}"] if self.default is not None else []
        notes += [f"example: {self.example}"] if self.example else []
        return self.help + (f" ({'; '.join(notes)})" if notes else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command: `run` names its function as module:function, which takes the settings and the parsed arguments.

    A name of two words is a command of a family, such as `prices list`.
    """

    name: str
    group: Group
    help: str
    run: str
    arguments: tuple[Argument, ...] = ()
    details: str = ""
    example: str = ""


TENANT = Argument(name="tenant", help="name of the tenant", example="acme")
JSON = Argument(name="--json", is_flag=True, help="print the findings as one JSON object")
