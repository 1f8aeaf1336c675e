-- Books one batch of one tenant in one statement, for a process that knows all that the batch was decided on.
--
-- Nothing is written unless the tenant's ledger is as the process knows it: `expected_*` is what its last batch left,
-- with a random number beside, because another batch can get the same number after a fall back to a lagging replica.
-- Nor is it unless the instant of the batch lies at or at most a tenth of a second before the clock, no hold is due by
-- that clock, and no call is known by a response id that the batch took for new. A key that exists raises. All rows are
-- of the one tenant, because none of them names one. Events that end no hold stand in `booked` too: these have a number
-- of calls in the same place of `calls_of_parts`, others have null, and the array is null where there are none.
--
-- Rows to update are found by the tenant in the place `lock` of a list of one: joined so, each is one probe of a whole
-- key. With the tenant itself, a plan made while tables are empty goes through all rows of the tenant.
--
-- Answers what became of it, and the clock, read when the lock was granted: `booked`, or nothing was written, because
-- of what is `stale`, the `instant`, a hold that is `due`, or a response that is `known`. Runs with the rights of its
-- caller, and in a transaction of its own, which ends with it.
create function token_ledger_book(
    tenant bigint, expected_sequence bigint, expected_version bigint, expected_at timestamptz, expected_tokens bigint,
    expected_nanos bigint, expected_stamp bigint,
    batch_at timestamptz, batch_tokens bigint, batch_nanos bigint, new_stamp bigint, batch_segment bigint,
    lasts boolean, new_responses text[], responses_since timestamptz, places timestamptz[],
    balances account_balance_row[], given held_call_row[], booked booked_event_row[], calls_of_parts smallint[],
    new_keys operation_key_row[], ended ended_hold_row[], changed changed_hold_row[],
    refused denial_row[], firings trigger_firing_row[], counted counted_run_row[], steps run_step_row[],
    hours hourly_usage_row[], days daily_usage_row[], tag_days daily_tag_usage_row[], in_runs run_usage_row[],
    out became text, out clock timestamptz
)
language plpgsql as $$
declare
    ignored integer;
