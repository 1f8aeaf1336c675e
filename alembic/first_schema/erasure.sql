-- Erasing a user: a pseudonym takes the place of the name, in every table, without changing anything else.

-- Notes the erasure and renames at once what later batches look up by name: the user's record, budgets, accounts of
-- windows that are open or that something may still roll over from, accounts of open runs, and the sums of the current
-- segment (folding waits until the erasure is done). It does not run as the owner: the batch that calls it has written.
create function token_ledger_begin_erasure(
    tenant bigint, was text, becomes text, upto bigint, segment_now bigint, began timestamptz
) returns void
language plpgsql as $$
declare
    was_part text := '"user":' || to_json(was);
    becomes_part text := '"user":' || to_json(becomes);
    overriding jsonb := jsonb_build_array(jsonb_build_object('subject', jsonb_build_object('user', was)));
begin
    if tenant <> all (current_setting('app.tenants')::bigint[]) then
        raise exception 'tenant % is not one of this transaction', tenant;
    end if;
    insert into erasures (tenant_id, user_id, pseudonym, last_id, segment, began_at, journal, reached)
    values (tenant, was, becomes, upto, segment_now, began, 'accounts', 0);
    update users set erased = true where tenant_id = tenant and user_id = was;
    update budgets
    set selector = token_ledger_renamed(selector, was, becomes),
        overrides = token_ledger_renamed(overrides, was, becomes)
    where tenant_id = tenant and (jsonb_exists(selector -> 'user', was) or overrides @> overriding);
    perform token_ledger_rename_terms(tenant, was, becomes);
    update accounts set subject = replace(subject, was_part, becomes_part), subject_user = becomes
    where tenant_id = tenant and subject_user = was and subject_run is null
      and (window_end is null or window_end + 2 * (window_end - window_start) > began);
    if exists (
        select from budgets where tenant_id = tenant and "window" = 'run'
        and (selector ->> 'user' = '*' or unassigned = 'per_user')
    ) then
        update accounts as a set subject = replace(a.subject, was_part, becomes_part), subject_user = becomes
        from runs as r
        where r.tenant_id = tenant and r.user_id = was and r.state = 'open'
          and a.tenant_id = tenant and a.subject_user = was and a.subject_run = r.run_id::text;
    end if;
    update daily_usage set user_id = becomes
    where tenant_id = tenant and segment > 0 and segment = segment_now and user_id = was;
end $$;

-- Terms of budgets are a journal that the service may not change. Their overrides are read again for every rollover.
create function token_ledger_rename_terms(tenant bigint, was text, becomes text) returns void
language plpgsql security definer set search_path from current as $$
begin
    if tenant <> all (current_setting('app.tenants')::bigint[]) then
        raise exception 'tenant % is not one of this transaction', tenant;
    end if;
    update budget_terms set overrides = token_ledger_renamed(overrides, was, becomes)
    where tenant_id = tenant and overrides @> jsonb_build_array(
        jsonb_build_object('subject', jsonb_build_object('user', was))
    );
end $$;

-- One pattern per character of a name, for every way to spell it in text that holds JSON, or JSON within JSON.
create function token_ledger_spelled(name text) returns text[]
language plpgsql immutable as $$
declare
    patterns text[] := '{}';
    letter text;
    code integer;
    half integer;
    escaped text;
begin
    foreach letter in array string_to_array(name, null) loop
        code := ascii(letter);
        escaped := '';
        foreach half in array case when code < 65536 then array[code]
            else array[55296 + ((code - 65536) >> 10), 56320 + ((code - 65536) & 1023)] end
        loop
            escaped := escaped || '\\+u' || (
                select string_agg(case when digit ~ '[a-f]' then '[' || digit || upper(digit) || ']' else digit end, '')
                from unnest(string_to_array(lpad(to_hex(half), 4, '0'), null)) as digits (digit)
            );
        end loop;
        patterns := patterns || ('(?:' || case
            when code > 127 or letter ~ '[[:alnum:]]' then letter
            when letter = '\' then '\\+'
            else '\\*\' || letter end || '|' || escaped || ')');
    end loop;
    return patterns;
