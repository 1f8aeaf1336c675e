-- Holds, the journal of spend, and what could not be booked.

-- Holds and leases. `announced` is what a call said that it will use beside tokens; `drawn_use` is what the parts of a
-- call have used, by model, so that they can be priced together.
create table reservations (
    tenant_id bigint not null,
    reservation_id bigint not null,
    state text not null,
    user_id text not null,
    cost_center text not null,
    agent_type text not null,
    request_type text not null,
    provider text not null,
    model text not null,
    run_id bigint,
    tool text,
    tags jsonb,
    requested_provider text,
    requested_model text not null,
    input_tokens bigint not null,
    cached_input_tokens bigint not null,
    max_output_tokens bigint not null,
    held_tokens bigint not null,
    held_uncached_tokens bigint not null,
    held_nanos bigint not null,
    price_id bigint not null,
    discount_id bigint,
    path bigint[] not null,
    created_at timestamptz not null,
    expires_at timestamptz not null,
    ttl_seconds integer not null,
    ended_at timestamptz,
    ended_id bigint,
    event_id bigint,
    advice jsonb,
    warnings jsonb,
    lease boolean not null default false,
    held_calls bigint not null default 1,
    drawn_tokens bigint not null default 0,
    drawn_uncached_tokens bigint not null default 0,
    drawn_nanos bigint not null default 0,
    drawn_calls bigint not null default 0,
    changes integer not null default 0,
    announced jsonb,
    drawn_use jsonb,
    end_reason text,
    primary key (tenant_id, reservation_id),
    constraint reservations_amounts_check check (held_tokens >= 0 and held_uncached_tokens >= 0 and held_nanos >= 0),
    constraint reservations_ended_check check ((state = 'held') = (ended_id is null)),
    constraint reservations_settled_check check ((state = 'settled') = (event_id is not null)),
    constraint reservations_state_check check (state in ('held', 'settled', 'released', 'expired'))
) with (fillfactor = 85);
create index reservations_due on reservations (tenant_id, expires_at) where state = 'held';

-- Idempotency keys with the row that each led to.
create table operation_keys (
    tenant_id bigint not null,
    source text not null,
    key text not null,
    fingerprint bytea not null,
    answer text not null,
    target_id bigint not null,
    booked_at timestamptz not null,
    primary key (tenant_id, source, key)
);

-- The journal of spend, partitioned by month of booking. `path` has the accounts that the event is on, `held_path` those
-- that its hold was on, if these are others. An imported event counts on its accounts since `counts_since`.
create table usage_events (
    tenant_id bigint not null,
    event_id bigint not null,
    booked_at timestamptz not null,
    occurred_at timestamptz not null,
    posted_at timestamptz not null,
    reservation_id bigint,
    user_id text not null,
    cost_center text not null,
    agent_type text not null,
    request_type text not null,
    provider text not null,
    model text not null,
    requested_provider text,
    requested_model text,
    served_provider text,
    served_model text,
    run_id bigint,
    tool text,
    tags jsonb,
    input_tokens bigint not null,
    output_tokens bigint not null,
    cache_read_tokens bigint not null,
    cache_write_5m_tokens bigint not null,
    cache_write_1h_tokens bigint not null,
    reasoning_tokens bigint not null,
    original_input_tokens bigint,
    others jsonb,
    service_tier text,
    cost_nanos bigint not null,
    price_id bigint not null,
    discount_id bigint,
    list_price_id bigint,
    list_cost_nanos bigint,
    path bigint[] not null,
    held_path bigint[],
    held_at timestamptz,
    overrun boolean not null default false,
    late boolean not null default false,
    estimated boolean not null default false,
    unpriced boolean not null default false,
    clamped boolean not null default false,
    failed boolean not null default false,
    response_id text,
    calls smallint not null default 1,
    part boolean not null default false,
    corrects bigint,
    recosts bigint,
    repetition text,
    earlier_event_id bigint,
    kind text,
    details jsonb,
    counts_since timestamptz,
    primary key (tenant_id, event_id, booked_at),
    constraint usage_events_parts_check check (
        corrects is not null or (cache_read_tokens + cache_write_1h_tokens + cache_write_5m_tokens <= input_tokens
        and reasoning_tokens <= output_tokens)
    )
) partition by range (booked_at);
create index usage_events_posted on usage_events (tenant_id, posted_at);
create index usage_events_long_held on usage_events (tenant_id, posted_at)
where posted_at - held_at > interval '01:00:00';
create index usage_events_others on usage_events (tenant_id, posted_at) where others is not null;
create index usage_events_imported on usage_events (tenant_id, posted_at) where counts_since is not null;
create index usage_events_marked on usage_events (tenant_id, posted_at)
where unpriced or estimated or late or failed or corrects is not null or recosts is not null;
create index usage_events_kinds on usage_events (tenant_id, posted_at) where kind is not null;
create index usage_events_corrections on usage_events (tenant_id, corrects) where corrects is not null;
create index usage_events_recostings on usage_events (tenant_id, recosts) where recosts is not null;
create index usage_events_unpriced on usage_events (tenant_id, model, event_id)
where unpriced and corrects is null and recosts is null;
create index usage_events_responses on usage_events (tenant_id, response_id)
where repetition in ('first', 'replaces', 'other_usage');

create table denials (
    tenant_id bigint not null,
    denial_id bigint not null,
    user_id text not null,
    cost_center text not null,
    agent_type text not null,
    request_type text not null,
    provider text not null,
    model text not null,
    run_id bigint,
    tool text,
    tags jsonb,
    code text not null,
    enforced boolean not null default false,
    refusals jsonb not null,
    input_tokens bigint not null,
    max_output_tokens bigint not null,
    fits_output_tokens bigint,
    calls bigint not null default 1,
    created_at timestamptz not null,
    primary key (tenant_id, denial_id)
);

create table trigger_firings (
    tenant_id bigint not null,
    reservation_id bigint not null,
    trigger text not null,
    technique text not null,
    applied boolean not null default false,
    evidence jsonb not null,
    fired_at timestamptz not null,
    primary key (tenant_id, reservation_id, trigger)
);

-- What could not be booked, as it was sent.
create table quarantine (
    tenant_id bigint not null,
    quarantine_id bigint not null,
    source text not null,
    key text not null,
    code text not null,
    detail text not null,
    body jsonb not null,
    kept_at timestamptz not null,
    primary key (tenant_id, quarantine_id)
);

-- What became of it. Without a row here an item is open.
create table quarantine_decisions (
    tenant_id bigint not null,
    quarantine_id bigint not null,
    state text not null,
    audit_id bigint not null,
    primary key (tenant_id, quarantine_id),
    constraint quarantine_decisions_state_check check (state in ('resolved', 'dismissed'))
);
