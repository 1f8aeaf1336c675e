-- Runs and their steps.

create table runs (
    tenant_id bigint not null,
    run_id bigint not null,
    external_id text,
    user_id text not null,
    cost_center text not null,
    state text not null,
    strict boolean not null default false,
    limit_tokens bigint,
    limit_nanos bigint,
    limit_calls bigint,
    allocated jsonb not null default '{}',
    created_at timestamptz not null,
    ended_at timestamptz,
    ancestors bigint[] not null default '{}',
    limit_iterations bigint,
    iterations bigint not null default 0,
    primary key (tenant_id, run_id)
);
create index runs_tenant_id_external_id_idx on runs (tenant_id, external_id) where external_id is not null;
create index runs_tenant_id_user_id_run_id_idx on runs (tenant_id, user_id, run_id);
create index runs_with_ancestors on runs using gin (ancestors) where ancestors <> '{}';

create table run_steps (
    tenant_id bigint not null,
    step_id bigint not null,
    run_id bigint not null,
    iteration bigint not null,
    label text,
    booked_at timestamptz not null,
    primary key (tenant_id, step_id)
);
