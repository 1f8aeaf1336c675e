"""erasure

Erasures in slices: the batch that decides one notes which name becomes which pseudonym, and does at once only what the
next batch has to find changed. The leader renames the journals afterwards, a few hundred rows at a time.

The functions that erased all at once stay for processes of the version before; a later migration may drop them.
"""

import sqlalchemy as sa

from alembic import op

revision = "2026_11_27_erasure"
down_revision = "2026_11_26_quarantine_decisions"
branch_labels = None
depends_on = None

APP_ROLE = "token_ledger_app"

# Runs as the owner, because the service can delete nothing. An account is looked up by its subject: those of windows
# that are open, or that something may still roll over from, must not be found by what comes under the name from now on;
# so must those of open runs be found under the pseudonym. Sums of this segment are kept apart from those that the next
# batches add up; no batch adds to those of segments before, and none is folded until the erasure is done.
MAKE_BEGIN = """
create function token_ledger_begin_erasure(
    tenant bigint, erased text, becomes text, upto bigint, segment_now bigint, began timestamptz
) returns void
language plpgsql security definer set search_path = public, pg_temp as $$
declare
    was_part text := '"user":' || to_json(erased);
    becomes_part text := '"user":' || to_json(becomes);
begin
    if tenant <> all (current_setting('app.tenants')::bigint[]) then
        raise exception 'tenant % is not one of this transaction', tenant;
    end if;
    insert into erasures (tenant_id, user_id, pseudonym, last_id, segment, began_at, journal, reached)
    values (tenant, erased, becomes, upto, segment_now, began, 'accounts', 0);
    delete from users where tenant_id = tenant and user_id = erased;
    update budgets set selector = jsonb_set(selector, '{user}', to_jsonb(becomes))
    where tenant_id = tenant and selector ->> 'user' = erased;
    update accounts set subject = replace(subject, was_part, becomes_part)
    where tenant_id = tenant and position('"user":' in subject) > 0 and (subject::jsonb ->> 'user') = erased
      and (subject::jsonb ->> 'run') is null
      and (window_end is null or window_end + 2 * (window_end - window_start) > began);
    if exists (select from budgets where tenant_id = tenant and selector ->> 'user' = '*' and "window" = 'run') then
        update accounts as a set subject = replace(a.subject, was_part, becomes_part)
        from runs as r
        where r.tenant_id = tenant and r.user_id = erased and r.state = 'open'
          and a.tenant_id = tenant and position('"user":' in a.subject) > 0
          and (a.subject::jsonb ->> 'user') = erased and (a.subject::jsonb ->> 'run') = r.run_id::text;
    end if;
    update daily_usage set user_id = becomes
    where tenant_id = tenant and segment > 0 and segment = segment_now and user_id = erased;
end $$
"""

# How a name may be spelled in a text that holds JSON, perhaps JSON within JSON: a pattern for each of its characters.
MAKE_SPELLED = r"""
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
end $$
"""

# Where an event could not be read, its text is kept as it was sent, and cut where it is too long, perhaps in the name.
MAKE_CLEANED = r"""
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
end $$
"""