end $$;

-- A body in quarantine without the name. An event that could not be read is kept as the text that was sent, cut off
-- where it is too long, perhaps within the name.
create function token_ledger_cleaned(body jsonb, erased text, pseudonym text) returns jsonb
language plpgsql immutable as $$
declare
    patterns text[] := token_ledger_spelled(erased);
    beginning text := '';
    sent text;
    field text;
begin
    for place in reverse array_length(patterns, 1)..2 loop
        beginning := '(?:' || patterns[place] || beginning || ')?';
    end loop;
    beginning := patterns[1] || beginning || '(?:\\+(?:u[0-9a-fA-F]{0,3})?)?$';
    foreach field in array array['as_sent', 'cut'] loop
        if jsonb_typeof(body -> field) = 'string' then
            sent := regexp_replace(
                body ->> field,
                '(?<![[:alnum:]])' || array_to_string(patterns, '') || '(?![[:alnum:]]|\\+u[0-9a-fA-F]{4})',
                pseudonym, 'g');
            if field = 'cut' then
                sent := regexp_replace(sent, '("user\\*"\s*:\s*\\*")' || beginning, '\1' || pseudonym);
            end if;
            body := jsonb_set(body, array[field], to_jsonb(sent));
        end if;
    end loop;
    return replace(body::text, '"user": ' || to_json(erased), '"user": ' || to_json(pseudonym))::jsonb;
end $$;

