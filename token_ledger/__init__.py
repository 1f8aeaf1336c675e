"""Token Ledger: budgets, holds and exact cost for the LLM calls of many agents, users and tenants."""

__version__ = "0.1.0"