# One slice of the tenant's oldest erasure that is not done: some `most` rows of one journal, in the order of ids, and
# then the next journal. Where it stopped is noted in the same transaction. Of rows that batches change, those that a
# batch has locked are left for the next slice: it never waits with locks in its hand, so neither does a batch for it.
# Accounts are renamed under the tenant's lock, with a sequence number of their own, because a batch names an account by
# its subject, too, and one that was decided ahead has to notice. An account that a closed run got anew under the
# pseudonym meanwhile keeps its name; the old one is told apart by its id.
# Events come before their checkpoints: what is added to those afterwards bears the pseudonym already.
MAKE_ERASE = """
create function token_ledger_erase(tenant bigint, most integer, heard_seconds double precision) returns boolean
language plpgsql security definer set search_path = public, pg_temp set timezone = 'UTC'
set enable_seqscan = off set plan_cache_mode = force_custom_plan as $$
declare
    journals constant text[] := array[
        'accounts', 'daily_usage', 'usage_events', 'daily_checkpoints', 'reservations', 'denials', 'trigger_firings',
        'runs', 'quarantine', 'increases', 'grants', 'limit_entries', 'audit_log', 'done'];
    ids constant text[] := array[
        null, null, 'event_id', null, 'reservation_id', 'denial_id', 'reservation_id',
        'run_id', 'quarantine_id', 'increase_id', 'grant_id', 'account_id', 'audit_id', null];
    e erasures;
    place integer;
    upto bigint;
    was text;
    becomes text;
    was_spaced text;
    becomes_spaced text;
    was_quoted text;
    becomes_quoted text;
    quoted text;
    left_over boolean := false;
begin
    if tenant <> all (current_setting('app.tenants')::bigint[]) then
        raise exception 'tenant % is not one of this transaction', tenant;
    end if;
    select * into e from erasures where tenant_id = tenant and journal <> 'done' order by last_id limit 1 for update;
    if not found then
        perform from erasures where tenant_id = tenant
            and began_at + make_interval(secs => heard_seconds) <= clock_timestamp();
        if found then
            update tenant_ledgers set config_version = config_version + 1 where tenant_id = tenant;
            delete from erasures where tenant_id = tenant and journal = 'done'
                and began_at + make_interval(secs => heard_seconds) <= clock_timestamp();
        end if;
        return false;
    end if;
    was := '"user":' || to_json(e.user_id);
    becomes := '"user":' || to_json(e.pseudonym);
    was_spaced := '"user": ' || to_json(e.user_id);
    becomes_spaced := '"user": ' || to_json(e.pseudonym);
    was_quoted := to_json(was)::text;
    was_quoted := substring(was_quoted from 2 for length(was_quoted) - 2);
    becomes_quoted := to_json(becomes)::text;
    becomes_quoted := substring(becomes_quoted from 2 for length(becomes_quoted) - 2);
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
        perform from accounts where tenant_id = tenant and position('"user":' in subject) > 0
            and (subject::jsonb ->> 'user') = e.user_id and account_id <= e.last_id limit 1;
        if found then
            update tenant_ledgers set sequence = sequence + 1 where tenant_id = tenant;
            with next_ones as (
                select account_id from accounts
                where tenant_id = tenant and position('"user":' in subject) > 0
                  and (subject::jsonb ->> 'user') = e.user_id and account_id <= e.last_id limit least(most, 500)
            )
            update accounts as a
            set subject = case when exists (
                select from accounts as other where other.tenant_id = tenant and other.budget_id = a.budget_id
                and other.subject = replace(a.subject, was, becomes) and other.window_start = a.window_start
            ) then replace(a.subject, was, '"user":' || to_json(e.pseudonym || '-' || a.account_id))
            else replace(a.subject, was, becomes) end
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
                with gone as (
                    delete from daily_checkpoints
                    where tenant_id = tenant and day = to_timestamp(upto) and user_id = e.user_id returning *
                )
                insert into daily_checkpoints as t
                select tenant_id, day, e.pseudonym, agent_type, model, request_type, calls, input_tokens, output_tokens,
                       cache_read_tokens, cache_write_tokens, reasoning_tokens, cost_nanos from gone
                on conflict (tenant_id, day, user_id, agent_type, model, request_type) do update
                set calls = t.calls + excluded.calls, input_tokens = t.input_tokens + excluded.input_tokens,
                    output_tokens = t.output_tokens + excluded.output_tokens,
                    cache_read_tokens = t.cache_read_tokens + excluded.cache_read_tokens,
                    cache_write_tokens = t.cache_write_tokens + excluded.cache_write_tokens,
                    reasoning_tokens = t.reasoning_tokens + excluded.reasoning_tokens,
                    cost_nanos = t.cost_nanos + excluded.cost_nanos;
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
            directive = replace(r.directive::text, was_spaced, becomes_spaced)::jsonb,
            warnings = replace(r.warnings::text, was_quoted, becomes_quoted)::jsonb
        from mine
        where r.tenant_id = tenant and r.reservation_id > e.reached and r.reservation_id <= upto
          and r.reservation_id = mine.reservation_id;
        left_over := exists (
            select from reservations
            where tenant_id = tenant and reservation_id > e.reached and reservation_id <= upto and user_id = e.user_id
        );
    elsif e.journal = 'denials' then
        update denials
        set user_id = e.pseudonym, refusals = replace(refusals::text, was_quoted, becomes_quoted)::jsonb
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
end $$
"""