-- An audit entry, a selector or overrides without the name: it is the value of "user" or "asked_by", one of a list of
-- users, the key of a list of cost centers, or a person who acted.
create function token_ledger_renamed(entry jsonb, erased text, pseudonym text) returns jsonb
language sql immutable as $$
    select regexp_replace(replace(replace(replace(replace(entry::text,
        '"user": ' || to_json(erased), '"user": ' || to_json(pseudonym)),
        '"asked_by": ' || to_json(erased), '"asked_by": ' || to_json(pseudonym)),
        to_json(erased) || ': [', to_json(pseudonym) || ': ['),
        to_json('person:' || erased)::text, to_json('person:' || pseudonym)::text),
        '("user": \[(?:"(?:[^"\\]|\\.)*", )*)'
            || regexp_replace(to_json(erased)::text, '([][(){}.*+?^$|\\])', '\\\1', 'g') || '(?=[],])',
        '\1' || replace(to_json(pseudonym)::text, '\', '\\'), 'g')::jsonb
$$;

-- Does one slice of the tenant's oldest unfinished erasure: about `most` rows of one journal in the order of ids, then
-- the next journal. Progress is stored in the same transaction.
--
-- Rows that batches change are skipped while a batch has them locked, and left for a later slice, so neither waits for
-- the other. Accounts are renamed under the tenant's lock and with a sequence number, because batches look accounts up
-- by subject and one that was decided ahead has to notice. If a closed run was given an account under the pseudonym
-- meanwhile, the old account gets the pseudonym with its id. Events come before their checkpoints: what is added to
-- checkpoints later has the pseudonym already.
create function token_ledger_erase(tenant bigint, most integer, heard_seconds double precision) returns boolean
language plpgsql security definer set search_path from current set timezone = 'UTC'
set enable_seqscan = off set plan_cache_mode = force_custom_plan as $$
declare
    journals constant text[] := array[
        'accounts', 'daily_usage', 'usage_events', 'daily_checkpoints', 'reservations', 'denials', 'trigger_firings',
        'runs', 'quarantine', 'increases', 'grants', 'limit_entries', 'audit_log', 'done'];
    ids constant text[] := array[
        null, null, 'event_id', null, 'reservation_id', 'denial_id', 'reservation_id',
        'run_id', 'quarantine_id', 'increase_id', 'grant_id', 'account_id', 'audit_id', null];
    heard_by_all constant timestamptz := clock_timestamp() - make_interval(secs => heard_seconds);
    e erasures;
    place integer;
    upto bigint;
    was text;
    becomes text;
    was_spaced text;
    becomes_spaced text;
    quoted text;
    left_over boolean := false;
begin
    if tenant <> all (current_setting('app.tenants')::bigint[]) then
        raise exception 'tenant % is not one of this transaction', tenant;
    end if;
    select * into e from erasures where tenant_id = tenant and journal <> 'done' order by last_id limit 1 for update;
    if not found then
        perform from erasures where tenant_id = tenant and began_at <= heard_by_all;
        if found then
            update tenant_ledgers set config_version = config_version + 1 where tenant_id = tenant;
            delete from erasures where tenant_id = tenant and journal = 'done' and began_at <= heard_by_all;
        end if;
        return false;
    end if;
    was := '"user":' || to_json(e.user_id);
    becomes := '"user":' || to_json(e.pseudonym);
    was_spaced := '"user": ' || to_json(e.user_id);
    becomes_spaced := '"user": ' || to_json(e.pseudonym);
    quoted := to_json(e.user_id)::text;
    quoted := substring(quoted from 2 for length(quoted) - 2);

    place := array_position(journals, e.journal);
    if ids[place] is not null then
        execute format(
            'select max(id) from (select %1$I as id from %2$I where tenant_id = $1 and %1$I > $2 and %1$I <= $3'
            ' order by %1$I limit $4) as page', ids[place], e.journal
        ) into upto using tenant, e.reached, e.last_id, most;
    end if;

    if e.journal = 'accounts' then
        delete from users where tenant_id = tenant and user_id = e.user_id and erased;
        perform from accounts where tenant_id = tenant and subject_user = e.user_id and account_id <= e.last_id limit 1;
        if found then
            update tenant_ledgers set sequence = sequence + 1 where tenant_id = tenant;
            with next_ones as (
                select a.account_id, case when exists (
                    select from accounts as other where other.tenant_id = tenant and other.budget_id = a.budget_id
                    and other.subject = replace(a.subject, was, becomes) and other.window_start = a.window_start
                ) then e.pseudonym || '-' || a.account_id else e.pseudonym end as pseudonym
                from accounts as a
                where a.tenant_id = tenant and a.subject_user = e.user_id and a.account_id <= e.last_id
                limit least(most, 500)
            )
            update accounts as a
            set subject = replace(a.subject, was, '"user":' || to_json(n.pseudonym)), subject_user = n.pseudonym
            from next_ones as n where a.tenant_id = tenant and a.account_id = n.account_id;
            upto := 0;
        end if;
    elsif e.journal in ('daily_usage', 'daily_checkpoints') then
        -- Days are found one by one, each by one probe: no index leads from a user to its rows.
        for turn in 1..greatest(most / 16, 1) loop
            execute format(
                'select extract(epoch from day)::bigint from %I where tenant_id = $1 and day > to_timestamp($2)'
                ' order by day limit 1', e.journal
            ) into upto using tenant, e.reached;
            exit when upto is null;
            e.reached := upto;
            if e.journal = 'daily_usage' then
                update daily_usage set user_id = e.pseudonym
                where tenant_id = tenant and day = to_timestamp(upto) and user_id = e.user_id and segment < e.segment;
            else
                perform from checkpoints where tenant_id = tenant for update;
                execute format(
                    'with gone as ('
                    ' delete from daily_checkpoints where tenant_id = $1 and day = to_timestamp($2) and user_id = $3'
                    ' returning *'
                    ') %s', token_ledger_adding('daily_checkpoints', 'gone', '{"user_id": "$4"}')
                ) using tenant, upto, e.user_id, e.pseudonym;
            end if;
        end loop;
    elsif e.journal = 'usage_events' then
        update usage_events set user_id = e.pseudonym
        where tenant_id = tenant and event_id > e.reached and event_id <= upto and user_id = e.user_id;
    elsif e.journal = 'reservations' then
        with mine as materialized (
            select reservation_id from reservations
            where tenant_id = tenant and reservation_id > e.reached and reservation_id <= upto and user_id = e.user_id
            for update skip locked
        )
        update reservations as r
        set user_id = e.pseudonym,
            advice = replace(r.advice::text, was_spaced, becomes_spaced)::jsonb,
            warnings = replace(r.warnings::text, was_spaced, becomes_spaced)::jsonb
        from mine
        where r.tenant_id = tenant and r.reservation_id > e.reached and r.reservation_id <= upto
          and r.reservation_id = mine.reservation_id;
        left_over := exists (
            select from reservations
            where tenant_id = tenant and reservation_id > e.reached and reservation_id <= upto and user_id = e.user_id
        );
    elsif e.journal = 'denials' then
        update denials
        set user_id = e.pseudonym, refusals = replace(refusals::text, was_spaced, becomes_spaced)::jsonb
        where tenant_id = tenant and denial_id > e.reached and denial_id <= upto and user_id = e.user_id;
    elsif e.journal = 'trigger_firings' then
        update trigger_firings set evidence = replace(evidence::text, was_spaced, becomes_spaced)::jsonb
        where tenant_id = tenant and reservation_id > e.reached and reservation_id <= upto
          and position(was_spaced in evidence::text) > 0;
    elsif e.journal = 'runs' then
        with mine as materialized (
            select run_id from runs
            where tenant_id = tenant and run_id > e.reached and run_id <= upto and user_id = e.user_id
            for update skip locked
        )
        update runs as r set user_id = e.pseudonym
        from mine
        where r.tenant_id = tenant and r.run_id > e.reached and r.run_id <= upto and r.run_id = mine.run_id;
        left_over := exists (
            select from runs where tenant_id = tenant and run_id > e.reached and run_id <= upto and user_id = e.user_id
        );
    elsif e.journal = 'quarantine' then
        update quarantine as q set body = token_ledger_cleaned(q.body, e.user_id, e.pseudonym)
        where q.tenant_id = tenant and q.quarantine_id > e.reached and q.quarantine_id <= upto
          and (q.body::text ~ array_to_string(token_ledger_spelled(e.user_id), '') or q.body -> 'cut' is not null)
          and q.body is distinct from token_ledger_cleaned(q.body, e.user_id, e.pseudonym);
    elsif e.journal = 'increases' then
        -- What was asked for before may have been decided since, by someone new of the same name.
        update increases
        set asked_by = case asked_by when e.user_id then e.pseudonym
                when 'person:' || e.user_id then 'person:' || e.pseudonym else asked_by end,
            decided_by = case when decided_by = 'person:' || e.user_id and decided_at <= e.began_at
                then 'person:' || e.pseudonym else decided_by end
        where tenant_id = tenant and increase_id > e.reached and increase_id <= upto
          and (asked_by in (e.user_id, 'person:' || e.user_id) or decided_by = 'person:' || e.user_id);
    elsif e.journal = 'grants' then
        update grants set actor = 'person:' || e.pseudonym
        where tenant_id = tenant and grant_id > e.reached and grant_id <= upto and actor = 'person:' || e.user_id;
    elsif e.journal = 'limit_entries' then
        update limit_entries set actor = 'person:' || e.pseudonym
        where tenant_id = tenant and account_id > e.reached and account_id <= upto and entry_id <= e.last_id
          and actor = 'person:' || e.user_id;
    elsif e.journal = 'audit_log' then
        update audit_log
        set actor = case actor when 'person:' || e.user_id then 'person:' || e.pseudonym else actor end,
            before = token_ledger_renamed(before, e.user_id, e.pseudonym),
            after = token_ledger_renamed(after, e.user_id, e.pseudonym)
        where tenant_id = tenant and audit_id > e.reached and audit_id <= upto
          and (actor = 'person:' || e.user_id or position(quoted in before::text) > 0
               or position(quoted in after::text) > 0);
    end if;

    if upto is null then
        e.journal := journals[place + 1];
        e.reached := 0;
    elsif not left_over then
        e.reached := upto;
    end if;
    update erasures set journal = e.journal, reached = e.reached where tenant_id = tenant and user_id = e.user_id;
    return true;
end $$;
