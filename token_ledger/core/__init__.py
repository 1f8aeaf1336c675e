"""Decides: pure functions on values. No I/O, no clock, no async; the standard library only.

Time, ids and the rows to decide on come in as arguments; outcomes and the rows to write come out.
"""