# What is folded is mixed: as long as two people share a name, the sums of the one must be told from the other's.
WRAP_FOLD = """
create function token_ledger_fold(tenant bigint, segment_bits integer, most integer) returns boolean
language plpgsql security definer set search_path = public, pg_temp as $$
begin
    if tenant <> all (current_setting('app.tenants')::bigint[]) then
        raise exception 'tenant % is not one of this transaction', tenant;
    end if;
    perform from tenant_ledgers where tenant_id = tenant for update;
    if exists (select from erasures where tenant_id = tenant) then
        return false;
    end if;
    return token_ledger_fold_segments(tenant, segment_bits, most);
end $$
"""

FUNCTIONS = (
    "token_ledger_spelled(text)",
    "token_ledger_cleaned(jsonb, text, text)",
    "token_ledger_begin_erasure(bigint, text, text, bigint, bigint, timestamptz)",
    "token_ledger_erase(bigint, integer, double precision)",
    "token_ledger_fold(bigint, integer, integer)",
)


def upgrade() -> None:
    """Let erasures be under way."""
    op.execute("set local lock_timeout = '5s'")
    op.create_table(
        "erasures",
        sa.Column("tenant_id", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Text(), nullable=False),
        sa.Column("pseudonym", sa.Text(), nullable=False),
        sa.Column("last_id", sa.BigInteger(), nullable=False),
        sa.Column("segment", sa.BigInteger(), nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("journal", sa.Text(), nullable=False),
        sa.Column("reached", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", "user_id", name=op.f("erasures_pkey")),
    )
    op.create_index(
        "accounts_of_user",
        "accounts",
        ["tenant_id", sa.text("(subject::jsonb ->> 'user')"), sa.text("(subject::jsonb ->> 'run')")],
        postgresql_where=sa.text("position('\"user\":' in subject) > 0"),
    )

    # Everything below is not in SQLAlchemy's model.
    op.execute("alter table erasures enable row level security")
    op.execute(
        f"create policy tenant_rows on erasures to {APP_ROLE}"
        f" using (tenant_id + 0 = any ((select current_setting('app.tenants')::bigint[])::bigint[]))"
        f" with check (tenant_id + 0 = any ((select current_setting('app.tenants')::bigint[])::bigint[]))"
    )
    op.execute(f"grant select on erasures to {APP_ROLE}")
    op.execute("alter function token_ledger_fold(bigint, integer, integer) rename to token_ledger_fold_segments")
    op.execute(f"revoke all on function token_ledger_fold_segments(bigint, integer, integer) from {APP_ROLE}")
    for statement in (MAKE_BEGIN, MAKE_SPELLED, MAKE_CLEANED, MAKE_ERASE, WRAP_FOLD):
        op.execute(sa.text(statement.replace(":", "\\:")))
    for function in FUNCTIONS:
        op.execute(f"revoke all on function {function} from public")
        op.execute(f"grant execute on function {function} to {APP_ROLE}")


def downgrade() -> None:
    """Go back, unless an erasure is under way: nothing else knows which name is to give way."""
    op.execute("set local lock_timeout = '5s'")
    op.execute(
        "do $$ begin if exists (select from erasures) then"
        " raise exception 'an erasure is under way; migrate back when it is done'; end if; end $$"
    )
    for function in reversed(FUNCTIONS):
        op.execute(f"drop function {function}")
    op.execute("alter function token_ledger_fold_segments(bigint, integer, integer) rename to token_ledger_fold")
    op.execute(f"grant execute on function token_ledger_fold(bigint, integer, integer) to {APP_ROLE}")
    op.drop_index("accounts_of_user", "accounts")
    op.drop_table("erasures")
