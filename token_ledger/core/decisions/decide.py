"""Decides a batch: expires what is due, then every command in order, each idempotent under its key."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from token_ledger.core.batch import administration, commands, outcomes
from token_ledger.core.batch.books import Books
from token_ledger.core.batch.loaded import StoredKey
from token_ledger.core.batch.rollups import roll_up
from token_ledger.core.decisions import (
    admission,
    budgets,
    corrections,
    holds,
    limits,
    model_names,
    preflight,
    prices,
    quarantine,
    recostings,
    runs,
    tenancy,
    triggers,
)
from token_ledger.core.decisions.readings import read_again
from token_ledger.core.decisions.repeated_keys import conflict, kept_conflict, stored_answer

_STOPS = (commands.Release, commands.EndRun, administration.ForceRelease, administration.StopTenant)
BY_STATE = "state"
"""The key space of stops whose own key was used for another request."""

_DECISIONS: dict[type[commands.Command], Callable[[Books, Any], outcomes.Outcome]] = {
    commands.Reserve: admission.reserve,
    commands.Lease: admission.reserve,
    commands.Preflight: preflight.preflight,
    commands.Settle: holds.settle,
    commands.Extend: holds.extend,
    commands.Release: holds.release,
    administration.ForceRelease: holds.force_release,
    commands.Record: holds.record,
    commands.Quarantine: quarantine.quarantine,
    commands.KeepUnbooked: quarantine.keep_unbooked,
    commands.ExpireDue: holds.sweep,
    commands.OpenRun: runs.open_run,
    commands.EndRun: runs.end_run,
    commands.Step: runs.step,
    commands.Rebalance: runs.rebalance,
    administration.ChangeRun: runs.change_run,
    administration.CreateBudget: budgets.create_budget,
    administration.ChangeBudget: budgets.change_budget,
    administration.ReplaceBudget: budgets.replace_budget,
    administration.ArchiveBudget: budgets.archive_budget,
    administration.SetTrigger: triggers.set_trigger,
    administration.RenameModel: model_names.rename_model,
    administration.SetPrice: prices.set_price,
    administration.SetAlias: prices.set_alias,
    administration.SetDiscount: prices.set_discount,
    administration.SetModel: prices.set_model,
    administration.GiveGrant: limits.give_grant,
    administration.AskIncrease: limits.ask_increase,
    administration.DecideIncrease: limits.decide_increase,
    commands.TendAccounts: limits.tend_accounts,
    administration.Reverse: corrections.reverse,
    administration.Recost: recostings.recost,
    administration.SetUsers: tenancy.set_users,
    administration.EraseUser: tenancy.erase_user,
    administration.SetCalendar: tenancy.set_calendar,
    administration.SetDuplicates: tenancy.set_duplicates,
    administration.StopTenant: tenancy.stop_tenant,
}


def decide(books: Books, batch: Sequence[commands.Command]) -> list[outcomes.Outcome]:
    """Return one outcome per command, in order; what they change is in `books.writes`."""
    holds.expire_due(books)
    limits.bring_up_to_date(books)
    decided: list[outcomes.Outcome] = []
    stored_keys = books.loaded.keys
    for command in batch:
        stored = stored_keys.get((command.source, command.key)) if command.key else None
        if stored is None and command.key_space:
            stored = _stored_before_key_spaces(books, command)
        if stored is None:
            decided.append(_DECISIONS[type(command)](books, command))
        elif stored.fingerprint == command.fingerprint:
            decided.append(stored_answer(books, command, stored))
        elif isinstance(command, _STOPS) and _stops(command):
            # What it asks for is a state, so it is done whatever its key was used for. The key stays the other's.
            again = replace(command, key=str(books.new_id()), key_space=BY_STATE)
            decided.append(_DECISIONS[type(command)](books, again))
        elif isinstance(command, commands.Report):
            decided.append(read_again(books, command, stored) or kept_conflict(books, command, stored))
        else:
            decided.append(conflict(books, command, stored))
    roll_up(books.writes)
    return decided


def _stored_before_key_spaces(books: Books, command: commands.Command) -> StoredKey | None:
    """Return what the same request led to when all kinds of principals had their keys under the verb alone."""
    stored = books.loaded.keys.get((command.verb, command.key))
    return stored if stored is not None and stored.fingerprint == command.fingerprint and not _stops(command) else None


def _stops(command: commands.Command) -> bool:
    """Return whether a command ends something, and so can be done again without harm; a resume does not."""
    if isinstance(command, administration.StopTenant):
        return command.reason is not None
    return isinstance(command, _STOPS)
