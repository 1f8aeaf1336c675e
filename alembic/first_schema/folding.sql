-- Folding: sums of segments that have ended are added to the row of segment 0.

-- Folds the given keys of one roll-up. The caller looked for them without the lock, which may take long where many
-- deleted rows are still in the table. While a user is being erased nothing is folded: two people share the name, and
-- their sums must stay apart. Runs as the owner, because the service can delete nothing; under the tenant's lock, so
-- that a batch that begins an erasure misses no row.
--
-- Every row is found by its whole key: `segment + 0` keeps the planner from the index on segments, which would read all
-- that is to be folded for every key.
create function token_ledger_fold(
    tenant bigint, segment_bits integer, last_segment bigint, kind text, keys jsonb
) returns void
language plpgsql security definer set search_path from current
set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off as $$
declare
    same_key text;
begin
    if tenant <> all (current_setting('app.tenants')::bigint[]) then
        raise exception 'tenant % is not one of this transaction', tenant;
    end if;
    if kind not in ('hourly_usage', 'daily_usage', 'run_usage', 'daily_tag_usage') then
        raise exception '% is no roll-up', kind;
    end if;
    perform 1 from tenant_ledgers as l
    where l.tenant_id = tenant and last_segment <= l.sequence >> segment_bits for update;
    if not found then
        raise exception 'batches still add to segment %', last_segment;
    end if;
    if exists (select from erasures as e where e.tenant_id = tenant) then
        return;
    end if;
    select string_agg(format('t.%1$s = k.%1$s', name), ' and ') into same_key
    from unnest(token_ledger_columns(kind, true)) as name where name not in ('tenant_id', 'segment');
    execute format(
        'with gone as ('
        ' delete from %1$I as t using jsonb_populate_recordset(null::%1$I, $2) as k'
        ' where t.tenant_id = $1 and %2$s and t.segment + 0 between 1 and $3 returning t.*'
        ') %3$s', kind, same_key, token_ledger_adding(kind, 'gone', '{"segment": "0::bigint"}')
    ) using tenant, keys, last_segment;
end $$;
