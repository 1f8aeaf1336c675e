"""The number of operations in a batch is the same whether a process reads it from its settings or not."""

from token_ledger.config import Settings
from token_ledger.ledger.group_commit import BATCH_OPERATIONS


def test_the_setting_and_the_ledger_have_the_same_default() -> None:
    assert Settings.model_fields["batch_operations"].default == BATCH_OPERATIONS
