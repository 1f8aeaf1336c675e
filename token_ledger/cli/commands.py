"""The table of commands: name, help, arguments and the function of each, in one row.

It imports none of the functions, so help and reference pages can be made from it at once; `main` loads the function of
the command that is called.
"""

import argparse
from pathlib import Path

from token_ledger.cli.command_rows import JSON, TENANT, Argument, Command, Group
from token_ledger.cli.price_commands import PRICE_COMMANDS
from token_ledger.core.model.principal import KEY_ROLES, Role
from token_ledger.imports.kinds import KINDS
from token_ledger.reconciliation.bill_kinds import BillKind

EXIT_STATUSES = {
    0: "done, and nothing was found to be wrong",
    1: "it failed, or `verify`, `doctor` or `apply --diff` found something",
    2: "the command line is wrong: no such command or option",
    130: "interrupted with Ctrl-C or SIGTERM; `serve` and `worker`, which are stopped so, end with 0",
}


def key_role(text: str) -> str:
    """Return the role of an API key; ArgumentTypeError says why it is none."""
    known = ", ".join(role.value for role in KEY_ROLES)
    if text == Role.USER:
        raise argparse.ArgumentTypeError(
            f"user is the role of one person's token, which an admin key makes with POST /v1/tokens; a key has one of"
            f" the roles {known}"
        )
    if text not in KEY_ROLES:
        raise argparse.ArgumentTypeError(f"{text!r} is no role of a key; use one of {known}")
    return text


