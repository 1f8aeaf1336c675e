"""Writes what one batch changes."""
