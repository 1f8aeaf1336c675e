-- What tenants set up: calendars, keys, budgets, triggers, users, and the log of every change.

-- With the calendar that a tenant began with; calendar_changes has what came later.
create table tenants (
    tenant_id bigint not null generated always as identity,
    name text not null,
    time_zone text not null default 'UTC',
    created_at timestamptz not null default now(),
    week_start smallint not null default 0,
    fiscal_month smallint not null default 1,
    primary key (tenant_id),
    unique (name)
);

-- The row that every batch locks: one per tenant, updated all the time, hence the room beside it.
create table tenant_ledgers (
    tenant_id bigint not null,
    sequence bigint not null default 0,
    config_version bigint not null default 1,
    booked_at timestamptz not null default 'epoch',
    stopped_reason text,
    booked_tokens bigint not null default 0,
    booked_nanos bigint not null default 0,
    finds_duplicates boolean not null default true,
    primary key (tenant_id),
    foreign key (tenant_id) references tenants (tenant_id)
) with (fillfactor = 10);

-- Every change that was decided, by the id of its audit entry. Which of them stand follows from the ids.
create table calendar_changes (
    tenant_id bigint not null,
    effective_from timestamptz not null,
    time_zone text not null,
    week_start smallint not null,
    fiscal_month smallint not null,
    change_id bigint not null default 0,
    primary key (tenant_id, effective_from, change_id)
);

-- The hash of a key, never the key.
create table api_keys (
    tenant_id bigint not null,
    key_id text not null,
    name text not null,
    role text not null,
    secret_hash bytea not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    revoked_at timestamptz,
    primary key (tenant_id, key_id),
    constraint api_keys_role_check check (role in ('agent', 'finance', 'admin', 'operator'))
);

-- Global: a person's token names an issuer and an audience, which lead to the tenant.
create table identity_providers (
    provider_id bigint not null generated always as identity,
    tenant_id bigint not null,
    issuer text not null,
    audience text not null,
    jwks_url text,
    user_claim text not null,
    role_claim text,
    roles jsonb not null,
    default_role text,
    added_at timestamptz not null default now(),
    removed_at timestamptz,
    primary key (provider_id)
);
create unique index identity_providers_in_force on identity_providers (issuer, audience) where removed_at is null;
create index identity_providers_of_tenant on identity_providers (tenant_id);

-- What selects calls and limits them.
create table budgets (
    tenant_id bigint not null,
    budget_id bigint not null,
    name text not null,
    selector jsonb not null,
    "window" text not null,
    enforcement text not null,
    counts text not null,
    limit_tokens bigint,
    limit_nanos bigint,
    limit_calls bigint,
    created_at timestamptz not null,
    archived_at timestamptz,
    thresholds smallint[] not null default '{50,75,90,100}',
    rollover_tokens bigint,
    rollover_nanos bigint,
    rollover_calls bigint,
    overrides jsonb not null default '[]',
    unassigned text not null default 'shared',
    named jsonb not null default '{}',
    primary key (tenant_id, budget_id),
    constraint budgets_unassigned_check check (unassigned in ('shared', 'per_user')),
    constraint budgets_limits_check check (limit_tokens >= 0 and limit_nanos >= 0 and limit_calls >= 0)
);
create unique index budgets_name_in_use on budgets (tenant_id, name) where archived_at is null;

-- Limits, overrides and rollover of a budget, each with the batch from which they are in force.
create table budget_terms (
    tenant_id bigint not null,
    budget_id bigint not null,
    terms_id bigint not null,
    since timestamptz not null,
    limit_tokens bigint,
    limit_nanos bigint,
    limit_calls bigint,
    rollover_tokens bigint,
    rollover_nanos bigint,
    rollover_calls bigint,
    overrides jsonb not null default '[]',
    primary key (tenant_id, budget_id, terms_id)
);

