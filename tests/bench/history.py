"""Fills a database with three months of settled holds, their usage events and keys, and the sums that follow."""

import asyncpg

# Ids as the ledger makes them: a batch with the hold, then a batch with its event. Instants are spread over the
# existing partitions of usage_events.
_HISTORY = """
create unlogged table history as
select n, (2 * n) << 16 as reservation_id, (2 * n + 1) << 16 as event_id, 'user-' || n % 1000 as user_id,
       'agent-' || n % 7 as agent_type, 800 + n % 400 as input_tokens, 100 + n % 50 as output_tokens,
       date_trunc('month', now()) + n * (interval '1 month' * 2.9 / $1) as at,
       (select account_id from accounts where tenant_id = 1 limit 1) as account_id,
       (select price_id from prices where model = 'gpt-5.4' limit 1) as price_id
from generate_series(1, $1::bigint) as n
"""
_STATEMENTS = (
    """
    insert into accounts (tenant_id, account_id, budget_id, budget, subject, window_start, enforcement, counts,
                          limit_tokens, limit_nanos, base_tokens, base_nanos)
    select 1, 65536, budget_id, name, '{}', 'epoch', enforcement, counts, limit_tokens, limit_nanos, limit_tokens,
           limit_nanos
    from budgets where tenant_id = 1
    """,
    """
    insert into usage_events (
        tenant_id, event_id, booked_at, occurred_at, posted_at, reservation_id, user_id, cost_center, agent_type,
        request_type, provider, model, input_tokens, output_tokens, cache_read_tokens, cache_write_5m_tokens,
        cache_write_1h_tokens, reasoning_tokens, cost_nanos, price_id, path
    )
    select 1, event_id, at, at, at, reservation_id, user_id, 'research', agent_type, 'chat', 'openai', 'gpt-5.4',
           input_tokens, output_tokens, 0, 0, 0, 0, 1000000, price_id, array[account_id]
    from history
    """,
    """
    insert into reservations (
        tenant_id, reservation_id, state, user_id, cost_center, agent_type, request_type, provider, model,
        requested_model, input_tokens, cached_input_tokens, max_output_tokens, held_tokens, held_uncached_tokens,
        held_nanos, price_id, path, created_at, expires_at, ttl_seconds, ended_at, ended_id, event_id
    )
    select 1, reservation_id, 'settled', user_id, 'research', agent_type, 'chat', 'openai', 'gpt-5.4', 'gpt-5.4',
           input_tokens, 0, 2 * output_tokens, input_tokens + 2 * output_tokens, input_tokens + 2 * output_tokens,
           2000000, price_id, array[account_id], at, at + interval '5 minutes', 300, at, event_id, event_id
    from history
    """,
    """
    insert into operation_keys (tenant_id, source, key, fingerprint, answer, target_id, booked_at)
    select 1, 'reserve', 'history-' || n, '\\x00'::bytea, 'reservation', reservation_id, at from history
    union all select 1, 'settle', 'history-' || n, '\\x00'::bytea, 'event', event_id, at from history
    """,
    """
    insert into hourly_usage
    select 1, date_trunc('hour', at), 'research', agent_type, 'gpt-5.4', count(*), sum(input_tokens),
           sum(output_tokens), 0, 0, 0, count(*) * 1000000
    from history group by 2, 4
    """,
    """
    insert into daily_usage
    select 1, date_trunc('day', at), user_id, agent_type, 'gpt-5.4', 'chat', count(*), sum(input_tokens),
           sum(output_tokens), 0, 0, 0, count(*) * 1000000
    from history group by 2, 3, 4
    """,
    """
    update accounts set settled_calls = (select count(*) from history),
        settled_tokens = (select sum(input_tokens + output_tokens) from history),
        settled_nanos = (select count(*) * 1000000 from history)
    where tenant_id = 1
    """,
    "update tenant_ledgers set sequence = (select max(2 * n + 2) from history) where tenant_id = 1",
    "drop table history",
)


async def grow(url: str, events: int) -> None:
    """Store `events` settled calls in a database with one tenant and one budget."""
    connection = await asyncpg.connect(url, command_timeout=1_800)
    try:
        await connection.execute("set timezone = 'UTC'")
        await connection.execute(_STATEMENTS[0])
        await connection.execute(_HISTORY.replace("$1", str(events)))
        for statement in _STATEMENTS[1:]:
            await connection.execute(statement)
        await connection.execute("vacuum analyze")
    finally:
        await connection.close()