KEY_ID = Argument(name="key_id", help="id of the key, as the command keys shows it", example="1kQ3vT9xLmZa")
DATABASE = (
    Argument(
        name="--data-dir", type=Path, example="/var/lib/token-ledger",
        help="work on the embedded PostgreSQL in this directory, which also has its secrets; overrides"
        " TOKEN_LEDGER_DATA_DIR and, without --database-url, TOKEN_LEDGER_DATABASE_URL",
    ),
    Argument(
        name="--database-url", example="postgresql://ledger@db.internal/ledger",
        help="work on the PostgreSQL at this address; overrides TOKEN_LEDGER_DATABASE_URL, which hides a password from"
        " other users of the machine",
    ),
)  # fmt: skip
"""What every command takes. Only `serve` makes an embedded PostgreSQL where there is none."""
QUIET = Argument(name="--quiet", is_flag=True, help="log warnings and errors only")
COMMANDS = (
    Command(
        name="serve", group=Group.RUN, run="token_ledger.cli.serve:serve_requests",
        help="serve HTTP requests, with a worker beside them",
        details="Without the address of a database it starts a PostgreSQL of its own in the data directory, creates the"
        " schema, a tenant and its keys, and prints them. SIGTERM and Ctrl-C stop it after the requests under way have"
        " been answered, and then that PostgreSQL, unless another process uses it.",
        example="token-ledger serve --host 0.0.0.0 --port 8080",
        arguments=(
            Argument(
                name="--host", example="0.0.0.0",  # noqa: S104 - an example
                help="address to listen on; overrides TOKEN_LEDGER_HOST",
            ),
            Argument(
                name="--port", type=int, example="8080",
                help="port to listen on, 0 for any free one; overrides TOKEN_LEDGER_PORT",
            ),
            QUIET,
            Argument(
                name="--no-worker", is_flag=True,
                help="leave the recurring work (expiry, roll-ups, retention) to other processes (see worker)",
            ),
        ),
    ),
    Command(
        name="worker", group=Group.RUN, run="token_ledger.cli.worker:run_worker",
        help="do the recurring work without serving requests",
        details="Expires holds, closes accounts, folds roll-ups, makes partitions, erases users and applies retention."
        " Any number of processes may run; one of them leads, the others take over when it ends.",
        example="token-ledger worker --quiet",
        arguments=(QUIET,),
    ),
    Command(
        name="migrate", group=Group.DATABASE, run="token_ledger.cli.database:migrate_database",
        help="bring the schema to this version, and fill an empty price book",
        details="Run it as the owner of the tables, before the processes of a new version start. Running it again"
        " changes nothing.",
        example="TOKEN_LEDGER_DATABASE_URL=postgresql://owner:…@db/ledger token-ledger migrate",
    ),
    Command(
        name="doctor", group=Group.DATABASE, run="token_ledger.cli.database:diagnose",
        help="check the database, its schema, the worker and the settings",
        details="Prints one line a check, with what to do where something is wrong. Warnings leave the exit status at"
        " 0, failures make it 1.",
        example="token-ledger doctor --json",
        arguments=(JSON,),
    ),
    Command(
        name="verify", group=Group.DATABASE, run="token_ledger.cli.database:verify_books",
        help="prove that every balance, roll-up, grant and cost follows from the journal",
        details="Computes the books again from one snapshot while the service runs. The exit status is 1 if anything"
        " differs.",
        example="token-ledger verify --tenant acme",
        arguments=(
            Argument(name="--tenant", example="acme", help="name of the one tenant to verify; without it, all"),
            JSON,
        ),
    ),
    Command(
        name="stop", group=Group.DATABASE, run="token_ledger.cli.database:stop_database",
        help="stop the embedded PostgreSQL of a data directory",
        details="Needed only after a process was killed: serve and worker stop it when the last of them ends, and every"
        " other command leaves it as it was. To stop a tenant's calls, see stop-tenant.",
        example="token-ledger stop --data-dir /var/lib/token-ledger",
    ),
    Command(
        name="tenant", group=Group.TENANTS, run="token_ledger.cli.tenants:create_tenant",
        help="create a tenant and print its first admin key",
        details="The key is shown this once. Standard output has nothing but the key; what to do next is printed beside"
        " it.",
        example="token-ledger tenant acme --time-zone Europe/Berlin",
        arguments=(
            Argument(name="name", help="name of the tenant, 1 to 200 printable characters", example="acme"),
            Argument(
                name="--time-zone", default="UTC", example="Europe/Berlin",
                help="IANA time zone of the tenant's days and months",
            ),
        ),
    ),
    Command(
        name="apply", group=Group.TENANTS, run="token_ledger.cli.apply:apply_file",
        help="set up tenants, users, budgets, triggers and prices as a YAML file says",
        details="Prints every change. What the file leaves out is left alone. Nothing is changed if any part of the"
        " file is wrong or would be refused; applying it again changes nothing.",
        example="token-ledger apply budgets.yaml --plan",
        arguments=(
            Argument(name="file", type=Path, help="the YAML file", example="budgets.yaml"),
            Argument(name="--plan", is_flag=True, help="print the changes without making them"),
            Argument(name="--diff", is_flag=True, help="like --plan, with exit status 1 if anything differs"),
            Argument(name="--prune", is_flag=True, help="archive the budgets that the file does not name"),
        ),
    ),
    Command(
        name="stop-tenant", group=Group.TENANTS, run="token_ledger.cli.tenants:stop_tenant",
        help="refuse every new call of a tenant (emergency stop)",
        details="Calls that are under way still settle. The command resume-tenant ends the stop.",
        example='token-ledger stop-tenant acme --reason "an agent runs in circles"',
        arguments=(
            TENANT,
            Argument(
                name="--reason", default="stopped on the command line", example="an agent runs in circles",
                help="what callers and the audit log are told, 1 to 200 printable characters",
            ),
        ),
    ),
    Command(
        name="resume-tenant", group=Group.TENANTS, run="token_ledger.cli.tenants:resume_tenant",
        help="end a tenant's emergency stop",
        example="token-ledger resume-tenant acme",
        arguments=(TENANT,),
    ),
    Command(
        name="model-names", group=Group.TENANTS, run="token_ledger.cli.model_names:show_model_names",
        help="list names of models, and what they are called in a tenant's books",
        details="One line a name that callers used, in the order of the decisions. Where the price book calls a model"
        " otherwise by now, the next line has the command that accepts it.",
        example="token-ledger model-names acme",
        arguments=(
            TENANT,
            Argument(
                name="--accept", is_flag=True,
                help="rename every model that has another name in the price book, unless an administrator named it",
            ),
        ),
    ),
    Command(
        name="rename-model", group=Group.TENANTS, run="token_ledger.cli.model_names:rename_model",
        help="rename a model in a tenant's books, from now on",
        details="What was booked before keeps its name. If old is a name in the books, every name that leads to it goes"
        " along. When none leads to it any more, what is on its accounts per model goes to those of the new name, in"
        " windows that are under way.",
        example='token-ledger rename-model acme openai/gpt-5.4-preview openai/gpt-5.4 --reason "one model"',
        arguments=(
            TENANT,
            Argument(name="old", help="provider and name as callers use it", example="openai/gpt-5.4-preview"),
            Argument(name="new", help="provider and name that it gets in the books", example="openai/gpt-5.4"),
            Argument(
                name="--reason", default="renamed on the command line", example="one model",
                help="what the audit log is told, 1 to 200 printable characters",
            ),
        ),
    ),
    Command(
        name="key", group=Group.KEYS, run="token_ledger.cli.keys:create_key",
        help="create an API key and print it",
        details="The key is shown this once.",
        example='token-ledger key acme --role finance --name "month-end report"',
        arguments=(
            Argument(
                name="tenant", example="acme", help="name of the tenant; for the role operator, which has none, -"
            ),
            Argument(
                name="--role", default="agent", example="admin", type=key_role,
                help="what the key may do: agent makes calls, finance reads, admin does both and sets up, operator"
                " manages tenants",
            ),
            Argument(
                name="--name", default="made on the command line", example="month-end report",
                help="what the key is for, as lists of keys show it, 1 to 200 printable characters",
            ),
        ),
    ),
    Command(
        name="keys", group=Group.KEYS, run="token_ledger.cli.keys:show_keys",
        help="list the API keys of a tenant",
        details="One line a key, newest first: id, role, name, and when it ends or was revoked.",
        example="token-ledger keys acme",
        arguments=(TENANT,),
    ),
    Command(
        name="rotate-key", group=Group.KEYS, run="token_ledger.cli.keys:replace_key",
        help="replace an API key and print the new one",
        details="The new key has the role, name and end of the old one, which stays valid for the overlap.",
        example="token-ledger rotate-key acme 1kQ3vT9xLmZa --overlap-hours 48",
        arguments=(
            TENANT,
            KEY_ID,
            Argument(
                name="--overlap-hours", type=int, default=24, example="48",
                help="for how many hours the old key stays valid, 0 to 168",
            ),
        ),
    ),
    Command(
        name="revoke-key", group=Group.KEYS, run="token_ledger.cli.keys:end_key",
        help="revoke an API key",
        details="Every process refuses it, and the tokens that it issued, within a second.",
        example="token-ledger revoke-key acme 1kQ3vT9xLmZa",
        arguments=(TENANT, KEY_ID),
    ),
    Command(
        name="import-users", group=Group.USERS, run="token_ledger.cli.users:import_users",
        help="import users and their cost centers from a CSV file",
        details="The first line is user,cost_center or user,cost_center,from; several lines of one user are cost"
        " centers in succession, each from an instant on. They replace what is stored from the first instant on;"
        " earlier ones stay. Prints who was added or changed. If one line is wrong, nothing is imported.",
        example="token-ledger import-users acme users.csv",
        arguments=(TENANT, Argument(name="file", type=Path, help="the CSV file, in UTF-8", example="users.csv")),
    ),
    Command(
        name="erase-user", group=Group.USERS, run="token_ledger.cli.users:erase_user",
        help="replace a user's name with a pseudonym, everywhere",
        details="Every sum stays. The command begins the erasure; the worker that leads finishes it.",
        example="token-ledger erase-user acme ada",
        arguments=(TENANT, Argument(name="user", help="name of the user", example="ada")),
    ),
    Command(
        name="import", group=Group.USAGE, run="token_ledger.cli.imports:import_files",
        help="book usage from files of other systems",
        details="Imported calls are in reports at their dates, and on accounts of windows that have ended, never on one"
        " under way. Everything is read before anything is booked: a file that can't be read is named with the line."
        " What was booked before is not booked again, so an import that was interrupted is run again. The summary says"
        " how many rows were booked, booked before, quarantined or skipped, and why; together they are all that were"
        " read."
        " Kinds: " + "; ".join(f"{kind.name} ({kind.what})" for kind in KINDS.values())
        + ".",
        example="token-ledger import claude-code ~/.claude/projects --dry-run",
        arguments=(
            Argument(name="kind", choices=tuple(KINDS), help="what the files are"),
            Argument(
                name="files", type=Path, many=True, example="usage.csv",
                help="files, for session logs and traces also folders",
            ),
            Argument(name="--tenant", help="name of the tenant; without it, the only one there is", example="acme"),
            Argument(
                name="--dry-run", is_flag=True, help="show what would be booked and what it costs, and book nothing"
            ),
            Argument(
                name="--mapping", type=Path, example="usage.yaml",
                help="for csv, jsonl and parquet: the YAML file that says which column is what",
            ),
            Argument(name="--guess", is_flag=True, help="book a table by the mapping that is guessed"),
            Argument(
                name="--user", example="ada",
                help="whose calls these are, where a row does not say it; session logs are yours without it",
            ),
            Argument(name="--cost-center", example="research", help="their cost center, where a row does not say it"),
            Argument(name="--agent-type", example="data_agent", help="their agent type, where a row does not say it"),
            Argument(name="--provider", example="openai", help="their provider, where a row does not say it"),
            Argument(name="--time-zone", example="Europe/Berlin", help="IANA time zone of instants that name none"),
            JSON,
        ),
    ),
    Command(
        name="reconcile", group=Group.USAGE, run="token_ledger.cli.reconcile:reconcile",
        help="compare a provider's bill with the ledger, and say why they differ",
        details="For each day, model and project: what is billed and booked, which part of it the ledger captured, and"
        " probable reasons, each with the dollars that it explains. Name all files of a bill, costs and usage. Nothing"
        " is booked without --book; with it, what the bill has more, once, in reports at its date. Kinds: openai and"
        " anthropic (the answers of their costs and usage APIs), aws (rows of the Cost and Usage Report), csv (columns"
        " date, amount, and others).",
        example="token-ledger reconcile openai costs-11.json usage-11.json --tenant acme",
        arguments=(
            Argument(name="kind", choices=tuple(kind.value for kind in BillKind), help="whose export the files are"),
            Argument(name="files", type=Path, many=True, example="costs-11.json", help="all files of the bill"),
            Argument(name="--tenant", help="name of the tenant; without it, the only one there is", example="acme"),
            Argument(
                name="--project-tag", example="project",
                help="compare by project, too: the tag of calls that names the project; for aws also the resource tag",
            ),
            Argument(
                name="--by-cost-center", is_flag=True,
                help="compare by project, too: the bill's projects have the names of cost centers",
            ),
            Argument(name="--provider", example="mistral", help="for csv: the provider of rows that name none"),
            Argument(name="--csv", is_flag=True, help="print a row for each day, model and project as CSV"),
            JSON,
            Argument(name="--book", is_flag=True, help="book what the bill has more than the ledger"),
            Argument(
                name="--reason", example="bill of November",
                help="with --book: why, 1 to 200 printable characters; the tag `reason` of what is booked",
            ),
        ),
    ),
    Command(
        name="report", group=Group.USAGE, run="token_ledger.cli.report:report",
        help="write what a period has cost, as a page to print or to send, or as JSON",
        details="The total and that of the period before, what it went to by each dimension, the trend, what of it is"
        " told by itself, what techniques did, and what to do first. The page needs no network and no other file. It is"
        " the same report as GET /v1/reports/cost, which also chooses among calls.",
        example="token-ledger report --period last-month --by cost_center,user --output report.html",
        arguments=(
            Argument(name="--tenant", help="name of the tenant; without it, the only one there is", example="acme"),
            Argument(
                name="--period", default="last-month", example="FY2026-Q3",
                help="the period, as in GET /v1/reports/spend",
            ),
            Argument(
                name="--by", default="cost_center", example="user,tag:team",
                help="dimensions with commas between them; the first tables are by these, each by one",
            ),
            Argument(name="--format", default="html", choices=("html", "json"), help="what it is written as"),
            Argument(
                name="--output", type=Path, example="report.html", help="the file to write; without it, it is printed"
            ),
        ),
    ),
    *PRICE_COMMANDS,
)  # fmt: skip
