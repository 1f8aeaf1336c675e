"""Owns transfers: what is on an account goes to another one, because its model got another name in the books.

What comes to an account afterwards stays there. So a decision on an earlier hold or event follows the transfers that
were made since that was put on the account.
"""

from collections.abc import Mapping, Sequence

from token_ledger.core.model.frozen import value


@value
class Transfer:
    """All that an account had settled and held, in the order of the units, when it went to another account."""

    transfer_id: int
    from_account: int
    to_account: int
    settled: tuple[int, int, int]
    held: tuple[int, int, int]


Transfers = Mapping[int, Sequence[Transfer]]
"""Transfers by the account that they are from, ascending."""


def place_of(account_id: int, since: int, transfers: Transfers, until: int | None = None) -> int:
    """Return the account that has what a decision (`since`) put on an account: now, or just before another decision."""
    for transfer in transfers.get(account_id, ()):
        if transfer.transfer_id > since:
            if until is not None and transfer.transfer_id > until:
                break
            return place_of(transfer.to_account, transfer.transfer_id, transfers, until)
    return account_id
