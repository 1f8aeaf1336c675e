-- Accounts and what moves their limits.

-- Balances, one row per (budget, subject, window). Updated by every batch. The user and the run of the subject are columns
-- because row-level security keeps the service from an index on what a function makes of the subject. They are not
-- generated, because PostgreSQL would read their definitions again for every account that a batch updates.
create table accounts (
    tenant_id bigint not null,
    account_id bigint not null,
    budget_id bigint not null,
    budget text not null,
    subject text not null,
    window_start timestamptz not null,
    window_end timestamptz,
    enforcement text not null,
    counts text not null,
    limit_tokens bigint,
    limit_nanos bigint,
    limit_calls bigint,
    settled_tokens bigint not null default 0,
    settled_nanos bigint not null default 0,
    settled_calls bigint not null default 0,
    held_tokens bigint not null default 0,
    held_nanos bigint not null default 0,
    held_calls bigint not null default 0,
    base_tokens bigint,
    base_nanos bigint,
    base_calls bigint,
    thresholds smallint[] not null default '{}',
    fired_tokens smallint not null default 0,
    fired_nanos smallint not null default 0,
    fired_calls smallint not null default 0,
    leases integer not null default 0,
    grants_until timestamptz,
    closed_at timestamptz,
    subject_user text,
    subject_run text,
    earns boolean not null default true,
    moved_to bigint,
    primary key (tenant_id, account_id),
    unique (tenant_id, budget_id, subject, window_start),
    constraint accounts_held_check check (held_tokens >= 0 and held_nanos >= 0 and held_calls >= 0),
    constraint accounts_leases_check check (leases >= 0)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05);
create index accounts_of_user on accounts (tenant_id, subject_user, subject_run) where subject_user is not null;
create index accounts_open on accounts (tenant_id, budget_id) where closed_at is null;
create index accounts_to_close on accounts (tenant_id, window_end) where closed_at is null and window_end is not null;
create index accounts_with_grants on accounts (tenant_id, grants_until) where grants_until is not null;

-- The journal of limits. `hard` is 1 where the entry made the account deny and -1 where it ended that; `bound_tokens`,
-- `bound_nanos` and `bound_calls` are 1 where it gave the account a limit in that unit and -1 where it took it away.
create table limit_entries (
    tenant_id bigint not null,
    account_id bigint not null,
    entry_id bigint not null,
    kind text not null,
    tokens bigint,
    nanos bigint,
    calls bigint,
    booked_at timestamptz not null,
    hard smallint not null default 0,
    bound_tokens smallint not null default 0,
    bound_nanos smallint not null default 0,
    bound_calls smallint not null default 0,
    reason text,
    actor text,
    primary key (tenant_id, account_id, entry_id),
    constraint limit_entries_kind_check check (
        kind in ('opening', 'rollover', 'grant', 'lapse', 'increase', 'change', 'rebalance', 'cut')
    )
);

create table grants (
    tenant_id bigint not null,
    grant_id bigint not null,
    account_id bigint not null,
    tokens bigint,
    nanos bigint,
    calls bigint,
    left_tokens bigint,
    left_nanos bigint,
    left_calls bigint,
    mark bigint[] not null,
    expires_at timestamptz,
    reason text not null,
    actor text not null,
    given_at timestamptz not null,
    lapsed_at timestamptz,
    primary key (tenant_id, grant_id)
);
create index grants_of_account on grants (tenant_id, account_id) where lapsed_at is null;

create table increases (
    tenant_id bigint not null,
    increase_id bigint not null,
    account_id bigint not null,
    tokens bigint,
    nanos bigint,
    calls bigint,
    reason text not null,
    asked_by text not null,
    asked_at timestamptz not null,
    state text not null,
    decided_by text,
    decided_at timestamptz,
    note text,
    grant_id bigint,
    primary key (tenant_id, increase_id),
    constraint increases_state_check check (state in ('asked', 'approved', 'refused'))
);

-- Thresholds that an account reached (`fired`), lies below again, or no longer has (`withdrawn`).
create table threshold_events (
    tenant_id bigint not null,
    threshold_id bigint not null,
    account_id bigint not null,
    unit text not null,
    percent smallint not null,
    fired boolean not null default false,
    withdrawn boolean not null default false,
    settled bigint not null,
    limit_amount bigint not null,
    booked_at timestamptz not null,
    primary key (tenant_id, threshold_id)
);

-- What goes from one account to another when a model is renamed.
create table transfers (
    tenant_id bigint not null,
    transfer_id bigint not null,
    from_account bigint not null,
    to_account bigint not null,
    settled_tokens bigint not null,
    settled_nanos bigint not null,
    settled_calls bigint not null,
    held_tokens bigint not null,
    held_nanos bigint not null,
    held_calls bigint not null,
    booked_at timestamptz not null,
    primary key (tenant_id, transfer_id)
);
create index transfers_tenant_id_from_account_idx on transfers (tenant_id, from_account);
