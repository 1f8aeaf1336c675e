"""Decides every command of a batch, one module a subject; `decide` is the entry."""
