"""The answer to a token's holder: their own balances and runs."""

from collections.abc import Iterable
from typing import Annotated

from typing_extensions import TypedDict

from token_ledger.core.model.account import Account
from token_ledger.core.model.principal import Principal
from token_ledger.wire.answers.accounts import AccountAnswer, account_answer
from token_ledger.wire.answers.runs import RunAnswer
from token_ledger.wire.fields import answer, doc, example_of, optional_id


@answer
class OwnAnswer(TypedDict):
    """What belongs to the holder of a token."""

    user: Annotated[str | None, doc("The user that the token is for.", "ada")]
    run_id: Annotated[str | None, doc("The run that the token is for.", None)]
    accounts: Annotated[
        list[AccountAnswer], doc("The user's own open accounts; none for a run's token.", [example_of(AccountAnswer)])
    ]
    runs: Annotated[
        list[RunAnswer], doc("The user's open runs, or the token's run, with balances.", [example_of(RunAnswer)])
    ]


def own_answer(owner: Principal, accounts: Iterable[Account], runs: list[RunAnswer]) -> OwnAnswer:
    """Return what belongs to the holder of a token."""
    return {
        "user": owner.user,
        "run_id": optional_id(owner.run_id),
        "accounts": [account_answer(account) for account in accounts],
        "runs": runs,
    }
