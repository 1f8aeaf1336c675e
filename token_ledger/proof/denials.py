"""Check: denials name the accounts that refused, with figures that explain the refusal."""

from token_ledger.proof.check import sql_check

# A denial is enforced if one of its accounts is hard, and each account's figures must show that too little was left.
# Of the calls of a lease an account refuses at least those that do not fit in the unit that is short.
# While a user is being erased, the subjects of account and denial may differ: one may have the name, the other the
# pseudonym. A second account of the same run, opened meanwhile by a new person of that name, has the pseudonym
# followed by its id.
DENIALS = """
with refusal as (
    select d.denial_id, d.code, r.value ->> 'enforcement' = 'hard' as hard,
           a.account_id is not null and a.budget = r.value ->> 'budget' and a.subject::jsonb - 'user' = denied.rest
               and (coalesce(of_account.pseudonym, a.subject::jsonb ->> 'user')
                       is not distinct from coalesce(of_denial.pseudonym, denied.user_id)
                   or coalesce(a.subject::jsonb ->> 'user' = denied.user_id || '-' || a.account_id, false)) as known,
           (r.value ->> 'available')::numeric as available, (r.value ->> 'requested')::numeric as requested,
           d.calls as asked, coalesce((r.value ->> 'calls')::bigint, 1) as refused,
           (r.value ->> 'limit')::numeric - (r.value ->> 'settled')::numeric - (r.value ->> 'held')::numeric as rest
    from denials as d cross join lateral jsonb_array_elements(d.refusals) as r (value)
    cross join lateral (
        select (r.value -> 'subject') - 'user' as rest, r.value -> 'subject' ->> 'user' as user_id
    ) as denied
    left join accounts as a on a.tenant_id = :tenant and a.account_id = (r.value ->> 'account_id')::bigint
    left join erasures as of_account on of_account.tenant_id = :tenant
        and of_account.user_id = a.subject::jsonb ->> 'user' and a.account_id <= of_account.last_id
    left join erasures as of_denial on of_denial.tenant_id = :tenant
        and of_denial.user_id = denied.user_id and d.denial_id <= of_denial.last_id
    where d.tenant_id = :tenant
), summed as (
    select denial_id, bool_or(hard) as hard,
           bool_and(known and rest = available and (code <> 'budget_exceeded' or requested > available)
                    and refused between 1 and asked
                    and refused >= asked - floor(greatest(0, available) * asked / nullif(requested, 0))) as explained
    from refusal group by denial_id
)
select d.denial_id, d.code, d.enforced, d.refusals
from denials as d left join summed as t using (denial_id)
where d.tenant_id = :tenant
  and case when d.code = 'not_allocated' then t.denial_id is not null
      else t.denial_id is null or t.hard <> d.enforced or not t.explained end
"""

CHECKS = (sql_check("denials name accounts that had too little available", DENIALS),)
