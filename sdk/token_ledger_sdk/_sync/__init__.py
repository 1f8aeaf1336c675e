# Generated from _async by scripts/generate_sync.py: edit that, and run it.
"""The synchronous client."""
