"""Loads the rows that one batch decides on."""
