"""Nouns of the ledger: values and what follows from them alone."""
