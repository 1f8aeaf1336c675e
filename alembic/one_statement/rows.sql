-- A random number of the batch that wrote a ledger last (see `token_ledger_book`), and the rows that few batches send.

alter table tenant_ledgers add column batch_stamp bigint not null default 0;

create type operation_key_row as (
    lock integer, source text, key text, fingerprint bytea, answer text, target_id bigint
);

create type ended_hold_row as (
    lock integer, reservation_id bigint, state text, ended_id bigint, end_reason text
);

create type changed_hold_row as (
    lock integer, reservation_id bigint, expires_at timestamptz, drawn_tokens bigint, drawn_uncached_tokens bigint,
    drawn_nanos bigint, drawn_calls bigint, changes integer, drawn_use jsonb
);

create type denial_row as (
    lock integer, denial_id bigint, user_id text, cost_center text, agent_type text, request_type text, provider text,
    model text, run_id bigint, tool text, tags jsonb, code text, enforced boolean, refusals jsonb,
    input_tokens bigint, max_output_tokens bigint, fits_output_tokens bigint, calls bigint
);

create type trigger_firing_row as (
    lock integer, reservation_id bigint, trigger text, technique text, applied boolean, evidence jsonb
);

create type counted_run_row as (
    lock integer, run_id bigint, iterations bigint
);

create type run_step_row as (
    lock integer, step_id bigint, run_id bigint, iteration bigint, label text
);
