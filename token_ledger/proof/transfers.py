"""Checks: a transfer took along all that its account had, to the account of the new name, when a model was renamed."""

from sqlalchemy import text

from token_ledger.core.batch.books import ORDINAL_BITS
from token_ledger.core.model.transfer import Transfer
from token_ledger.proof.check import Scope, each_unit, sql_check
from token_ledger.proof.movements import MOVEMENTS
from token_ledger.storage.rows import TRANSFER

_TRANSFERS = f"select {TRANSFER.select()} from transfers where tenant_id = :tenant order by transfer_id"


async def load_transfers(scope: Scope) -> dict[int, list[Transfer]]:
    """Return all transfers by the account that they are from, ascending."""
    found: dict[int, list[Transfer]] = {}
    for row in await scope.connection.execute(text(_TRANSFERS), scope.parameters):
        transfer = TRANSFER.read(row)
        found.setdefault(transfer.from_account, []).append(transfer)
    return found


# What was used (settled and held) just before a transfer is in the movements; what of it was settled is added up here.
CARRIED = f"""
with recursive watched as (
    select a.account_id, a.counts from accounts as a
    where a.tenant_id = :tenant and a.account_id in (
        select from_account from transfers where tenant_id = :tenant and transfer_id > :cut
    )
), {MOVEMENTS}, settling as (
    select account_id, cast(:cut as bigint) as id, {each_unit("settled_{u} as {u}")}
    from account_checkpoints where tenant_id = :tenant
    union all
    select account_id, event_id, {each_unit("{u}")} from booked
    union all
    select account_id, transfer_id, {each_unit("sign * settled_{u}")} from leg
), used as (
    select t.transfer_id, {each_unit("sum(m.{u})::bigint as {u}")}
    from transfers as t join movement as m on m.account_id = t.from_account and m.id < t.transfer_id
    where t.tenant_id = :tenant and t.transfer_id > :cut group by t.transfer_id
), settled as (
    select t.transfer_id, {each_unit("sum(s.{u})::bigint as {u}")}
    from transfers as t join settling as s on s.account_id = t.from_account and s.id < t.transfer_id
    where t.tenant_id = :tenant and t.transfer_id > :cut group by t.transfer_id
)
select t.transfer_id, t.from_account,
       {each_unit("t.settled_{u}, s.{u} as had_settled_{u}, t.held_{u}, u.{u} as used_{u}")}
from transfers as t left join used as u using (transfer_id) left join settled as s using (transfer_id)
where t.tenant_id = :tenant and t.transfer_id > :cut and (
    {each_unit("t.settled_{u} <> coalesce(s.{u}, 0)", " or ")}
    or {each_unit("t.settled_{u} + t.held_{u} <> coalesce(u.{u}, 0)", " or ")}
)
"""

# Of the two subjects, only the model and its provider differ, and a user who is being erased.
_CHANGING = "array['model', 'provider', 'user']"
DIRECTIONS = f"""
select t.transfer_id, f.account_id as from_account, f.subject, o.account_id as to_account, o.subject as to_subject
from transfers as t
left join accounts as f on f.tenant_id = t.tenant_id and f.account_id = t.from_account
left join accounts as o on o.tenant_id = t.tenant_id and o.account_id = t.to_account
where t.tenant_id = :tenant and (
    (f.budget_id, f.window_start, f.window_end) is distinct from (o.budget_id, o.window_start, o.window_end)
    or f.account_id is null or f.account_id = o.account_id
    or f.subject::jsonb - {_CHANGING} <> o.subject::jsonb - {_CHANGING}
    or not exists (
        select from audit_log as l join model_names as n on n.tenant_id = l.tenant_id and n.change_id = l.audit_id
        where l.tenant_id = :tenant and l.audit_id >> {ORDINAL_BITS} = t.transfer_id >> {ORDINAL_BITS}
        and (l.before ->> 'model', l.after ->> 'model') = (f.subject::jsonb ->> 'model', o.subject::jsonb ->> 'model')
    )
)
"""

MOVED = """
with newest as (
    select distinct on (from_account) from_account, to_account from transfers
    where tenant_id = :tenant order by from_account, transfer_id desc
)
select coalesce(a.account_id, n.from_account) as account_id, a.moved_to, n.to_account
from (select * from accounts where tenant_id = :tenant) as a full join newest as n on n.from_account = a.account_id
where a.moved_to is distinct from n.to_account
"""

CHECKS = (
    sql_check("a transfer took along all that was settled and held on its account", CARRIED),
    sql_check("transfers are of models that were renamed, to the accounts of the new names", DIRECTIONS),
    sql_check("accounts know where the last transfer from them went", MOVED),
)
