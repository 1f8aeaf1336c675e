"""Runs commands: gathers them into batches, decides each batch with the core and stores it in one transaction."""
