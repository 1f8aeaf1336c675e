"""The command `token-ledger`. Its errors are one sentence and exit status 1."""

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import token_ledger
from token_ledger.cli.parsers import add_commands
from token_ledger.config import Settings
from token_ledger.ledger.errors import LedgerError
from token_ledger.storage.api_keys import KEY_ROLES, Role
from token_ledger.storage.database import DatabaseAway


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(_settings(options), options)
    except (ValueError, OSError, DatabaseAway, LedgerError) as error:
        return _complain(str(error))
    except Exception as error:
        from token_ledger.cli.complaints import database_complaint

        complaint = database_complaint(error)
        if complaint is None:
            raise
        return _complain(complaint)
    return status


def _complain(what: str) -> int:
    print(f"token-ledger: {what}", file=sys.stderr)
    return 1


def _settings(options: argparse.Namespace) -> Settings:
    """Return the settings, with what the options say in place of variables; ValueError names the one that is wrong."""
    options_given = {name: getattr(options, name, None) for name in ("host", "port", "data_dir")}
    given: dict[str, Any] = {name: value for name, value in options_given.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        from token_ledger.cli.complaints import setting_complaint

        raise ValueError(setting_complaint(error, given)) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="token-ledger", description=token_ledger.__doc__)
    parser.add_argument("--version", action="version", version=token_ledger.__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="run the service; without a database it starts its own")
    serve.add_argument("--host")
    serve.add_argument("--port", type=int)
    serve.add_argument("--data-dir", type=Path)
    serve.add_argument("--quiet", action="store_true", help="log warnings only")
    serve.add_argument("--no-worker", action="store_true", help="leave what recurs to others: see the command worker")
    serve.set_defaults(run=_serve)

    worker = commands.add_parser("worker", help="do what recurs (of several, one leads), without serving requests")
    worker.add_argument("--data-dir", type=Path)
    worker.add_argument("--quiet", action="store_true", help="log warnings only")
    worker.set_defaults(run=_worker)

    migrate = commands.add_parser("migrate", help="bring the database to this version's schema and prices")
    migrate.set_defaults(run=_migrate)

    tenant = commands.add_parser("tenant", help="make a tenant and print its first admin key")
    tenant.add_argument("name")
    tenant.add_argument("--time-zone", default="UTC")
    tenant.set_defaults(run=_tenant)

    key = commands.add_parser("key", help="make an API key and print it")
    key.add_argument("tenant")
    key.add_argument("--role", type=Role, choices=list(KEY_ROLES), default=Role.AGENT)
    key.add_argument("--name", default="made on the command line")
    key.set_defaults(run=_key)

    verify = commands.add_parser("verify", help="prove that every balance and roll-up follows from the journal")
    verify.add_argument("--tenant", help="only this tenant")
    verify.add_argument("--json", action="store_true", help="print the findings as JSON")
    verify.set_defaults(run=_verify)

    doctor = commands.add_parser(
        "doctor", help="look for what is wrong with database, schema, worker and settings, and say what to do"
    )
    doctor.add_argument("--json", action="store_true", help="print the findings as JSON")
    doctor.set_defaults(run=_doctor)
    add_commands(commands, _database_url)
    return parser


def _database_url(settings: Settings) -> str:
    if settings.database_url is not None:
        return settings.database_url
    from token_ledger.storage.embedded import embedded_url, start_embedded

    return embedded_url(start_embedded(settings.data_dir))


def _serve(settings: Settings, options: argparse.Namespace) -> int:
    from token_ledger.cli.serve import serve

    return serve(settings, quiet=options.quiet, worker=not options.no_worker)


def _worker(settings: Settings, options: argparse.Namespace) -> int:
    from token_ledger.cli.worker import work

    return work(settings, quiet=options.quiet)


def _migrate(settings: Settings, options: argparse.Namespace) -> int:
    from token_ledger.cli.setup import prepare_database

    added = prepare_database(_database_url(settings))
    print(f"the schema is up to date; {added} prices added")
    return 0


def _tenant(settings: Settings, options: argparse.Namespace) -> int:
    from token_ledger.cli.complaints import checked_name
    from token_ledger.cli.setup import make_tenant
    from token_ledger.storage.tenants import check_zone

    name = checked_name("the tenant's name", options.name)
    check_zone(options.time_zone)
    _, key = asyncio.run(make_tenant(settings, _database_url(settings), name, options.time_zone))
    print(key)
    return 0


def _key(settings: Settings, options: argparse.Namespace) -> int:
    from token_ledger.cli.complaints import checked_name
    from token_ledger.cli.setup import make_key

    name = checked_name("--name", options.name)
    print(asyncio.run(make_key(settings, _database_url(settings), options.tenant, options.role, name)))
    return 0


def _verify(settings: Settings, options: argparse.Namespace) -> int:
    from token_ledger.analytics.verify import verify_database

    report = asyncio.run(verify_database(_database_url(settings), options.tenant))
    if options.json:
        print(json.dumps(report.as_json()))
    else:
        print(report.as_text())
    return 0 if report.clean else 1


def _doctor(settings: Settings, options: argparse.Namespace) -> int:
    from token_ledger.cli.doctor import examine

    diagnosis = asyncio.run(examine(settings, _database_url(settings)))
    print(json.dumps(diagnosis.as_json()) if options.json else diagnosis.as_text())
    return 0 if diagnosis.well else 1
