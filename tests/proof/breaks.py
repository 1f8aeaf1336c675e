"""Owns ways to break the books, a few rows at a time, and the check of `verify` that has to find each."""

_ONE_HOLD = "(select min(reservation_id) from reservations where {})"
_LEASE = _ONE_HOLD.format("lease and state = 'settled'")
_PLAIN = _ONE_HOLD.format("not lease and state = 'settled' and changes = 0")
_LATE = "(select min(event_id) from usage_events where late and not part)"
_TRANSFER = "(select min(transfer_id) from transfers)"
_CORRECTION = "(select min(event_id) from usage_events where corrects is not null)"
_RECOSTINGS = "(select event_id from usage_events where recosts is not null and corrects is null)"
_RECOSTING = "(select min(event_id) from usage_events where recosts is not null and corrects is null)"
_RECOSTED = "(select min(recosts) from usage_events where recosts is not null)"
_ASSUMED = "corrects is null and recosts is null and jsonb_array_length(others -> 'web_searches') > 3"
_NOW = "select {} from tenant_prices where provider = '*' and rates is not null"
_FIRST_STAND_IN, _LAST_STAND_IN = _NOW.format("max(price_id)"), _NOW.format("min(price_id)")
_OF_STAND_IN = f"{_ASSUMED} and others #>> '{{web_searches,3}}' = ({_FIRST_STAND_IN})::text"
_OF_ITS_HOLD = (
    f"{_ASSUMED} and reservation_id in (select reservation_id from reservations"
    " where price_id::text = others #>> '{web_searches,3}') and service_tier is null and not part"
)
_BY_LAST_STAND_IN = "update {0} set {1} = jsonb_set({1}, '{{{2}}}', to_jsonb((" + _LAST_STAND_IN + "))) where "
_CORRECTED_PRICE = (
    "(select min(event_id) from usage_events where recosts = (select min(event_id) from usage_events"
    " where user_id = 'peggy' and others is not null))"
)
"""A re-costing of a call that had a price."""
_LATE_TOOL = (
    "(select max(event_id) from usage_events where kind = 'tool_call' and agent_type = 'data' and corrects is null)"
)
_READING = "(select max(event_id) from usage_events where details ? 'supersedes' and response_id is null)"
_OTHER_READING = "(select max(event_id) from usage_events where details ? 'supersedes' and response_id is not null)"
_SUPERSEDED = "(select max((details ->> 'supersedes')::bigint) from usage_events where response_id is null)"
_DUPLICATE = "(select min(event_id) from usage_events where repetition = 'duplicate' and not part)"
_PART = "(select max(event_id) from usage_events where part and not late)"
_OF_SEARCHES = "from usage_events where part and calls = 0 and others is not null"
_FIRST_PART = f"(select min(event_id) {_OF_SEARCHES})"
_REST = f"(select max(event_id) from usage_events where reservation_id = (select min(reservation_id) {_OF_SEARCHES}))"
_DAY_ACCOUNT = "(select min(account_id) from accounts where budget = 'per user' and closed_at is null)"
_CLOSED = "(select min(account_id) from accounts where closed_at is not null)"
_GRANTED = "(select account_id from accounts where budget = 'granted')"
_LOOSENED = "(select account_id from accounts where budget = 'loosened')"
_RUN = "(select run_id from runs where external_id = 'thread-1')"
_LEAF = "(select run_id from runs where cardinality(ancestors) = 2)"
_FIGURES = (
    "calls", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens",
    "cost_nanos",
)  # fmt: skip


def _into(checkpoint: str, rollup: str, key: str) -> str:
    sums = ", ".join(f"sum({name})" for name in _FIGURES)
    return f"insert into {checkpoint} select tenant_id, {key}, {sums} from {rollup} group by tenant_id, {key}"


def _of_gone_events(checkpoint: str, rollup: str, key: str, shown: str) -> str:
    """Return the statements that add calls whose events are gone to one roll-up and its checkpoint only."""
    sums = ", ".join(("1", *"0" * (len(_FIGURES) - 1)))
    row = f"(tenant_id, {key}, {', '.join(_FIGURES)}) select distinct tenant_id, {shown}, {sums} from {rollup}"
    return f"insert into {checkpoint} {row}; insert into {rollup} {row}"


_KEY_OF = "(select min(key) from operation_keys where {})"
_APPROVED = "(select min(increase_id) from increases where state = 'approved')"

ONLY_HOURS_AGAINST_DAYS = (
    _of_gone_events(
        "hourly_checkpoints", "hourly_usage", "hour, cost_center, agent_type, model", "hour, 'gone', agent_type, model"
    ),
    _of_gone_events(
        "daily_checkpoints", "daily_usage", "day, user_id, agent_type, model, request_type",
        "day, 'gone', agent_type, model, request_type",
    ),
)  # fmt: skip
"""Sums of a time whose events are gone, where no other check can find that they do not agree."""

