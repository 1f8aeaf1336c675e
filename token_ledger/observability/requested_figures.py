"""Owns the eight figures that the product was asked to report, each with the Prometheus query that answers it."""

from typing import Final

REQUESTED_FIGURES: Final[dict[str, str]] = {
    "token_usage_per_user": "sum by (tenant, user, kind) (rate(token_ledger_user_tokens_total[5m]))",
    "token_cost_per_request": (
        "sum by (tenant, model) (rate(token_ledger_request_cost_dollars_sum[5m]))"
        " / sum by (tenant, model) (rate(token_ledger_request_cost_dollars_count[5m]))"
    ),
    "cache_hit_rate": (
        'sum by (tenant) (rate(token_ledger_input_tokens_total{source="cache_read"}[5m]))'
        " / sum by (tenant) (rate(token_ledger_input_tokens_total[5m]))"
    ),
    "optimization_trigger_rate": (
        "sum by (tenant, trigger, technique, applied) (rate(token_ledger_trigger_firings_total[5m]))"
        " / on (tenant) group_left () sum by (tenant) (rate(token_ledger_calls_total[5m]))"
    ),
    "prompt_compression_ratio": (
        'sum by (tenant) (rate(token_ledger_compression_input_tokens_total{stage="after"}[5m]))'
        ' / sum by (tenant) (rate(token_ledger_compression_input_tokens_total{stage="before"}[5m]))'
    ),
    "model_selection_distribution": (
        "sum by (tenant, agent_type, model) (rate(token_ledger_calls_total[5m]))"
        " / on (tenant) group_left () sum by (tenant) (rate(token_ledger_calls_total[5m]))"
    ),
    "budget_exceeded_events": ("sum by (tenant, budget, unit, enforcement) (increase(token_ledger_denials_total[5m]))"),
    "websocket_token_events": "sum by (tenant) (rate(token_ledger_stream_events_total[5m]))",
}