-- What advises on a call, one per kind.
create table triggers (
    tenant_id bigint not null,
    trigger_id bigint not null,
    kind text not null,
    at_percent smallint not null,
    mode text not null,
    per_call_tokens bigint,
    per_call_nanos bigint,
    downgrades jsonb not null default '[]',
    set_at timestamptz not null,
    primary key (tenant_id, kind)
);

-- Users with the cost centers that their calls fall on, by date. An erased one is no more, and is deleted soon.
create table users (
    tenant_id bigint not null,
    user_id text not null,
    cost_centers jsonb not null default '[]',
    set_at timestamptz not null,
    erased boolean not null default false,
    primary key (tenant_id, user_id)
);

-- Users being erased: rows up to last_id get the pseudonym, journal by journal, and this is how far it came.
create table erasures (
    tenant_id bigint not null,
    user_id text not null,
    pseudonym text not null,
    last_id bigint not null,
    segment bigint not null,
    began_at timestamptz not null,
    journal text not null,
    reached bigint not null,
    primary key (tenant_id, user_id)
);

-- What administrators changed: who, when, before and after.
create table audit_log (
    tenant_id bigint not null,
    audit_id bigint not null,
    actor text not null,
    action text not null,
    target text not null,
    before jsonb,
    after jsonb,
    booked_at timestamptz not null,
    primary key (tenant_id, audit_id)
);

-- What (provider, name) a caller used is in the books: once decided it stays, until an administrator changes it.
create table model_names (
    tenant_id bigint not null,
    asked_provider text not null,
    asked_model text not null,
    decided_id bigint not null,
    provider text not null,
    model text not null,
    since timestamptz not null,
    change_id bigint,
    primary key (tenant_id, asked_provider, asked_model, decided_id)
);
create index model_names_changed on model_names (tenant_id) where change_id is not null;

-- The global price book. Entries are added and never changed, so that the past keeps its price.
create table prices (
    price_id bigint not null generated always as identity,
    provider text not null,
    model text not null,
    ordinal smallint not null,
    rates jsonb not null,
    valid_from timestamptz,
    daily_from time,
    daily_until time,
    context_tokens bigint,
    source text not null,
    added_at timestamptz not null default now(),
    primary key (price_id),
    unique (provider, model, ordinal, source)
);

-- What names of models stand for, for all tenants.
create table price_aliases (
    alias_id bigint generated always as identity primary key,
    provider text not null,
    model text not null,
    to_provider text,
    to_model text,
    added_at timestamptz not null default now()
);

-- What a tenant adds to the price book. Of one model the newest entry counts; one without rates ends those before it.
create table tenant_prices (
    tenant_id bigint not null,
    price_id bigint not null,
    provider text not null,
    model text not null,
    rates jsonb,
    valid_from timestamptz not null,
    set_at timestamptz not null,
    primary key (tenant_id, price_id)
);

-- What names of models stand for, for a tenant. Of one name the newest counts; without a model it stands for nothing.
create table tenant_aliases (
    tenant_id bigint not null,
    alias_id bigint not null,
    provider text not null,
    model text not null,
    to_provider text,
    to_model text,
    set_at timestamptz not null,
    primary key (tenant_id, alias_id)
);

-- What a tenant pays of published prices, as a factor. Without one the discount of that name has ended.
create table tenant_discounts (
    tenant_id bigint not null,
    discount_id bigint not null,
    provider text not null,
    model text not null,
    factor bigint,
    valid_from timestamptz not null,
    valid_until timestamptz,
    set_at timestamptz not null,
    primary key (tenant_id, discount_id)
);

-- What a tenant says of models beside their prices. Of one model the newest counts; without facts it says nothing.
create table tenant_models (
    tenant_id bigint not null,
    facts_id bigint not null,
    provider text not null,
    model text not null,
    facts jsonb,
    set_at timestamptz not null,
    primary key (tenant_id, facts_id)
);

-- Where a process writes when it is asked whether it is ready. No row is ever committed.
create table write_probes (probed_at timestamptz not null);
