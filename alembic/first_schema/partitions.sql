-- Partitions of the usage events, one a month (UTC), made ahead.

-- A partition is made beside its parent and then attached, which takes a weaker lock than making it inside. Runs as
-- the owner, so that the worker can look ahead without owning anything.
create function token_ledger_add_partitions(months_ahead integer) returns integer
language plpgsql security definer set search_path from current set timezone = 'UTC' as $$
declare
    first_day timestamptz;
    partition text;
    made integer := 0;
begin
    perform pg_advisory_xact_lock(7022027);
    for month in 0..months_ahead loop
        first_day := date_trunc('month', now()) + make_interval(months => month);
        partition := 'usage_events_' || to_char(first_day, 'YYYY_MM');
        continue when to_regclass(partition) is not null;
        execute format('create table %I (like usage_events including all)', partition);
        execute format('alter table usage_events attach partition %I for values from (%L) to (%L)',
                       partition, first_day, first_day + interval '1 month');
        made := made + 1;
    end loop;
    return made;
end $$;
