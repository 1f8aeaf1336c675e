"""Parameters that many routes share: ids in the path, how lists are paged; and which of a query a route knows."""

import json
from collections import Counter
from collections.abc import Collection, Iterator
from typing import Annotated, get_args, get_origin

from fastapi import Path, Query
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BeforeValidator, PlainValidator, TypeAdapter, ValidationError, WithJsonSchema
from starlette.requests import Request

from token_ledger.core.model.subject import Subject
from token_ledger.wire.bodies.budgets import SubjectBody
from token_ledger.wire.fields import Id, InstantOrDate, Name
from token_ledger.wire.problems import fields_problem, not_found
from token_ledger.wire.validation_errors import message_of


def parse_id(text: str, name: str) -> int:
    """Return an id from the path. Text that is no id names nothing, so it is 404 like an id that does not exist."""
    if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) < 2**63):
        raise not_found(name, f"{text!r} is no {name}; ids are digits")
    return int(text)


def _parser(name: str) -> BeforeValidator:
    return BeforeValidator(lambda text: parse_id(text, name))


def _digits(example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "examples": [example]})


RunId = Annotated[int, _parser("run_id"), _digits("68288512"), Path(description="The run.")]
ReservationId = Annotated[
    int, _parser("reservation_id"), _digits("68354048"), Path(description="The reservation or lease.")
]
BudgetId = Annotated[int, _parser("budget_id"), _digits("3"), Path(description="The budget.")]
AccountId = Annotated[int, _parser("account_id"), _digits("68288513"), Path(description="The account.")]
IncreaseId = Annotated[int, _parser("increase_id"), _digits("68812800"), Path(description="The increase.")]
QuarantineId = Annotated[
    int, _parser("quarantine_id"), _digits("68550656"), Path(description="The item in quarantine.")
]
TenantNumber = Annotated[int, _parser("tenant_id"), _digits("1"), Path(description="The tenant.")]
ProviderId = Annotated[int, _parser("provider_id"), _digits("5"), Path(description="The identity provider.")]
KeyId = Annotated[str, Path(description="Id of the API key.", examples=["1kQ8vR2mZx0a"])]
ProviderPath = Annotated[Name, Path(description="The provider.", examples=["openai"])]
ModelPath = Annotated[Name, Path(description="The model, or a pattern of names with `*`.", examples=["gpt-5.4"])]
UserName = Annotated[Name, Path(description="The user's name.", examples=["ada"])]


def _subject(text: str) -> Subject:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):  # the latter of thousands of levels
        values = None
    if not isinstance(values, dict):
        raise ValueError('write a JSON object, such as {"user":"ada"}')
    try:
        return Subject(_subject_values.validate_python(values))
    except ValidationError as error:
        raise ValueError(f"{message_of(error.errors()[0])}; write a JSON object of names") from None


_subject_values = TypeAdapter[dict[str, str]](SubjectBody)
SubjectText = Annotated[
    Subject, PlainValidator(_subject), WithJsonSchema({"type": "string", "contentMediaType": "application/json"})
]
"""The values that an account stands for, as a JSON object."""

After = Annotated[Id, Query(description="Return items after the one with this id.", examples=["68288512"])]
OlderThan = Annotated[
    Id | None, Query(description="Return items that are older than the one with this id.", examples=["68288512"])
]
PageSize = Annotated[int, Query(ge=1, le=1000, description="Return at most this many items.", examples=[200])]
RunPageSize = Annotated[int, Query(ge=1, le=500, description="Return at most this many runs.", examples=[100])]
_DAY = "A date is the start of that day in the tenant's calendar."
From = Annotated[
    InstantOrDate | None,
    Query(
        alias="from", description=f"Start of the span, included; by default 31 days before its end. {_DAY}",
        examples=["2026-11-01", "2026-11-01T09:30:00Z"],
    ),
]  # fmt: skip
To = Annotated[
    InstantOrDate | None,
    Query(
        alias="to", description=f"End of the span, excluded; by default now. {_DAY}",
        examples=["2026-12-01", "2026-12-01T09:30:00Z"],
    ),
]  # fmt: skip


def check_parameters(request: Request, known: Collection[str], repeatable: Collection[str] = ()) -> None:
    """Raise 422 if a request has a query parameter that its route does not know, or repeats one that it may not."""
    if not request.scope["query_string"]:
        return
    counts = Counter(name for name, _ in request.query_params.multi_items())
    takes = f"it takes {', '.join(sorted(known))}" if known else "it takes none"
    errors = [((name,), f"this route has no such parameter; {takes}") for name in counts if name not in known]
    errors += [
        ((name,), "this parameter is given more than once; give it once")
        for name in counts
        if counts[name] > 1 and name not in repeatable
    ]
    if errors:
        raise fields_problem(errors)


async def check_known_parameters(request: Request) -> None:
    """Raise 422 if a request of a FastAPI route has a query parameter that the route does not know, or one twice."""
    route: APIRoute = request.scope["route"]
    known = dict(_query_parameters(route.dependant))
    check_parameters(request, known.keys(), [name for name, is_list in known.items() if is_list])


def _query_parameters(dependant: Dependant) -> Iterator[tuple[str, bool]]:
    """Yield the query parameters of a route, each with whether it may be repeated."""
    for parameter in dependant.query_params:
        annotation = parameter.field_info.annotation
        yield parameter.alias, any(get_origin(each) is list for each in (annotation, *get_args(annotation)))
    for each in dependant.dependencies:
        yield from _query_parameters(each)
