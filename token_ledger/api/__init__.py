"""The HTTP door: parse, authenticate, call, translate. It decides nothing."""
