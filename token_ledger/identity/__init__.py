"""Who is asking: API keys, short-lived tokens, and people with a token of their identity provider."""
