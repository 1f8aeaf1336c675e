"""Reads: reports on what was spent, refused and advised, and the proof that the books add up."""
