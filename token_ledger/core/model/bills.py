"""Owns how events are marked that reconciliations with bills of providers book."""

from typing import Final

ADJUSTS: Final = "reconciliation"
"""Agent type, user, tool and source of what reconciliations book."""
BILL_TAG, ITEM_TAG = "bill", "item"
"""The tags of what they book: whose bill it is, and the item of it that is no model."""
