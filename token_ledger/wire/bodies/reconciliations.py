"""The body of a reconciliation."""

from typing import Annotated, Literal

from pydantic import Field, StrictBool

from token_ledger.wire.bodies.imports import FileBody
from token_ledger.wire.fields import Body, Name, Words, doc, like

BillKind = Literal["openai", "anthropic", "aws", "csv"]

A_BILL = {
    "name": "bill.csv",
    "content": "date,provider,model,amount,input_tokens,output_tokens\n2026-11-02,openai,gpt-5.4,4.75,1500000,100000\n",
}
A_RECONCILIATION = {"kind": "csv", "files": [A_BILL]}


class ReconciliationBody(Body):
    """A provider's bill to compare with the ledger."""

    model_config = like(A_RECONCILIATION)

    kind: Annotated[BillKind, doc("Whose export the files are.", "csv")]
    files: Annotated[
        tuple[FileBody, ...], Field(min_length=1, max_length=64), doc("All files of the bill, as text.", [A_BILL])
    ]
    provider: Annotated[Name | None, doc("For csv: the provider of rows that name none.", "openai")] = None
    project_tag: Annotated[
        Name | None,
        doc("The tag of calls that has the provider's id of the project; without one no projects are compared.", "app"),
    ] = None
    by_cost_center: Annotated[
        StrictBool, doc("Whether the cost center is the provider's project, in place of a tag.", False)
    ] = False
    reason: Annotated[
        Name | None,
        doc("Book the difference, and why; it needs an `idempotency_key`. Without, nothing is.", "bill of November"),
    ] = None
    idempotency_key: Annotated[
        Words | None, doc("Under which the difference is booked, once; none without a `reason`.", "bill-2026-11")
    ] = None
