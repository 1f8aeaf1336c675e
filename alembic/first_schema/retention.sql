-- Retention: the sums of old events go to checkpoints, then the events and what belongs to them are deleted.

-- Events booked before this instant may go. Nothing younger than three months ever does.
create function token_ledger_horizon(months integer) returns timestamptz
language plpgsql stable set timezone = 'UTC' as $$
begin
    if months is null or months < 3 then
        raise exception 'events are kept for at least 3 months, not %', months;
    end if;
    return date_trunc('month', now()) - make_interval(months => months);
end $$;

-- The partitions that may go, oldest first; they are named by their month.
create function token_ledger_due_months(months integer) returns setof text
language sql stable set timezone = 'UTC' as $$
    select part.relname::text
    from pg_inherits as i join pg_class as part on part.oid = i.inhrelid
    where i.inhparent = 'usage_events'::regclass and part.relname ~ '^usage_events_[0-9]{4}_[0-9]{2}$'
      and to_timestamp(right(part.relname, 7), 'YYYY_MM') + interval '1 month' <= token_ledger_horizon(months)
    order by 1
$$;

-- Adds the next events of a tenant to its checkpoints and returns how many. It takes whole batches, so that the ids of
-- a batch are all on one side. Takes the tenant's lock, because an erasure that committed in between would not change
-- what was read already. The calendar comes from the caller as instants: the server may have other time zone rules.
create function token_ledger_checkpoint(
    tenant bigint, months integer, events integer,
    hour_since timestamptz[], hour_origin timestamptz[], hour_floor timestamptz[], day_starts timestamptz[]
) returns integer
language plpgsql security definer set search_path from current set timezone = 'UTC' as $$
declare
    never_null constant jsonb := '{"tool": "coalesce(tool, '''')"}';
    began timestamptz := clock_timestamp();
    horizon timestamptz := token_ledger_horizon(months);
    done bigint;
    upto bigint;
    upto_at timestamptz;
    added integer;
begin
    if tenant <> all (current_setting('app.tenants')::bigint[]) then
        raise exception 'tenant % is not one of this transaction', tenant;
    end if;
    perform 1 from tenant_ledgers as l where l.tenant_id = tenant for update;
    insert into checkpoints (tenant_id, last_id, booked_at, made_at) values (tenant, 0, 'epoch', began)
    on conflict do nothing;
    select c.last_id into done from checkpoints as c where c.tenant_id = tenant for update;
    select ((max(p.event_id) >> 16) + 1 << 16) - 1, max(p.booked_at) into upto, upto_at
    from (
        select e.event_id, e.booked_at from usage_events as e
        where e.tenant_id = tenant and e.event_id > done and e.booked_at < horizon order by e.event_id limit events
    ) as p;
    if upto is null then
        return 0;
    end if;
    -- $1 is the tenant; $2 and $3 bound the ids; $4 is the horizon; $5 to $8 are the calendar.
    execute format(
        'with page as materialized ('
        ' select e.*, cache_write_5m_tokens + cache_write_1h_tokens as cache_write_tokens,'
        '        greatest(date_bin(''1 hour'', e.posted_at, ($6)[width_bucket(e.posted_at, $5)]),'
        '                 ($7)[width_bucket(e.posted_at, $5)]) as hour,'
        '        ($8)[width_bucket(e.posted_at, $8)] as day'
        ' from usage_events as e'
        ' where e.tenant_id = $1 and e.event_id > $2 and e.event_id <= $3 and e.booked_at < $4'
        '), of_accounts as ('
        ' select a.tenant_id, a.account_id, p.cost_nanos as settled_nanos, p.calls as settled_calls,'
        '        p.input_tokens + p.output_tokens - case a.counts when ''all'' then 0 else p.cache_read_tokens end'
        '        as settled_tokens'
        ' from page as p cross join lateral unnest(p.path) as named (account_id)'
        ' join accounts as a on a.tenant_id = p.tenant_id and a.account_id = named.account_id'
        '), accounts_added as (%s), hours_added as (%s), days_added as (%s), tags_added as (%s), runs_added as (%s)'
        ' select count(*) from page',
        token_ledger_adding('account_checkpoints', 'of_accounts'),
        token_ledger_adding('hourly_checkpoints', 'page', never_null),
        token_ledger_adding('daily_checkpoints', 'page', never_null),
        token_ledger_adding(
            'daily_tag_checkpoints',
            'page cross join lateral jsonb_each_text(coalesce(tags, ''{}'')) as named (tag, value)'
        ),
        token_ledger_adding('run_checkpoints', 'page where run_id is not null', never_null)
    ) into added using tenant, done, upto, horizon, hour_since, hour_origin, hour_floor, day_starts;
    update checkpoints as c set last_id = upto, booked_at = upto_at, made_at = began
    where c.tenant_id = tenant;
    return added;
end $$;

-- Deletes what is in a tenant's checkpoints, or belongs to it, from the next `most` rows of a table in the order of its
-- key. Returns how many rows that was and where to go on; null at the end. The caller does operation_keys first,
-- because a key must go before the row that it leads to. Only of operation_keys are all rows looked at: no index leads
-- to the old ones.
create function token_ledger_forget(
    tenant bigint, kind text, after jsonb, most integer, out forgotten integer, out reached jsonb
)
language plpgsql security definer set search_path from current as $$
declare
    id text := case kind
        when 'operation_keys' then 'none'
        when 'reservations' then 'reservation_id'
        when 'denials' then 'denial_id'
        when 'trigger_firings' then 'reservation_id'
        when 'run_steps' then 'step_id'
        when 'threshold_events' then 'threshold_id'
    end;
    is_old text := case kind
        when 'reservations' then 't.state <> ''held'' and greatest(t.ended_id, t.event_id) <= $4'
        when 'threshold_events' then
            'exists (select from accounts as a where a.tenant_id = t.tenant_id and a.account_id = t.account_id'
            ' and a.window_end < $5)'
        else 'true'
    end;
    c checkpoints;
    done bigint := coalesce((after ->> 'id')::bigint, 0);
    upto bigint;
begin
    if tenant <> all (current_setting('app.tenants')::bigint[]) then
        raise exception 'tenant % is not one of this transaction', tenant;
    end if;
    if id is null then
        raise exception 'rows of % are never forgotten', kind;
    end if;
    forgotten := 0;
    select * into c from checkpoints where tenant_id = tenant;
    if not found then
        return;
    end if;
    if kind = 'operation_keys' then
        with page as materialized (
            select k.source, k.key from operation_keys as k
            where k.tenant_id = tenant
              and (k.source, k.key) > (coalesce(after ->> 'source', ''), coalesce(after ->> 'key', ''))
            order by k.source, k.key limit most
        ), gone as (
            delete from operation_keys as t using page as p
            where t.tenant_id = tenant and t.source = p.source and t.key = p.key
              and (t.booked_at < c.booked_at or (t.booked_at = c.booked_at and t.target_id <= c.last_id))
            returning 1
        )
        select (select count(*) from gone),
               (select to_jsonb(p) from page as p order by p.source desc, p.key desc limit 1)
        into forgotten, reached;
        return;
    end if;
    execute format(
        'select max(id) from (select %1$I as id from %2$I where tenant_id = $1 and %1$I > $2 and %1$I <= $3'
        ' order by %1$I limit $4) as page', id, kind
    ) into upto using tenant, done, c.last_id, most;
    if upto is null then
        return;
    end if;
    execute format(
        'with gone as ('
        ' delete from %1$I as t where t.tenant_id = $1 and t.%2$I > $2 and t.%2$I <= $3 and (%3$s) returning t.*'
        ')%4$s select count(*) from gone', kind, id, is_old,
        case kind when 'run_steps' then format(
            ', counted as (%s)', token_ledger_adding('step_checkpoints', '(select *, 1 as steps from gone) as gone')
        ) end
    ) into forgotten using tenant, done, upto, c.last_id, c.booked_at;
    reached := jsonb_build_object('id', upto);
end $$;

-- Drops the oldest partition that is due, if all its events are in checkpoints. Dropping locks the parent for a
-- moment; without the lock at once it fails, because writers would queue behind it.
create function token_ledger_drop_month(months integer) returns text
language plpgsql security definer set search_path from current set lock_timeout = '200ms' as $$
declare
    partition text;
    missing bigint;
begin
    select due into partition from token_ledger_due_months(months) as due limit 1;
    if partition is null then
        return null;
    end if;
    execute format(
        'with recursive present as ('
        ' (select tenant_id from %1$I order by tenant_id limit 1)'
        ' union all select (select e.tenant_id from %1$I as e where e.tenant_id > p.tenant_id order by 1 limit 1)'
        ' from present as p where p.tenant_id is not null'
        ') select p.tenant_id from present as p where exists ('
        ' select from %1$I as e where e.tenant_id = p.tenant_id and e.event_id >'
        ' coalesce((select c.last_id from checkpoints as c where c.tenant_id = p.tenant_id), 0)'
        ') limit 1', partition
    ) into missing;
    if missing is not null then
        raise exception '% has events of tenant % that are in no checkpoint', partition, missing;
    end if;
    execute format('drop table %I', partition);
    return partition;
end $$;
