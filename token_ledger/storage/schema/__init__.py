"""The tables: one description a table, from which statements take their columns."""
