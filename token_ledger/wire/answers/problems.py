"""The type of errors (RFC 9457)."""

from typing import Annotated, NotRequired

from typing_extensions import TypedDict

from token_ledger.wire.answers.denial_problem import DenialMembers
from token_ledger.wire.fields import answer, doc, example_of


@answer
class FieldError(TypedDict):
    """What is wrong with one field."""

    field: Annotated[str, doc("Path of the field; empty for the whole body.", "limits.tokens")]
    message: Annotated[str, doc("What is wrong with it.", "Input should be greater than or equal to 0")]


class Problem(DenialMembers):
    """An error (RFC 9457). `code` is stable; `detail` is for people. Denials (402) also say what refused."""

    type: Annotated[str, doc("A URN made of the code.", "urn:token-ledger:budget_exceeded")]
    title: Annotated[str, doc("The code in words.", "Budget exceeded")]
    status: Annotated[int, doc("The HTTP status.", 402)]
    detail: Annotated[
        str,
        doc("What is wrong and what to do.", "budget 'user day' has 3560 of 5000 tokens left, the call needs 5000"),
    ]
    code: Annotated[str, doc("Stable code of the error.", "budget_exceeded")]
    errors: NotRequired[
        Annotated[
            list[FieldError],
            doc("The fields at fault.", [example_of(FieldError)]),
        ]
    ]
    quarantine_id: NotRequired[Annotated[str, doc("Where the request is kept, if it could not be booked.", "68550656")]]
