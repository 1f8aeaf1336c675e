"""Remembers: the only writer of SQL. Loads what a batch needs, writes what it decided, answers plain reads."""
