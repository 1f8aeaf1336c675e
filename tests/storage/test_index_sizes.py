"""Every index takes the longest values that can come: PostgreSQL refuses a row with an entry that is too long."""

from sqlalchemy import Index, PrimaryKeyConstraint, Text, UniqueConstraint

from token_ledger.core.batch.commands import event_key_source
from token_ledger.core.model.name import MOST_BYTES
from token_ledger.core.model.selector import LONGEST_SUBJECT_BYTES
from token_ledger.storage.schema import all_tables
from token_ledger.storage.schema.columns import metadata

LONGEST_ENTRY = 2_704
"""Bytes of an entry of a B-tree, on pages of 8 kB."""
WORDS = 4 * 200
"""Text that is no name has at most 200 characters."""
LONGEST = {
    "source": len(event_key_source("")) + WORDS,
    "key": WORDS,
    "external_id": WORDS,
    "issuer": WORDS,
    "audience": WORDS,
    "subject": LONGEST_SUBJECT_BYTES,
}
"""Every other text in an index is a name, or one of ours and shorter than one."""


def test_the_longest_values_fit_every_index() -> None:
    assert all_tables
    looked = 0
    for table in metadata.sorted_tables:
        keys = [each for each in table.constraints if isinstance(each, PrimaryKeyConstraint | UniqueConstraint)]
        for index in (*keys, *(each for each in table.indexes if isinstance(each, Index))):
            texts = [column.name for column in index.columns if isinstance(column.type, Text)]
            # A text has 4 bytes for its length, any other value at most 8; each may be aligned to 8 bytes.
            size = sum(16 + LONGEST.get(column, MOST_BYTES) for column in texts) + 8 * len(index.columns) + 16
            assert size <= LONGEST_ENTRY, f"{table.name}: {texts} may have {size} bytes"
            looked += bool(texts)
    assert looked > 15
