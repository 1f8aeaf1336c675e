-- What the service's role may do. It deletes nothing and changes no journal, and of the tables of tenants it sees only
-- the rows of the tenants that its transaction names in `app.tenants`. The policy compares an expression
-- (`tenant_id + 0`), so that the planner looks rows up by the query's own key and never by the policy.

do $$
declare
    journals constant text[] := array[
        'audit_log', 'budget_terms', 'calendar_changes', 'denials', 'erasures', 'limit_entries', 'model_names',
        'operation_keys', 'quarantine', 'quarantine_decisions', 'run_steps', 'tenant_aliases', 'tenant_discounts',
        'tenant_models', 'tenant_prices', 'threshold_events', 'transfers', 'trigger_firings', 'usage_events'
    ];
    states constant text[] := array[
        'accounts', 'api_keys', 'budgets', 'daily_tag_usage', 'daily_usage', 'grants', 'hourly_usage', 'increases',
        'reservations', 'run_usage', 'runs', 'tenant_ledgers', 'triggers', 'users'
    ];
    written_by_functions constant text[] := array[
        'account_checkpoints', 'checkpoints', 'daily_checkpoints', 'daily_tag_checkpoints', 'hourly_checkpoints',
        'run_checkpoints', 'step_checkpoints'
    ];
    name text;
begin
    foreach name in array journals || states || written_by_functions loop
        execute format('alter table %I enable row level security', name);
        execute format(
            'create policy tenant_rows on %I to token_ledger_app'
            ' using (tenant_id + 0 = any ((select current_setting(''app.tenants'')::bigint[])::bigint[]))'
            ' with check (tenant_id + 0 = any ((select current_setting(''app.tenants'')::bigint[])::bigint[]))', name
        );
        execute format('grant select on %I to token_ledger_app', name);
    end loop;
    foreach name in array journals loop
        execute format('grant insert on %I to token_ledger_app', name);
    end loop;
    foreach name in array states loop
        execute format('grant insert, update on %I to token_ledger_app', name);
    end loop;
    execute format('grant usage on schema %I to token_ledger_app', current_schema());
end $$;

-- Tables of no tenant.
grant select, insert on write_probes to token_ledger_app;
grant select, insert on tenants to token_ledger_app;
grant select, insert, update (removed_at) on identity_providers to token_ledger_app;
grant select on prices, price_aliases, alembic_version to token_ledger_app;

do $$
declare
    ours text;
begin
    for ours in
        select oid::regprocedure::text from pg_proc
        where pronamespace = current_schema()::regnamespace and proname like 'token\_ledger\_%'
    loop
        execute format('revoke all on function %s from public', ours);
        execute format('grant execute on function %s to token_ledger_app', ours);
    end loop;
end $$;