BREAKS = {
    "settled amounts equal the sums of the usage events": (
        "update accounts set settled_tokens = settled_tokens + 1 where account_id = " + _DAY_ACCOUNT,
        "update accounts set settled_nanos = settled_nanos - 1 where account_id = " + _DAY_ACCOUNT,
        "update accounts set settled_calls = 0 where account_id = " + _DAY_ACCOUNT,
        "update usage_events set output_tokens = output_tokens + 1 where event_id = " + _LATE,
        "update usage_events set calls = 0 where event_id = " + _LATE,
        "update usage_events set path = path[2:] where event_id = " + _LATE,
        "delete from usage_events where event_id = " + _LATE,
    ),
    "held amounts and lease counts are those of the open holds": (
        "update accounts set held_tokens = held_tokens + 1 where account_id = " + _DAY_ACCOUNT,
        "update accounts set held_nanos = held_nanos + 1 where account_id = " + _DAY_ACCOUNT,
        "update accounts set held_calls = held_calls + 1 where account_id = " + _DAY_ACCOUNT,
        "update accounts set leases = leases + 1 where account_id = " + _DAY_ACCOUNT,
        "update reservations set held_tokens = held_tokens - 1 where state = 'held' and not lease",
        "update reservations set drawn_tokens = 0 where state = 'held' and changes > 0",
        "update reservations set drawn_calls = drawn_calls + 1 where state = 'held' and lease",
        "update reservations set lease = false where state = 'held' and lease",
        "delete from reservations where state = 'held' and lease",
    ),
    "closed accounts are past their window and hold nothing": (
        "update accounts set held_tokens = 1 where account_id = " + _CLOSED,
        "update accounts set held_calls = 1 where account_id = " + _CLOSED,
        "update accounts set leases = 1 where account_id = " + _CLOSED,
        "update accounts set window_end = closed_at + interval '1 second' where account_id = " + _CLOSED,
        "update accounts set closed_at = now() where budget = 'uncached'",
    ),
    "every hold fitted the limits when it was granted": (
        # The limit when the hold was granted counts, not the current one.
        "update limit_entries set tokens = tokens - 100000000 where kind = 'opening' and tokens > 20000",
        "update limit_entries set tokens = tokens - 199999 where kind = 'change' and tokens < 0;"
        "update limit_entries set tokens = tokens + 199999 where kind = 'change' and tokens > 1000000",
        "update limit_entries set nanos = 1 where kind = 'opening' and nanos is not null",
        "update limit_entries set calls = 0 where kind = 'opening' and calls > 10",
        # As if the limit had never been taken away.
        "update limit_entries set bound_tokens = 0 where kind = 'change' and account_id = " + _LOOSENED,
        "update reservations set held_tokens = held_tokens + 1000000 where reservation_id = " + _PLAIN,
        "update reservations set held_nanos = held_nanos + 100000000000 where reservation_id = " + _PLAIN,
        "update reservations set held_calls = 1000 where reservation_id = " + _LEASE,
        # If it had ended later, the holds in between would not have fitted.
        "update reservations set ended_id = ended_id + (1::bigint << 40), held_calls = 49"
        " where reservation_id = " + _PLAIN,
        # As if the account had been hard already when these were granted.
        "update limit_entries set entry_id = account_id + 1 where hard = 1 and account_id ="
        " (select min(account_id) from accounts where budget = 'soft')",
    ),
    "limits equal the sums of their journal entries": (
        "update accounts set limit_tokens = limit_tokens + 1 where account_id = " + _GRANTED,
        "update accounts set limit_nanos = 5 where account_id = " + _GRANTED,
        "update accounts set limit_calls = null where account_id = " + _GRANTED,
        "update limit_entries set tokens = tokens + 1 where kind = 'rebalance'",
        "update limit_entries set calls = calls + 1 where kind = 'rollover'",
        "delete from limit_entries where kind = 'opening' and account_id = " + _GRANTED,
        "delete from accounts where account_id = " + _GRANTED,
        "update limit_entries set kind = 'opening' where kind = 'increase'",
        "update limit_entries set bound_tokens = 0 where bound_tokens = -1",
        "update limit_entries set bound_tokens = 0 where kind = 'change' and bound_tokens = 1",
        "update limit_entries set bound_nanos = 1 where kind = 'change' and account_id = " + _LOOSENED,
        "update limit_entries set tokens = tokens + 1 where bound_tokens = -1",
        "delete from limit_entries where bound_tokens = -1",
        "delete from limit_entries where kind = 'change' and bound_tokens = 1;"
        "update accounts set limit_tokens = 0 where account_id = " + _LOOSENED,
        "update accounts set limit_tokens = null where account_id = " + _LOOSENED,
    ),
    "accounts are hard exactly when their journal says so": (
        "update accounts set enforcement = 'soft' where enforcement = 'hard'",
        "update accounts set enforcement = 'hard' where enforcement = 'shadow'",
        "update accounts set enforcement = 'shadow' where account_id = " + _DAY_ACCOUNT,
        "update limit_entries set hard = 0 where kind = 'opening'",
        "delete from limit_entries where hard = -1",
    ),
    "no account was opened before its window, which is one of the calendar": (
        "update accounts set window_end = window_end + interval '40 days' where account_id = " + _DAY_ACCOUNT,
        "update accounts set window_start = window_start - interval '7 hours' where account_id = " + _DAY_ACCOUNT,
        "update accounts set window_end = null where account_id = " + _DAY_ACCOUNT,
        "update accounts set window_end = now() where budget = 'uncached'",
        "update accounts set window_end = now() where budget_id = 0",
        "update accounts set window_start = window_start + interval '1 day', window_end = window_end + interval '1 day'"
        " where account_id = " + _DAY_ACCOUNT,
        "update limit_entries set booked_at = booked_at - interval '400 days' where kind = 'opening'",
        "delete from calendar_changes",
        "update tenants set time_zone = 'America/New_York'",
    ),
    "everything is on accounts of the window that it happened in": (
        # A valid window, but not the one in which its calls were made.
        "update accounts set window_start = window_start - interval '1 day', window_end = window_end - interval '1 day'"
        " where account_id = " + _CLOSED,
        "update usage_events set posted_at = posted_at - interval '1 day' where reservation_id is not null",
        "update usage_events set posted_at = now() where reservation_id is null and user_id = 'carol'",
        "update reservations set created_at = created_at - interval '1 day'",
        "update usage_events set held_at = posted_at - interval '2 days' where held_at is not null",
    ),
    "only windows from a subject's first on leave anything to roll over": (
        "update accounts set earns = false where account_id = " + _DAY_ACCOUNT,
        "update accounts set earns = true where not earns",
    ),
    "what budgets allowed is what the audit log shows": (
        "update budget_terms set limit_calls = limit_calls + 1 where limit_calls = 50",
        "update budget_terms set rollover_tokens = null where rollover_tokens = 50000",
        "delete from budget_terms where limit_calls = 60",
    ),
    "calls are on exactly the accounts of the budgets that select them": (
        "update usage_events set model = 'gpt-4' where served_model is not null",
        "update usage_events set user_id = 'eve' where user_id = 'carol'",
        "update reservations set path = path[2:] where reservation_id = " + _PLAIN,
        "update usage_events set path = held_path where held_path is not null",
        "update usage_events as e set path = e.held_path from reservations as r where e.held_path is not null"
        " and e.reservation_id = r.reservation_id and (e.provider, e.model) = (r.provider, r.model)",
        "update accounts set subject = '{\"user\":\"eve\"}' where account_id = " + _DAY_ACCOUNT,
        # As if a call had been made here, or another past were kept.
        "update usage_events set counts_since = null where counts_since is not null",
        "update usage_events set counts_since = booked_at where counts_since is not null",
        "update usage_events set counts_since = posted_at where counts_since is not null",
        "update usage_events set path = '{}' where counts_since is not null and corrects is null",
    ),
    "accounts are found by the user and the run of their subject": (
        "update accounts set subject_user = null where subject_user is not null",
        "update accounts set subject_run = '1' where subject_run is not null",
        "update accounts set subject = '{\"user\":\"eve\"}' where account_id = " + _DAY_ACCOUNT,
    ),
    "a model has the name in the books that was decided for the name that was used": (
        "update reservations set model = 'gpt-5.4-2026-03-05' where reservation_id = " + _PLAIN,
        "update usage_events set model = 'Unheard Of' where unpriced and price_id = 0",
        "update model_names set model = 'gpt-4' where asked_model = 'gpt-5.4'",
        "delete from model_names where asked_model = 'gpt-5.4-mini-2026-03-17'",
        # As if a hold from before had got the new name when it was settled.
        "update usage_events set model = 'gpt-4.1' where served_model = 'gpt-4o-mini' and part",
    ),
    "names of models are changed as the audit log says": (
        "update model_names set change_id = null where change_id is not null",
        "update model_names set model = 'another' where change_id is not null",
        "delete from model_names where change_id = (select max(change_id) from model_names)",
        "delete from audit_log where action = 'model.rename'",
        "update audit_log set after = jsonb_set(after, '{accounts}', '9') where action = 'model.rename'",
    ),
    "a transfer took along all that was settled and held on its account": (
        *(
            f"update transfers set {column} = {column} + 1 where transfer_id = {_TRANSFER}"
            for column in (
                "settled_tokens", "settled_nanos", "settled_calls", "held_tokens", "held_nanos", "held_calls",
            )
        ),
        "update transfers set settled_tokens = settled_tokens + held_tokens, held_tokens = 0",
        "update transfers set held_calls = 0, settled_calls = settled_calls + held_calls where held_calls > 0",
    ),
    "transfers are of models that were renamed, to the accounts of the new names": (
        "update transfers set to_account = " + _DAY_ACCOUNT,
        "update transfers set to_account = from_account",
        "update transfers set from_account = 1 where transfer_id = " + _TRANSFER,
        "update transfers set transfer_id = transfer_id + 65536 where transfer_id = " + _TRANSFER,
        "update accounts set subject = '{\"model\":\"another\"}' where account_id ="
        " (select from_account from transfers where transfer_id = " + _TRANSFER + ")",
        "delete from audit_log where action = 'model.rename'",
    ),
    "accounts know where the last transfer from them went": (
        "update accounts set moved_to = null where moved_to is not null",
        "update accounts set moved_to = account_id where moved_to is null",
        "delete from transfers where transfer_id = " + _TRANSFER,
    ),
    "new windows received the rollover of the windows before them": (
        "update limit_entries set tokens = tokens + 1000000 where kind = 'rollover';"
        "update accounts as a set limit_tokens = limit_tokens + 1000000 from limit_entries as e"
        " where e.account_id = a.account_id and e.kind = 'rollover'",
        "update limit_entries set calls = calls - 1 where kind = 'rollover'",
        "delete from limit_entries where kind = 'rollover'",
        "update limit_entries set kind = 'increase' where kind = 'rollover'",
        "update limit_entries set kind = 'rollover' where kind = 'increase'",
    ),
    "what remains of grants follows from the use of their account": (
        "update grants set mark = '{999999999,999999999,999}' where lapsed_at is null",
        "update grants set mark = '{0,0,0}' where lapsed_at is not null",
        "update grants set left_calls = left_calls - 1 where left_calls > 0",
        "update grants set left_tokens = left_tokens + 1 where left_tokens < tokens",
        "update grants set given_at = given_at - interval '1 day' where calls = 2",
    ),
    "what a hold sets aside is the size of its calls": (
        "update reservations set held_calls = held_calls + 5 where reservation_id = " + _LEASE,
        "update reservations set held_calls = 0 where reservation_id = " + _LEASE,
        "update reservations set held_tokens = held_tokens + 1 where reservation_id = " + _PLAIN,
        "update reservations set held_uncached_tokens = held_uncached_tokens - 1 where reservation_id = " + _PLAIN,
        "update reservations set held_nanos = held_nanos + 1 where reservation_id = " + _LEASE,
        "update reservations set cached_input_tokens = 1 where reservation_id = " + _PLAIN,
        "update reservations set max_output_tokens = max_output_tokens - 1 where reservation_id = " + _LEASE,
        "update reservations set lease = false where reservation_id = " + _LEASE,
    ),
    "the money of a hold is what its price gives for its size": (
        "update reservations set held_nanos = held_nanos + 1 where reservation_id = " + _PLAIN,
        "update reservations set held_nanos = 2 * held_nanos where reservation_id = " + _LEASE,
        "update reservations set price_id = 0 where reservation_id = " + _PLAIN,
        "update reservations set announced = null where announced is not null",
        "update reservations set announced = jsonb_set(announced, '{max_usage,web_searches}', '4')"
        " where announced is not null",
        "update reservations set announced = jsonb_set(announced, '{service_tier}', 'null')"
        " where announced is not null",
        "update tenant_prices set rates = rates - 'tier_mode' where model = 'graduated'",
        "update reservations set announced = announced - 'assumed_by' where announced ? 'assumed_by'",
        _BY_LAST_STAND_IN.format("reservations", "announced", "assumed_by") + "announced ? 'assumed_by'",
    ),
    "corrections take back exactly what they correct, once": (
        "update usage_events set others = jsonb_set(others, '{web_searches,3}', '1')"
        " where corrects is not null and jsonb_array_length(others -> 'web_searches') > 3",
        "update usage_events set calls = calls - 1 where corrects is not null",
        "update usage_events set cost_nanos = cost_nanos + 1 where event_id = " + _CORRECTION,
        "update usage_events set reasoning_tokens = 1 where event_id = " + _CORRECTION,
        "update usage_events set posted_at = posted_at + interval '1 second' where event_id = " + _CORRECTION,
        "update usage_events set model = 'another' where event_id = " + _CORRECTION,
        "update usage_events set user_id = 'another' where event_id = " + _CORRECTION,
        "update usage_events set part = true where event_id = " + _CORRECTION,
        "update usage_events set others = '{\"images\": [1, null]}' where event_id = " + _CORRECTION,
        "update usage_events set list_cost_nanos = 1 where event_id = " + _CORRECTION,
        "update usage_events set discount_id = 1 where event_id = " + _CORRECTION,
        "update usage_events set corrects = (select max(corrects) from usage_events) where event_id = " + _CORRECTION,
        "update usage_events set corrects = event_id - 1 where event_id = " + _CORRECTION,
        "delete from usage_events where event_id = (select min(corrects) from usage_events)",
        "update usage_events set details = null where kind = 'cache_hit' and corrects is not null",
    ),
    "corrections are on the accounts that had what they correct": (
        "update usage_events set path = path[2:] where event_id = " + _CORRECTION,
        "update usage_events set path = path[2:] where event_id = " + _RECOSTING,
        "update usage_events as c set path = e.path from usage_events as e"
        " where c.corrects = e.event_id and c.path <> e.path",
    ),
    "re-costings are of calls whose cost follows from a price, and are taken back with them": (
        "update usage_events set calls = 1 where event_id = " + _RECOSTING,
        "update usage_events set output_tokens = 1 where event_id = " + _RECOSTING,
        "update usage_events set unpriced = true where event_id = " + _RECOSTING,
        "update usage_events set part = true where event_id = " + _RECOSTING,
        "update usage_events set posted_at = posted_at + interval '1 second' where event_id = " + _RECOSTING,
        "update usage_events set model = 'another' where event_id = " + _RECOSTING,
        "update usage_events set user_id = 'another' where event_id = " + _RECOSTING,
        "update usage_events set recosts = event_id + 1 where event_id = " + _RECOSTING,
        "update usage_events set recosts = (select max(event_id) from usage_events where corrects is not null)"
        " where event_id = " + _RECOSTING,
        # As if a tool had stated it, as if it was saved, or said by another event.
        "update usage_events set unpriced = false, price_id = 0 where event_id = " + _RECOSTED,
        "update usage_events set kind = 'cache_hit' where event_id = " + _RECOSTED,
        "update usage_events set repetition = 'duplicate' where event_id = " + _RECOSTED,
        "delete from usage_events where event_id = " + _RECOSTED,
        "delete from usage_events where corrects is not null and recosts is not null",
        # As if it had been taken back before it was re-costed.
        "update usage_events set corrects = " + _RECOSTED + " where event_id = " + _CORRECTION,
    ),
    "every re-costing is in the audit log": (
        "delete from audit_log where action = 'calls.recost'",
        "delete from usage_events where event_id = " + _RECOSTING,
        "update usage_events set recosts = recosts + 1 where event_id = " + _RECOSTING,
    ),
    "every correction is in the audit log, or made by what takes the place of a call": (
        "delete from audit_log where action = 'calls.reverse'",
        "update usage_events set repetition = 'first', earlier_event_id = null where repetition = 'replaces'",
        "update usage_events set details = null where event_id = " + _READING,
        "delete from usage_events where event_id = " + _CORRECTION,
        "update usage_events set corrects = corrects + 1 where event_id = " + _CORRECTION,
    ),
    "only corrections, parts of calls and what bills took off cost less than nothing": (
        "update usage_events set cost_nanos = -1 where event_id = " + _LATE_TOOL,
        *(
            f"update usage_events set {changed} where agent_type = 'reconciliation' and cost_nanos < 0"
            for changed in (
                "agent_type = 'another'", "tags = tags - 'bill'",
                "tool = null", "kind = null", "calls = 1", "counts_since = null", "input_tokens = 1",
                "price_id = 1", "unpriced = true",
            )
        ),
    ),
    "of a call that was imported unfinished, only the newest reading counts, under the key of all": (
        # As if the later reading were a call of its own, or of another one.
        "update usage_events set details = details - 'supersedes' where event_id = " + _READING,
        "update usage_events set details = jsonb_set(details, '{supersedes}', to_jsonb(event_id + 1))"
        " where event_id = " + _READING,
        "update usage_events set details = jsonb_set(details, '{supersedes}', to_jsonb(" + _OTHER_READING + "))"
        " where event_id = " + _READING,
        "update operation_keys set key = 'another' where target_id = " + _READING,
        "update operation_keys set source = 'event:elsewhere', key = 'another' where target_id = " + _READING,
        # As if what the earlier one had booked were still there, or had been more.
        "delete from usage_events where corrects = " + _SUPERSEDED,
        "update usage_events set output_tokens = 400 where event_id = " + _SUPERSEDED,
        "update usage_events set counts_since = null where event_id = " + _READING,
        "update usage_events set counts_since = null where event_id = " + _SUPERSEDED,
        "delete from usage_events where event_id = " + _SUPERSEDED,
    ),
    "no response of a provider is booked twice with the same model and usage": (
        # As if another process had not looked.
        "update usage_events set repetition = 'first', earlier_event_id = null, input_tokens = 300, output_tokens = 70"
        " where event_id = " + _DUPLICATE,
        "update usage_events set output_tokens = 70 where repetition = 'other_usage' and not part",
        "update usage_events set repetition = 'first' where repetition is null and response_id = 'resp_1'",
    ),
    "duplicates have nothing booked, and name the call that is": (
        "update usage_events set calls = 1 where event_id = " + _DUPLICATE,
        "update usage_events set reasoning_tokens = 1, output_tokens = 1 where event_id = " + _DUPLICATE,
        "update usage_events set cost_nanos = 1 where event_id = " + _DUPLICATE,
        "update usage_events set earlier_event_id = null where event_id = " + _DUPLICATE,
        "update usage_events set earlier_event_id = event_id - 1 where event_id = " + _DUPLICATE,
        "update usage_events set earlier_event_id = event_id where event_id = " + _DUPLICATE,
        "update usage_events set response_id = 'another' where event_id = " + _DUPLICATE,
        "update usage_events set response_id = null where event_id = " + _DUPLICATE,
        "update usage_events set repetition = null where event_id = " + _DUPLICATE,
        "update usage_events set repetition = 'first' where repetition = 'other_usage'",
        "update usage_events set output_tokens = 70 where repetition = 'other_usage' and not part",
        "update usage_events set repetition = 'replaces' where repetition = 'other_usage' and not part",
        "update usage_events set output_tokens = 7 where repetition = 'replaces'",
        "delete from usage_events where corrects in (select earlier_event_id from usage_events"
        " where repetition = 'replaces')",
        "delete from usage_events where event_id in (select earlier_event_id from usage_events"
        " where repetition = 'replaces')",
    ),
    "denials name accounts that had too little available": (
        "update denials set refusals = '[]' where enforced",
        "update denials set refusals = '[]' where not enforced",
        "update denials set enforced = not enforced",
        "update denials set code = 'not_allocated' where enforced",
        "update denials set refusals = jsonb_set(refusals, '{0,account_id}', '\"1\"') where enforced",
        "update denials set refusals = jsonb_set(refusals, '{0,enforcement}', '\"soft\"') where enforced",
        "update denials set refusals = jsonb_set(refusals, '{0,limit}', '1') where enforced",
        "update denials set refusals = jsonb_set(refusals, '{0,requested}', '1') where enforced",
        "update denials set refusals = jsonb_set(refusals, '{0,calls}', '2') where calls = 1",
        "update denials set refusals = jsonb_set(refusals, '{0,calls}', '1') where calls > 1",
        "update denials set calls = 1 where calls > 1",
        "update denials set refusals = jsonb_set(refusals, '{0,subject}', '{}') where enforced",
    ),
    "the limits that accounts took over from budgets and runs are in their journal": (
        "update accounts set base_tokens = base_tokens + 1 where account_id = " + _GRANTED,
        "update accounts set base_calls = null where account_id = " + _GRANTED,
        "update accounts set base_tokens = base_tokens + 1 where account_id = " + _LOOSENED,
        "update accounts set base_tokens = null where account_id = " + _LOOSENED,
        "update accounts set base_nanos = 0 where account_id = " + _LOOSENED,
        "update limit_entries set kind = 'increase' where kind = 'change'",
        "update runs set limit_tokens = limit_tokens + 1 where run_id = " + _RUN,
        "update runs set limit_nanos = null where run_id = " + _RUN,
    ),
    "grants are in the journal, and no more remains of them than was given": (
        "update grants set tokens = tokens + 1",
        "update grants set left_tokens = tokens + 1 where tokens is not null",
        "update grants set left_calls = -1 where calls = 2",
        "update grants set left_calls = null where calls = 2",
        "update grants set left_nanos = 0 where nanos is null",
        "update grants set lapsed_at = expires_at - interval '1 second' where lapsed_at is not null",
        "update grants set lapsed_at = now() where expires_at is null",
        "delete from grants where calls = 2",
        "delete from limit_entries where kind = 'grant' and calls = 2",
        "update limit_entries set account_id = account_id + 1 where kind = 'grant' and calls = 2",
    ),
    "a grant's lapse takes back what remained of it, once": (
        "delete from limit_entries where kind = 'lapse'",
        "update limit_entries set tokens = tokens - 1 where kind = 'lapse' and tokens < 0",
        "update grants set left_tokens = left_tokens + 1 where lapsed_at is not null and left_tokens < tokens",
        "update grants set lapsed_at = null where lapsed_at is not null",
        "update limit_entries set reason = 'grant 1' where kind = 'lapse'",
        "insert into limit_entries"
        " (tenant_id, account_id, entry_id, kind, tokens, nanos, calls, booked_at, hard, reason, actor)"
        " select tenant_id, account_id, entry_id + 1000, kind, 0, nanos, 0, booked_at, hard, reason, actor"
        " from limit_entries where kind = 'lapse'",
    ),
    "accounts know when their next grant ends": (
        "update accounts set grants_until = null where account_id = " + _GRANTED,
        "update accounts set grants_until = now() where account_id = " + _DAY_ACCOUNT,
        "update grants set expires_at = expires_at + interval '1 day' where lapsed_at is null",
        "update grants set mark = '{1,1,1}' where expires_at is null",
    ),
    "exactly the approved increases are in the journal": (
        "update increases set state = 'asked', decided_at = null where increase_id = " + _APPROVED,
        "update increases set state = 'approved' where state = 'refused'",
        "update increases set tokens = tokens + 1 where increase_id = " + _APPROVED,
        "update increases set decided_at = now() where increase_id = " + _APPROVED,
        "update increases set decided_at = now() where state = 'asked'",
        "update increases set grant_id = 7 where increase_id = " + _APPROVED,
        "update increases set calls = calls + 1 where grant_id is not null",
        "update increases set state = 'refused' where grant_id is not null",
        "delete from increases where increase_id = " + _APPROVED,
        "delete from limit_entries where entry_id = (select min(entry_id) from limit_entries where kind = 'increase')",
    ),
    "the highest threshold that has fired matches the settled amount": (
        "update accounts set fired_tokens = 0 where budget = 'shadow' and fired_tokens > 0",
        "update accounts set fired_nanos = 50 where account_id = " + _DAY_ACCOUNT,
        "update accounts set fired_calls = 100 where account_id = " + _DAY_ACCOUNT,
        "update accounts set thresholds = '{1,2}' where budget = 'shadow'",
    ),
    "thresholds fire and are armed again in turn": (
        "delete from threshold_events where not fired",
        "delete from threshold_events where fired",
        "delete from threshold_events where fired and percent = 1 and account_id ="
        " (select account_id from accounts where budget = 'uncached')",
        "update threshold_events set fired = not fired where percent = 100",
        "update threshold_events set settled = 0 where fired",
        "update threshold_events set limit_amount = 1 where not fired",
        "update threshold_events set percent = percent + 1 where percent = 100",
        "update threshold_events set withdrawn = false where withdrawn",
        "update threshold_events set fired = true where withdrawn",
        "delete from threshold_events where withdrawn and percent = 1",
    ),
    "settled holds and their usage events match": (
        "update usage_events set repetition = null where event_id = " + _DUPLICATE,
        "update reservations set event_id = event_id + 1 where reservation_id = " + _PLAIN,
        "update reservations set state = 'released', event_id = null where reservation_id = " + _PLAIN,
        "delete from reservations where reservation_id = " + _PLAIN,
        "delete from usage_events where event_id = " + _LATE,
        "update usage_events set path = '{1}' where event_id = " + _LATE,
        "update usage_events set late = false where event_id = " + _LATE,
        "update usage_events set calls = 0 where event_id = " + _LATE,
        "update usage_events set reservation_id = null where event_id = " + _LATE,
    ),
    "partial usage events and their holds match": (
        "delete from reservations where reservation_id = " + _LEASE,
        "update usage_events set late = true where event_id = " + _PART,
        "update usage_events set calls = 1 - calls where event_id = " + _PART,
        "update usage_events set path = '{1}' where event_id = " + _PART,
        "update usage_events set reservation_id = null where event_id = " + _PART,
        "update reservations set lease = not lease where changes > 0",
        "update reservations set state = 'released' where state = 'expired' and changes > 0",
        "update usage_events set event_id = event_id + (1::bigint << 40) where part",
    ),
    "what was drawn on a hold is the sum of its partial events": (
        "update reservations set drawn_tokens = drawn_tokens + 1 where reservation_id = " + _LEASE,
        "update reservations set drawn_uncached_tokens = 0 where reservation_id = " + _LEASE,
        "update reservations set drawn_nanos = 0 where reservation_id = " + _LEASE,
        "update reservations set drawn_calls = drawn_calls - 1 where reservation_id = " + _LEASE,
        "update reservations set drawn_tokens = 1 where reservation_id = " + _PLAIN,
        "update reservations set changes = 1 where reservation_id = " + _LEASE,
        "update usage_events set part = false where event_id = " + _PART,
        "update usage_events set cache_read_tokens = 1 where event_id = " + _PART,
    ),
    "what the parts of a call used, by model and kind, is what its hold says": (
        "update reservations set drawn_use = null where drawn_use is not null",
        "update reservations set drawn_use = jsonb_set(drawn_use, '{0,nanos}', '1') where drawn_use is not null",
        "update reservations set drawn_use = jsonb_set(drawn_use, '{0,usage,output_tokens}', '1')"
        " where drawn_use is not null",
        "update reservations set drawn_use = jsonb_set(drawn_use, '{0,others,web_searches,0}', '1')"
        " where drawn_use @> '[{\"others\": {\"web_searches\": [2]}}]'",
        "update reservations set drawn_use = jsonb_set(drawn_use, '{0,others,web_searches,2}', '1')"
        " where jsonb_array_length(drawn_use #> '{0,others,web_searches}') > 2",
        "update usage_events set model = 'another' where event_id = " + _FIRST_PART,
    ),
    "events are overruns exactly when more was used than held": (
        "update usage_events set overrun = false where overrun",
        "update usage_events set overrun = true where event_id = " + _LATE,
        "update usage_events set overrun = true where reservation_id is null",
        "update reservations set held_nanos = 1 where reservation_id = " + _PLAIN,
        "update reservations set held_calls = 1 where reservation_id = " + _LEASE,
    ),
    "a run's iterations are the steps of it and of its sub-runs": (
        "update runs set iterations = iterations + 1 where run_id = " + _RUN,
        "update runs set iterations = 0 where run_id = " + _LEAF,
        "delete from run_steps where run_id = " + _LEAF,
        "update run_steps set run_id = 1 where run_id = " + _LEAF,
        "insert into step_checkpoints select tenant_id, run_id, 1 from runs where run_id = " + _LEAF,
    ),
    "sub-runs descend from their parent and its ancestors": (
        "update runs set ancestors = ancestors[2:] where run_id = " + _LEAF,
        "update runs set ancestors = ancestors || 5::bigint where run_id = " + _LEAF,
        "update runs set ancestors = ancestors || run_id where run_id = " + _RUN,
        "delete from runs where run_id = " + _RUN,
        "update runs set user_id = 'eve' where run_id = " + _LEAF,
        "update runs set cost_center = 'sales' where run_id = " + _RUN,
    ),
    "every row has the idempotency key that made it, and only that one": (
        *(
            f"delete from operation_keys where key = {_KEY_OF.format(kind)}"
            for kind in (
                "source = 'reserve' and answer = 'reservation'", "source = 'lease'", "answer = 'event'",
                "answer = 'denial'", "answer = 'kept'", "answer = 'step'", "source = 'create_budget'",
                "source = 'replace_budget'", "source = 'ask_increase'", "answer = 'grant'", "answer = 'audit'",
            )
        ),
        "delete from operation_keys where source = 'open_run'",
        *(
            "insert into operation_keys select tenant_id, source, key || '-again', fingerprint, answer, target_id,"
            f" booked_at from operation_keys where key = {_KEY_OF.format(kind)}"
            for kind in ("source = 'reserve'", "answer = 'event'", "answer = 'grant'", "source = 'ask_increase'")
        ),
        "update operation_keys set target_id = target_id + (1::bigint << 40) where answer = 'event'",
        "delete from denials",
        "delete from run_steps where run_id = " + _LEAF,
    ),
    "ids are unique and none is beyond the tenant's sequence": (
        "update tenant_ledgers set sequence = sequence - 1",
        "update usage_events set event_id = event_id + (1::bigint << 40) where event_id = " + _LATE,
        "update audit_log set audit_id = audit_id + (1::bigint << 40)",
        "insert into usage_events select (jsonb_populate_record(e, jsonb_build_object("
        "'booked_at', e.booked_at + interval '1 second'))).* from usage_events as e where e.event_id = " + _LATE,
    ),
    "every administrative change is in the audit log, once": (
        "delete from audit_log where action = 'budget.archive'",
        "delete from audit_log where action = 'budget.create' and audit_id >"
        " (select min(audit_id) from audit_log)",
        "delete from audit_log where action = 'budget.replace'",
        "update audit_log set before = before - 'budget_id' where action = 'budget.replace'",
        "delete from audit_log where action = 'grant.give'",
        "delete from audit_log where action = 'increase.refuse'",
        "delete from audit_log where action = 'calendar.set'",
        "delete from calendar_changes",
        "delete from quarantine_decisions",
        "update quarantine_decisions set state = 'resolved'",
        "delete from audit_log where action = 'quarantine.dismiss'",
        "update budgets set archived_at = null where name = 'gone'",
        "update increases set state = 'refused' where increase_id = " + _APPROVED,
    ),
    "prices, aliases, discounts and facts of models are in the audit log": (
        "update tenant_models set facts = '{\"deprecated\": true}' where facts is not null",
        "update tenant_models set model = 'other'",
        "delete from audit_log where action = 'model.set'",
        "update tenant_prices set rates = jsonb_set(rates, '{base,input}', '\"9\"')",
        "update tenant_prices set model = 'other'",
        "update tenant_prices set valid_from = valid_from - interval '1 second'",
        "update tenant_aliases set to_model = 'gpt-4o'",
        "delete from audit_log where action = 'price.set'",
        "delete from audit_log where action = 'alias.set'",
        "update tenant_discounts set factor = factor + 1 where factor is not null",
        "update tenant_discounts set valid_until = now() where factor is not null",
        "update tenant_discounts set provider = '*'",
        "delete from audit_log where action = 'discount.set' and after is not null",
    ),
    "the current set-up is what the audit log shows": (
        "update budgets set limit_tokens = limit_tokens + 1 where name = 'uncached'",
        "update budgets set limit_nanos = limit_nanos + 1 where name = 'per user'",
        "update budgets set enforcement = 'hard' where name = 'soft'",
        "update budgets set thresholds = '{99}' where name = 'soft'",
        "update budgets set unassigned = 'shared' where unassigned = 'per_user'",
        "update budgets set overrides = '[]' where name = 'overridden'",
        "update budgets set overrides = jsonb_set(overrides, '{0,limits,tokens}', '7') where name = 'overridden'",
        "update budgets set overrides = jsonb_set(overrides, '{1,limits,calls}', '7') where name = 'overridden'",
        "update budgets set overrides = overrides || overrides where name = 'overridden'",
        "update budgets set limit_tokens = 7 where name = 'another' and archived_at is null",
        "update triggers set at_percent = 1",
        "update runs set limit_iterations = 1000 where run_id = " + _RUN,
        "update tenant_ledgers set stopped_reason = 'for fun'",
        "update tenant_ledgers set finds_duplicates = false",
        "delete from audit_log where action = 'tenant.resume'",
        "delete from budgets where name = 'granted'",
    ),
    "hourly roll-ups equal the sums of the usage events": (
        "update hourly_usage set calls = calls + 1",
        "update hourly_usage set cost_nanos = cost_nanos + 1",
        "update hourly_usage set hour = hour - interval '15 minutes'",
        "update usage_events set posted_at = posted_at - interval '1 hour' where event_id = " + _LATE,
        "update usage_events set cost_center = 'sales' where event_id = " + _LATE,
        "delete from hourly_usage where agent_type = 'triage'",
        "delete from calendar_changes",
        _into("hourly_checkpoints", "hourly_usage", "hour, cost_center, agent_type, model"),
    ),
    "daily roll-ups equal the sums of the usage events": (
        "update daily_usage set reasoning_tokens = reasoning_tokens + 1",
        "update daily_usage set day = day + interval '15 minutes'",
        "update usage_events set user_id = 'eve' where event_id = " + _LATE,
        "update usage_events set posted_at = posted_at - interval '1 day' where event_id = " + _LATE,
        "delete from daily_usage where agent_type = 'triage'",
        "delete from calendar_changes",
        _into("daily_checkpoints", "daily_usage", "day, user_id, agent_type, model, request_type"),
    ),
    "tag roll-ups equal the sums of the usage events": (
        "update daily_tag_usage set input_tokens = 0",
        "update daily_tag_usage set value = 'other' where tag = 'stage'",
        "delete from daily_tag_usage where tag = 'team'",
        "update usage_events set tags = null where tags is not null",
        _into("daily_tag_checkpoints", "daily_tag_usage", "day, tag, value"),
    ),
    "run roll-ups equal the sums of the usage events": (
        "update run_usage set output_tokens = output_tokens + 1",
        "update run_usage set tool = '' where tool <> ''",
        "delete from run_usage where run_id = " + _LEAF,
        "update usage_events set run_id = null where run_id = " + _LEAF,
        _into("run_checkpoints", "run_usage", "run_id, agent_type, tool, model"),
    ),
    "hourly and daily roll-ups have the same sums, so reports of one span agree": (
        *ONLY_HOURS_AGAINST_DAYS,
        "update hourly_usage set model = 'o1-pro' where agent_type = 'triage'",
        "update daily_usage set day = day - interval '1 day' where agent_type = 'triage'",
        "delete from hourly_usage where agent_type = 'triage'",
    ),
    "what a tenant has booked is the sum of its daily roll-ups": (
        "update tenant_ledgers set booked_tokens = booked_tokens + 1",
        "update tenant_ledgers set booked_nanos = booked_nanos - 1",
        "delete from daily_usage where agent_type = 'triage'",
    ),
    "costs follow from the stored prices": (
        "update usage_events set cost_nanos = cost_nanos + 1 where event_id = " + _LATE,
        "update usage_events set price_id = -1 where event_id = " + _LATE,
        "update usage_events set cost_nanos = 1 where unpriced",
        "update usage_events set price_id = 0 where event_id = " + _LATE,
        "update usage_events set others = jsonb_set(others, '{web_searches,1}', '1') where others is not null",
        "update usage_events set others = null where others is not null",
        "update usage_events set unpriced = false where others is not null",
        "update usage_events set service_tier = null where service_tier = 'batch'",
        # Of rates that were assumed: the cost, the entry, one of another time, a stand-in in place of the hold, none.
        "update usage_events set others = jsonb_set(others, '{web_searches,1}', '1') where " + _ASSUMED,
        "update usage_events set others = jsonb_set(others, '{web_searches,3}', '1') where " + _ASSUMED,
        _BY_LAST_STAND_IN.format("usage_events", "others", "web_searches,3") + _OF_STAND_IN,
        f"update usage_events set others = jsonb_set(others, '{{web_searches,3}}', to_jsonb(({_FIRST_STAND_IN})))"
        f" where {_OF_ITS_HOLD}",
        "update usage_events set others = jsonb_set(others, '{web_searches}', (others -> 'web_searches') - 3 - 2)"
        f" where {_ASSUMED}",
        "update usage_events set others = others - 'web_searches' where " + _ASSUMED,
        "update usage_events set unpriced = false where " + _ASSUMED,
        "update usage_events set others = jsonb_set(others, '{web_searches}', (others -> 'web_searches') - 4)"
        " where jsonb_array_length(others -> 'web_searches') > 4",
        "update usage_events set others = jsonb_set(others, '{audio_seconds,2}', '0')"
        " where others #>> '{audio_seconds,2}' = '60'",
        "update usage_events set price_id = (select max(price_id) from tenant_prices where model = 'ear')"
        " where model = 'ear' and price_id <> 0",
        "update tenant_prices set valid_from = valid_from + interval '1 day' where provider = '*'",
        "update usage_events set cost_nanos = cost_nanos + 1 where event_id = " + _REST,
        # As if another model had served the first part.
        "update usage_events set model = 'another' where event_id = " + _FIRST_PART,
        "update usage_events set others = jsonb_set(others, '{web_searches,1}', '1') where event_id = " + _REST,
        "update usage_events set details = jsonb_set(details, '{saved,nanos}', '1')"
        " where kind = 'cache_hit' and corrects is null",
        "update usage_events set details = null where kind = 'cache_hit' and corrects is null",
        "update usage_events set kind = null where kind = 'tool_call' and corrects is null and cost_nanos > 0",
        "update usage_events set list_cost_nanos = list_cost_nanos + 1 where discount_id is not null",
        "update usage_events set discount_id = null, list_cost_nanos = null where discount_id is not null",
        "update usage_events set posted_at = posted_at - interval '1 day' where discount_id is not null",
        "update usage_events set list_cost_nanos = null where list_price_id is not null",
        "update tenant_prices set rates = rates - 'tier_mode' where model = 'graduated'",
        "update usage_events set cost_nanos = cost_nanos + 1 where event_id = " + _RECOSTING,
        "update usage_events set price_id = 0 where event_id = " + _RECOSTING,
        "update usage_events set price_id = price_id - 1 where event_id = " + _RECOSTING,
        "update usage_events set others = null where others is not null and event_id in " + _RECOSTINGS,
        "update usage_events set others = jsonb_set(others, '{web_searches,2}', '1') where event_id in "
        + _RECOSTINGS + " and others ? 'web_searches'",
        "update usage_events set others = jsonb_set(others, '{images,2}', '7') where event_id in "
        + _RECOSTINGS + " and others ? 'images'",
        "update usage_events set list_cost_nanos = list_cost_nanos + 1 where list_cost_nanos is not null"
        " and event_id in " + _RECOSTINGS,
        "update usage_events set discount_id = null where discount_id is not null and event_id in " + _RECOSTINGS,
        "update usage_events set cost_nanos = cost_nanos + 1 where event_id = " + _CORRECTED_PRICE,
        # As if it named the price that the call had before, and as if the tokens had been without a price.
        "update usage_events as r set price_id = e.price_id from usage_events as e where e.event_id = r.recosts"
        " and r.event_id = " + _CORRECTED_PRICE,
        "update usage_events set cost_nanos = 1000000, others = null where event_id = " + _CORRECTED_PRICE,
        "update usage_events set others = others - 'requests' where others ? 'requests' and event_id in "
        + _RECOSTINGS + " and (others -> 'requests' ->> 0)::bigint < 0",
        # As if the usage had been another when it was re-costed.
        "update usage_events set input_tokens = input_tokens - 1 where event_id = (select recosts from usage_events"
        " where event_id = " + _RECOSTING + ")",
    ),
}  # fmt: skip