begin
    execute format('set local app.tenants = ''{%s}''', tenant);
    perform 1 from tenant_ledgers as l
    where l.tenant_id = tenant and l.sequence = expected_sequence and l.config_version = expected_version
      and l.booked_at = expected_at and l.booked_tokens = expected_tokens and l.booked_nanos = expected_nanos
      and l.batch_stamp = expected_stamp
    for update;
    if not found then
        became := 'stale';
        clock := clock_timestamp();
        return;
    end if;
    clock := clock_timestamp();
    if batch_at > clock or batch_at < clock - interval '100 milliseconds' then
        became := 'instant';
        return;
    end if;
    perform 1 from reservations as held
    where held.tenant_id = tenant and held.state = 'held' and held.expires_at <= clock
    order by held.expires_at limit 1;
    if found then
        became := 'due';
        return;
    end if;
    if new_responses is not null then
        perform 1 from unnest(new_responses) as wanted (response_id)
        cross join lateral (
            select 1 from usage_events as stored
            where stored.tenant_id = tenant and stored.response_id >= wanted.response_id
              and stored.response_id <= wanted.response_id
              and stored.repetition in ('first', 'replaces', 'other_usage') and stored.booked_at >= responses_since
            order by stored.response_id limit 1
        ) as e limit 1;
        if found then
            became := 'known';
            return;
        end if;
    end if;
    became := 'booked';
    if not lasts then
        set local synchronous_commit = off;
    end if;

    update tenant_ledgers as l
    set sequence = l.sequence + 1, booked_at = batch_at, booked_tokens = batch_tokens, booked_nanos = batch_nanos,
        batch_stamp = new_stamp
    where l.tenant_id = tenant;
    if balances is not null then
        update accounts as a
        set settled_tokens = v.settled_tokens, settled_nanos = v.settled_nanos, settled_calls = v.settled_calls,
            held_tokens = v.held_tokens, held_nanos = v.held_nanos, held_calls = v.held_calls
        from unnest(balances) as v
        where a.tenant_id = (array[tenant])[v.lock] and a.account_id = v.account_id
          and a.budget_id = v.budget_id and a.subject = v.subject and a.window_start = v.window_start;
    end if;
    if given is not null then
        with sent as materialized (
            select
                v.key, v.fingerprint, v.reservation_id, v.user_id, v.cost_center, v.agent_type,
                v.request_type, v.provider, v.model, v.run_id, v.tool, v.tags, v.requested_provider,
                v.requested_model, v.input_tokens, v.cached_input_tokens, v.max_output_tokens, v.held_tokens,
                v.held_uncached_tokens, v.held_nanos, v.price_id, v.path::bigint[] as path, v.ttl_seconds,
                v.advice, v.warnings, v.announced, v.discount_id
            from unnest(given) as v
        ), keyed as (
            insert into operation_keys (tenant_id, source, key, fingerprint, answer, target_id, booked_at)
            select tenant, 'reserve', key, fingerprint, 'reservation', reservation_id, batch_at from sent
            returning 1
        ), stored as (
            insert into reservations (
                tenant_id, state, created_at, expires_at,
                reservation_id, user_id, cost_center, agent_type, request_type, provider, model, run_id, tool,
                tags, requested_provider, requested_model, input_tokens, cached_input_tokens,
                max_output_tokens, held_tokens, held_uncached_tokens, held_nanos, price_id, path, ttl_seconds,
                advice, warnings, announced, discount_id
            )
            select tenant, 'held', batch_at, batch_at + ttl_seconds * interval '1 second',
                   reservation_id, user_id, cost_center, agent_type, request_type, provider, model, run_id,
                   tool, tags, requested_provider, requested_model, input_tokens, cached_input_tokens,
                   max_output_tokens, held_tokens, held_uncached_tokens, held_nanos, price_id, path,
                   ttl_seconds, advice, warnings, announced, discount_id
            from sent
            returning 1
        )
        select 1 into ignored;
    end if;
    if ended is not null then
        update reservations as r
        set state = v.state, ended_at = batch_at, ended_id = v.ended_id, end_reason = v.end_reason
        from unnest(ended) as v
        where r.tenant_id = (array[tenant])[v.lock] and r.reservation_id = v.reservation_id;
    end if;
    if booked is not null then
        with sent as materialized (
            select calls_of_parts[v.ordinality] as calls_of_part,
                v.lock, v.source, v.key, v.fingerprint, v.event_id, v.reservation_id, v.user_id, v.cost_center,
                v.agent_type, v.request_type, v.provider, v.model, v.run_id, v.tool, v.tags, v.input_tokens,
                v.output_tokens, v.cache_read_tokens, v.cache_write_5m_tokens, v.cache_write_1h_tokens,
                v.reasoning_tokens, v.cost_nanos, v.price_id, v.path::bigint[] as path, places[v.occurred_at]
                as occurred_at, places[v.posted_at] as posted_at, v.overrun, v.late, v.estimated, v.unpriced,
                v.clamped, v.failed, v.response_id, v.original_input_tokens, v.requested_provider,
                v.requested_model, v.served_provider, v.served_model, v.held_path::bigint[] as held_path,
                places[v.held_at] as held_at, v.others, v.service_tier, v.repetition, v.earlier_event_id,
                v.kind, v.details, v.discount_id, v.list_price_id, v.list_cost_nanos, places[v.counts_since]
                as counts_since
            from unnest(booked) with ordinality as v
        ), keyed as (
            insert into operation_keys (tenant_id, source, key, fingerprint, answer, target_id, booked_at)
            select tenant, source, key, fingerprint, 'event', event_id, batch_at from sent
            returning 1
        ), settled as (
            update reservations as r
            set state = 'settled', event_id = s.event_id,
                ended_id = coalesce(r.ended_id, s.event_id), ended_at = coalesce(r.ended_at, batch_at)
            from (select * from sent where reservation_id is not null and calls_of_part is null) as s
            where r.tenant_id = (array[tenant])[s.lock] and r.reservation_id = s.reservation_id
        ), stored as (
            insert into usage_events (
                tenant_id, booked_at, part, calls,
                event_id, reservation_id, user_id, cost_center, agent_type, request_type, provider, model,
                run_id, tool, tags, input_tokens, output_tokens, cache_read_tokens, cache_write_5m_tokens,
                cache_write_1h_tokens, reasoning_tokens, cost_nanos, price_id, path, occurred_at, posted_at,
                overrun, late, estimated, unpriced, clamped, failed, response_id, original_input_tokens,
                requested_provider, requested_model, served_provider, served_model, held_path, held_at,
                others, service_tier, repetition, earlier_event_id, kind, details, discount_id, list_price_id,
                list_cost_nanos, counts_since
            )
            select tenant, batch_at, calls_of_part is not null,
                   coalesce(calls_of_part, case when repetition = 'duplicate' or kind is not null then 0 else 1 end),
                   event_id, reservation_id, user_id, cost_center, agent_type, request_type, provider, model,
                   run_id, tool, tags, input_tokens, output_tokens, cache_read_tokens, cache_write_5m_tokens,
                   cache_write_1h_tokens, reasoning_tokens, cost_nanos, price_id, path, occurred_at,
                   posted_at, overrun, late, estimated, unpriced, clamped, failed, response_id,
                   original_input_tokens, requested_provider, requested_model, served_provider, served_model,
                   held_path, held_at, others, service_tier, repetition, earlier_event_id, kind, details,
                   discount_id, list_price_id, list_cost_nanos, counts_since
            from sent
            returning 1
        )
        select 1 into ignored;
    end if;
    if changed is not null then
        update reservations as r
        set expires_at = v.expires_at, drawn_tokens = v.drawn_tokens,
            drawn_uncached_tokens = v.drawn_uncached_tokens, drawn_nanos = v.drawn_nanos,
            drawn_calls = v.drawn_calls, changes = v.changes, drawn_use = v.drawn_use
        from unnest(changed) as v
        where r.tenant_id = (array[tenant])[v.lock] and r.reservation_id = v.reservation_id;
    end if;
    if new_keys is not null then
        with stored as (
            insert into operation_keys (tenant_id, source, key, fingerprint, answer, target_id, booked_at)
            select tenant, v.source, v.key, v.fingerprint, v.answer, v.target_id, batch_at from unnest(new_keys) as v
            returning 1
        )
        select 1 into ignored;
    end if;
    if refused is not null then
        with stored as (
            insert into denials (
                tenant_id,
                denial_id, user_id, cost_center, agent_type, request_type, provider, model, run_id, tool,
                tags, code, enforced, refusals, input_tokens, max_output_tokens, fits_output_tokens,
                created_at, calls
            )
            select tenant,
                   v.denial_id, v.user_id, v.cost_center, v.agent_type, v.request_type, v.provider, v.model,
                   v.run_id, v.tool, v.tags, v.code, v.enforced, v.refusals, v.input_tokens,
                   v.max_output_tokens, v.fits_output_tokens, batch_at, v.calls
            from unnest(refused) as v
            returning 1
        )
        select 1 into ignored;
    end if;
    if firings is not null then
        with stored as (
            insert into trigger_firings (
                tenant_id, reservation_id, trigger, technique, applied, evidence, fired_at
            )
            select tenant, v.reservation_id, v.trigger, v.technique, v.applied, v.evidence, batch_at
            from unnest(firings) as v
            returning 1
        )
        select 1 into ignored;
    end if;
    if counted is not null then
        update runs as r set iterations = v.iterations
        from unnest(counted) as v
        where r.tenant_id = (array[tenant])[v.lock] and r.run_id = v.run_id;
    end if;
    if steps is not null then
        with stored as (
            insert into run_steps (tenant_id, step_id, run_id, iteration, label, booked_at)
            select tenant, v.step_id, v.run_id, v.iteration, v.label, batch_at from unnest(steps) as v
            returning 1
        )
        select 1 into ignored;
    end if;
    if hours is not null then
        insert into hourly_usage as t (
            tenant_id,
            hour, cost_center, agent_type, model, calls, input_tokens, output_tokens, cache_read_tokens,
            cache_write_tokens, reasoning_tokens, cost_nanos, segment
        )
        select tenant,
               v.hour, v.cost_center, v.agent_type, v.model, v.calls, v.input_tokens, v.output_tokens,
               v.cache_read_tokens, v.cache_write_tokens, v.reasoning_tokens, v.cost_nanos, batch_segment
        from unnest(hours) as v
        on conflict (tenant_id, hour, cost_center, agent_type, model, segment) do update
        set
            calls = t.calls + excluded.calls, input_tokens = t.input_tokens + excluded.input_tokens,
            output_tokens = t.output_tokens + excluded.output_tokens, cache_read_tokens = t.cache_read_tokens
            + excluded.cache_read_tokens, cache_write_tokens = t.cache_write_tokens +
            excluded.cache_write_tokens, reasoning_tokens = t.reasoning_tokens + excluded.reasoning_tokens,
            cost_nanos = t.cost_nanos + excluded.cost_nanos;
    end if;
    if days is not null then
        insert into daily_usage as t (
            tenant_id,
            day, user_id, agent_type, model, request_type, calls, input_tokens, output_tokens,
            cache_read_tokens, cache_write_tokens, reasoning_tokens, cost_nanos, segment
        )
        select tenant,
               v.day, v.user_id, v.agent_type, v.model, v.request_type, v.calls, v.input_tokens,
               v.output_tokens, v.cache_read_tokens, v.cache_write_tokens, v.reasoning_tokens, v.cost_nanos,
               batch_segment
        from unnest(days) as v
        on conflict (tenant_id, day, user_id, agent_type, model, request_type, segment) do update
        set
            calls = t.calls + excluded.calls, input_tokens = t.input_tokens + excluded.input_tokens,
            output_tokens = t.output_tokens + excluded.output_tokens, cache_read_tokens = t.cache_read_tokens
            + excluded.cache_read_tokens, cache_write_tokens = t.cache_write_tokens +
            excluded.cache_write_tokens, reasoning_tokens = t.reasoning_tokens + excluded.reasoning_tokens,
            cost_nanos = t.cost_nanos + excluded.cost_nanos;
    end if;
    if tag_days is not null then
        insert into daily_tag_usage as t (
            tenant_id,
            day, tag, value, calls, input_tokens, output_tokens, cache_read_tokens, cache_write_tokens,
            reasoning_tokens, cost_nanos, segment
        )
        select tenant,
               v.day, v.tag, v.value, v.calls, v.input_tokens, v.output_tokens, v.cache_read_tokens,
               v.cache_write_tokens, v.reasoning_tokens, v.cost_nanos, batch_segment
        from unnest(tag_days) as v
        on conflict (tenant_id, day, tag, value, segment) do update
        set
            calls = t.calls + excluded.calls, input_tokens = t.input_tokens + excluded.input_tokens,
            output_tokens = t.output_tokens + excluded.output_tokens, cache_read_tokens = t.cache_read_tokens
            + excluded.cache_read_tokens, cache_write_tokens = t.cache_write_tokens +
            excluded.cache_write_tokens, reasoning_tokens = t.reasoning_tokens + excluded.reasoning_tokens,
            cost_nanos = t.cost_nanos + excluded.cost_nanos;
    end if;
    if in_runs is not null then
        insert into run_usage as t (
            tenant_id,
            run_id, agent_type, tool, model, calls, input_tokens, output_tokens, cache_read_tokens,
            cache_write_tokens, reasoning_tokens, cost_nanos, segment
        )
        select tenant,
               v.run_id, v.agent_type, v.tool, v.model, v.calls, v.input_tokens, v.output_tokens,
               v.cache_read_tokens, v.cache_write_tokens, v.reasoning_tokens, v.cost_nanos, batch_segment
        from unnest(in_runs) as v
        on conflict (tenant_id, run_id, agent_type, tool, model, segment) do update
        set
            calls = t.calls + excluded.calls, input_tokens = t.input_tokens + excluded.input_tokens,
            output_tokens = t.output_tokens + excluded.output_tokens, cache_read_tokens = t.cache_read_tokens
            + excluded.cache_read_tokens, cache_write_tokens = t.cache_write_tokens +
            excluded.cache_write_tokens, reasoning_tokens = t.reasoning_tokens + excluded.reasoning_tokens,
            cost_nanos = t.cost_nanos + excluded.cost_nanos;
    end if;
end $$;

revoke all on function token_ledger_book from public;
grant execute on function token_ledger_book to token_ledger_app;
