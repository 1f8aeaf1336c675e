"""The requests of OpenAI's API that a wrapped client does not guard: which are free, and what of the others."""

from __future__ import annotations

from .unguarded import INSTEAD, LATER, SESSION, UnguardedRequests

UNGUARDED = UnguardedRequests(
    free=(
        "/moderations", "/responses/input_tokens", "/responses/*/cancel", "/chat/completions/*",
        "/conversations/**", "/files", "/uploads/**", "/vector_stores/**", "/content_provenance_checks",
        "/containers/*/files", "/skills/**", "/audio/voices", "/audio/voice_consents/**",
        "/organization/**", "/projects/**", "/webhook_endpoints/**", "/vaults/**",
        "/batches/*/cancel", "/fine_tuning/jobs/*/cancel", "/fine_tuning/jobs/*/pause",
        "/fine_tuning/checkpoints/*/permissions", "/fine_tuning/alpha/graders/validate",
        "/evals", "/evals/*", "/evals/*/runs/*/cancel",
        "/assistants", "/assistants/*", "/threads", "/threads/*", "/threads/*/messages", "/threads/*/messages/*",
        "/threads/*/runs/*", "/threads/*/runs/*/cancel",
        "/agents", "/agents/*", "/agents/automations/*", "/agents/automations/*/pause", "/agents/environments/*/files",
        "/agents/environments/templates", "/agents/environments/templates/*", "/agents/sessions/*",
        "/chatkit/sessions/*/cancel",
        "/realtime/calls/*/hangup", "/realtime/calls/*/refer", "/realtime/calls/*/reject",
        "/live/sessions/*/hangup", "/live/sessions/*/refer", "/live/sessions/*/reject",
    ),
    refused={
        "/batches": LATER,
        "/fine_tuning/**": INSTEAD,
        "/evals/*/runs": INSTEAD,
        "/videos/**": INSTEAD,
        "/containers": INSTEAD,
        "/threads/runs": INSTEAD,
        "/threads/*/runs": INSTEAD,
        "/threads/*/runs/*/submit_tool_outputs": INSTEAD,
        "/agents/sessions": INSTEAD,
        "/agents/sessions/*/events": INSTEAD,
        "/agents/automations": INSTEAD,
        "/agents/automations/*/resume": INSTEAD,
        "/agents/automations/*/invocations": INSTEAD,
        "/agents/environments": INSTEAD,
        "/chatkit/sessions": INSTEAD,
        "/realtime/**": SESSION,
        "/live/**": SESSION,
    },
)  # fmt: skip
