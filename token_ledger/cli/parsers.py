"""How the commands of those who administer are called: apply, stop, resume, keys, users."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from token_ledger.config import Settings

UrlOf = Callable[[Settings], str]


def add_commands(commands: Any, url_of: UrlOf) -> None:
    """Add the parsers of these commands; `url_of` finds the database of the settings."""

    def command(name: str, text: str, function: str) -> Any:
        def run(settings: Settings, options: argparse.Namespace) -> int:
            from token_ledger.cli import administer  # a second of imports that other commands need not wait for

            status: int = getattr(administer, function)(url_of(settings), settings, options)
            return status

        parser = commands.add_parser(name, help=text)
        parser.set_defaults(run=run)
        return parser

    applied = command("apply", "set up what a YAML file says: tenants, users, budgets, policies", "apply_file")
    applied.add_argument("file", type=Path)
    applied.add_argument("--plan", action="store_true", help="only say what would be changed")
    applied.add_argument("--diff", action="store_true", help="like --plan; exit status 1 if anything differs")
    applied.add_argument("--prune", action="store_true", help="archive budgets that the file does not name")

    stop = command("stop", "stop every call of a tenant; what is under way still settles", "stop")
    stop.add_argument("tenant")
    stop.add_argument("--reason", default="stopped on the command line")
    command("resume", "let a tenant's calls go on", "resume").add_argument("tenant")

    command("keys", "list a tenant's API keys", "show_keys").add_argument("tenant")
    rotate = command("rotate-key", "print a key in the place of another, which ends after the overlap", "rotate")
    rotate.add_argument("tenant")
    rotate.add_argument("key_id")
    rotate.add_argument("--overlap-hours", type=int, default=24, help="how long the old key goes on, 0 to 168")
    revoke = command("revoke-key", "revoke an API key", "revoke")
    revoke.add_argument("tenant")
    revoke.add_argument("key_id")

    users = command("import-users", "import users from a CSV file: user,cost_center,from", "import_users")
    users.add_argument("tenant")
    users.add_argument("file", type=Path)
    erase = command("erase-user", "put a pseudonym in a user's place; every sum stays", "erase_user")
    erase.add_argument("tenant")
    erase.add_argument("user")
