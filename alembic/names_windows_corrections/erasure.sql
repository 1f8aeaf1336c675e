-- Erasing a user also replaces the name in lists of selectors and in overrides, of today and of before.

-- An audit entry, a selector or overrides without the name: it is the value of "user" or "asked_by", one of a list of
-- users, the key of a list of cost centers, or a person who acted.
create or replace function token_ledger_renamed(entry jsonb, erased text, pseudonym text) returns jsonb
language sql immutable as $$
    select regexp_replace(replace(replace(replace(replace(entry::text,
        '"user": ' || to_json(erased), '"user": ' || to_json(pseudonym)),
        '"asked_by": ' || to_json(erased), '"asked_by": ' || to_json(pseudonym)),
        to_json(erased) || ': [', to_json(pseudonym) || ': ['),
        to_json('person:' || erased)::text, to_json('person:' || pseudonym)::text),
        '("user": \[(?:"(?:[^"\\]|\\.)*", )*)'
            || regexp_replace(to_json(erased)::text, '([][(){}.*+?^$|\\])', '\\\1', 'g') || '(?=[],])',
        '\1' || replace(to_json(pseudonym)::text, '\', '\\'), 'g')::jsonb
$$;

-- Terms of budgets are a journal that the service may not change. Their overrides are read again for every rollover.
create function token_ledger_rename_terms(tenant bigint, was text, becomes text) returns void
language plpgsql security definer set search_path from current as $$
begin
    if tenant <> all (current_setting('app.tenants')::bigint[]) then
        raise exception 'tenant % is not one of this transaction', tenant;
    end if;
    update budget_terms set overrides = token_ledger_renamed(overrides, was, becomes)
    where tenant_id = tenant and overrides @> jsonb_build_array(
        jsonb_build_object('subject', jsonb_build_object('user', was))
    );
end $$;

-- As before, and with the names in lists of users and in overrides.
create or replace function token_ledger_begin_erasure(
    tenant bigint, was text, becomes text, upto bigint, segment_now bigint, began timestamptz
) returns void
language plpgsql as $$
declare
    was_part text := '"user":' || to_json(was);
    becomes_part text := '"user":' || to_json(becomes);
    overriding jsonb := jsonb_build_array(jsonb_build_object('subject', jsonb_build_object('user', was)));
begin
    if tenant <> all (current_setting('app.tenants')::bigint[]) then
        raise exception 'tenant % is not one of this transaction', tenant;
    end if;
    insert into erasures (tenant_id, user_id, pseudonym, last_id, segment, began_at, journal, reached)
    values (tenant, was, becomes, upto, segment_now, began, 'accounts', 0);
    update users set erased = true where tenant_id = tenant and user_id = was;
    update budgets
    set selector = token_ledger_renamed(selector, was, becomes),
        overrides = token_ledger_renamed(overrides, was, becomes)
    where tenant_id = tenant and (jsonb_exists(selector -> 'user', was) or overrides @> overriding);
    perform token_ledger_rename_terms(tenant, was, becomes);
    update accounts set subject = replace(subject, was_part, becomes_part)
    where tenant_id = tenant and subject_user = was and subject_run is null
      and (window_end is null or window_end + 2 * (window_end - window_start) > began);
    if exists (
        select from budgets where tenant_id = tenant and "window" = 'run'
        and (selector ->> 'user' = '*' or unassigned = 'per_user')
    ) then
        update accounts as a set subject = replace(a.subject, was_part, becomes_part)
        from runs as r
        where r.tenant_id = tenant and r.user_id = was and r.state = 'open'
          and a.tenant_id = tenant and a.subject_user = was and a.subject_run = r.run_id::text;
    end if;
    update daily_usage set user_id = becomes
    where tenant_id = tenant and segment > 0 and segment = segment_now and user_id = was;
end $$;

revoke all on function token_ledger_rename_terms(bigint, text, text) from public;
grant execute on function token_ledger_rename_terms(bigint, text, text) to token_ledger_app;
