"""Answers, a file per noun: the described type of an answer beside the function that builds it.

The OpenAPI document is made from the types. Builders return plain dictionaries, which mypy checks against the types:
to build a model would take longer than a hot verb takes to be decided.
"""
