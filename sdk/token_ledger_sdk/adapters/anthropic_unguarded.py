"""The requests of Anthropic's API that a wrapped client does not guard: which are free, and what of the others."""

from __future__ import annotations

from .unguarded import INSTEAD, UnguardedRequests

UNGUARDED = UnguardedRequests(
    free=(
        "/v1/messages/count_tokens", "/v1/messages/batches", "/v1/messages/batches/*/cancel",  # booked by their results
        "/v1/files", "/v1/skills/**", "/v1/user_profiles/**", "/v1/vaults/**", "/v1/memory_stores/**", "/v1/tunnels/**",
        "/v1/organizations/**", "/v1/agents", "/v1/agents/*", "/v1/agents/*/archive",
        "/v1/environments/**",
        "/v1/sessions/*", "/v1/sessions/*/archive", "/v1/sessions/*/resources/**", "/v1/sessions/*/threads/*/archive",
        "/v1/deployments/*", "/v1/deployments/*/archive", "/v1/deployments/*/pause",
        "/v1/dreams/*/archive", "/v1/dreams/*/cancel",
    ),
    refused={
        "/v1/complete": "call messages.create(…), which is guarded",
        "/v1/sessions": INSTEAD,
        "/v1/sessions/*/events": INSTEAD,
        "/v1/deployments": INSTEAD,
        "/v1/deployments/*/run": INSTEAD,
        "/v1/deployments/*/unpause": INSTEAD,
        "/v1/dreams": INSTEAD,
    },
)  # fmt: skip
