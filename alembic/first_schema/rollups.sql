-- Sums of the usage events: roll-ups, updated with every batch, and checkpoints of events that are gone.
--
-- The sums of a key are in one row per segment (a number of batches) and one of segment 0 for all that was folded. A
-- row is updated a few hundred times at most: while a long transaction keeps old row versions alive, finding the newest
-- of many takes ever longer. The low fill factor keeps a row's next versions on its page.

create table hourly_usage (
    tenant_id bigint not null,
    hour timestamptz not null,
    cost_center text not null,
    agent_type text not null,
    model text not null,
    calls bigint not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    cache_read_tokens bigint not null,
    cache_write_tokens bigint not null,
    reasoning_tokens bigint not null,
    cost_nanos bigint not null,
    segment bigint not null default 0,
    primary key (tenant_id, hour, cost_center, agent_type, model, segment)
) with (fillfactor = 10);
create index hourly_usage_unfolded on hourly_usage (tenant_id, segment) where segment > 0;

create table daily_usage (
    tenant_id bigint not null,
    day timestamptz not null,
    user_id text not null,
    agent_type text not null,
    model text not null,
    request_type text not null,
    calls bigint not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    cache_read_tokens bigint not null,
    cache_write_tokens bigint not null,
    reasoning_tokens bigint not null,
    cost_nanos bigint not null,
    segment bigint not null default 0,
    primary key (tenant_id, day, user_id, agent_type, model, request_type, segment)
) with (fillfactor = 10);
create index daily_usage_unfolded on daily_usage (tenant_id, segment) where segment > 0;

create table run_usage (
    tenant_id bigint not null,
    run_id bigint not null,
    agent_type text not null,
    tool text not null,
    model text not null,
    calls bigint not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    cache_read_tokens bigint not null,
    cache_write_tokens bigint not null,
    reasoning_tokens bigint not null,
    cost_nanos bigint not null,
    segment bigint not null default 0,
    primary key (tenant_id, run_id, agent_type, tool, model, segment)
) with (fillfactor = 10);
create index run_usage_unfolded on run_usage (tenant_id, segment) where segment > 0;

create table daily_tag_usage (
    tenant_id bigint not null,
    day timestamptz not null,
    tag text not null,
    value text not null,
    calls bigint not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    cache_read_tokens bigint not null,
    cache_write_tokens bigint not null,
    reasoning_tokens bigint not null,
    cost_nanos bigint not null,
    segment bigint not null default 0,
    primary key (tenant_id, day, tag, value, segment)
) with (fillfactor = 10);
create index daily_tag_usage_unfolded on daily_tag_usage (tenant_id, segment) where segment > 0;

-- Up to which event the tables below have the sums. Only functions of the database write to them.
create table checkpoints (
    tenant_id bigint not null,
    last_id bigint not null,
    booked_at timestamptz not null,
    made_at timestamptz not null,
    primary key (tenant_id)
);

create table account_checkpoints (
    tenant_id bigint not null,
    account_id bigint not null,
    settled_tokens bigint not null,
    settled_nanos bigint not null,
    settled_calls bigint not null,
    primary key (tenant_id, account_id)
);

-- How many steps of a run were deleted.
create table step_checkpoints (
    tenant_id bigint not null,
    run_id bigint not null,
    steps bigint not null,
    primary key (tenant_id, run_id)
);

create table hourly_checkpoints (
    tenant_id bigint not null,
    hour timestamptz not null,
    cost_center text not null,
    agent_type text not null,
    model text not null,
    calls bigint not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    cache_read_tokens bigint not null,
    cache_write_tokens bigint not null,
    reasoning_tokens bigint not null,
    cost_nanos bigint not null,
    primary key (tenant_id, hour, cost_center, agent_type, model)
);

create table daily_checkpoints (
    tenant_id bigint not null,
    day timestamptz not null,
    user_id text not null,
    agent_type text not null,
    model text not null,
    request_type text not null,
    calls bigint not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    cache_read_tokens bigint not null,
    cache_write_tokens bigint not null,
    reasoning_tokens bigint not null,
    cost_nanos bigint not null,
    primary key (tenant_id, day, user_id, agent_type, model, request_type)
);

create table run_checkpoints (
    tenant_id bigint not null,
    run_id bigint not null,
    agent_type text not null,
    tool text not null,
    model text not null,
    calls bigint not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    cache_read_tokens bigint not null,
    cache_write_tokens bigint not null,
    reasoning_tokens bigint not null,
    cost_nanos bigint not null,
    primary key (tenant_id, run_id, agent_type, tool, model)
);

create table daily_tag_checkpoints (
    tenant_id bigint not null,
    day timestamptz not null,
    tag text not null,
    value text not null,
    calls bigint not null,
    input_tokens bigint not null,
    output_tokens bigint not null,
    cache_read_tokens bigint not null,
    cache_write_tokens bigint not null,
    reasoning_tokens bigint not null,
    cost_nanos bigint not null,
    primary key (tenant_id, day, tag, value)
);
