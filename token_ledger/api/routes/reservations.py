"""Routes of reservations."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request

from token_ledger.api.access import Admin, Reader, actor_of
from token_ledger.api.caller_operations import CallerOperation
from token_ledger.api.parameters import After, PageSize, ReservationId
from token_ledger.api.service import decide, reading
from token_ledger.core.batch.outcomes import Code, Extended, Granted, Released, Settled
from token_ledger.storage.reads.reservations import find_reservation, find_reservations
from token_ledger.wire.answers import reservations as answers
from token_ledger.wire.bodies import reservations as bodies
from token_ledger.wire.commands import reservations as commands
from token_ledger.wire.fields import Id, Name
from token_ledger.wire.problems import not_found

router = APIRouter(prefix="/v1", tags=["reservations"])

RESERVE = CallerOperation(
    op="reserve",
    path="/v1/reservations",
    status=201,
    body=bodies.ReservationBody,
    command=commands.reserve_command,
    outcome=Granted,
    answer=answers.granted_answer,
    answer_type=answers.ReservationAnswer,
    summary="Reserve what a call may use",
    description=(
        "Ask before every call. 201 sets the call's worst case aside on every account that it falls on, and says which "
        "model to call with which output limit. 402 means that the call must not be made: it names the accounts that "
        "have too little left and the largest `max_output_tokens` that would fit. Settle or release the hold after the "
        "call; otherwise it expires after `ttl_seconds`."
    ),
)
SETTLE = CallerOperation(
    op="settle",
    path="/v1/reservations/{reservation_id}/settle",
    status=200,
    body=bodies.SettlementBody,
    command=commands.settle_command,
    outcome=Settled,
    answer=answers.settlement_answer,
    answer_type=answers.SettlementAnswer,
    summary="Settle a reservation with what its call used",
    description=(
        "Books the call and gives back what is left of its hold. Usage is always booked, also above the hold "
        "(`overrun`) and after its expiry (`late`). With `part`, one call of a lease or one piece of a stream is "
        "booked and the hold stays open."
    ),
    named="reservation_id",
)
EXTEND = CallerOperation(
    op="extend",
    path="/v1/reservations/{reservation_id}/extend",
    status=200,
    body=bodies.ExtensionBody,
    command=commands.extend_command,
    outcome=Extended,
    answer=answers.extended_answer,
    answer_type=answers.ReservationAnswer,
    summary="Let a hold expire later",
    description=(
        "Moves the expiry to `ttl_seconds` from now, if that is later. `directive.stop` says whether the run or the "
        "tenant has been stopped in the meantime."
    ),
    named="reservation_id",
)
RELEASE = CallerOperation(
    op="release",
    path="/v1/reservations/{reservation_id}/release",
    status=200,
    body=bodies.ReleaseBody,
    command=commands.release_command,
    outcome=Released,
    answer=answers.released_answer,
    answer_type=answers.ReservationAnswer,
    summary="Release a reservation whose call was not made",
    description=(
        "Gives the hold back. Release only if the call surely was not made; if you do not know, let the hold expire, "
        "because a released hold cannot be settled."
    ),
    named="reservation_id",
)


@router.get("/reservations")
async def list_reservations(
    request: Request,
    reader: Reader,
    state: Annotated[
        Literal["held", "settled", "released", "expired"],
        Query(description="Return holds in this state.", examples=["held"]),
    ] = "held",
    lease: Annotated[
        bool | None, Query(description="True returns leases only, false all but leases.", examples=[False])
    ] = None,
    run_id: Annotated[Id | None, Query(description="Return holds of this run.", examples=["68288512"])] = None,
    user: Annotated[Name | None, Query(description="Return holds of this user.", examples=["ada"])] = None,
    agent_type: Annotated[
        Name | None, Query(description="Return holds of this kind of agent.", examples=["data_agent"])
    ] = None,
    older_than_seconds: Annotated[
        int, Query(ge=0, le=10**9, description="Return holds that are at least this old, in seconds.", examples=[600])
    ] = 0,
    after: After = "0",
    limit: PageSize = 200,
) -> answers.ReservationList:
    """List holds.

    Oldest first. Without parameters, those that are open.
    """
    async with reading(request, reader.tenant) as connection:
        found = await find_reservations(
            connection, reader.tenant, state=state, lease=lease, run_id=None if run_id is None else int(run_id),
            user=user, agent_type=agent_type, older_than_seconds=older_than_seconds, after=int(after), limit=limit,
        )  # fmt: skip
    return {"reservations": [answers.reservation_answer(each) for each in found]}


@router.get("/reservations/{reservation_id}")
async def get_reservation(request: Request, reader: Reader, reservation_id: ReservationId) -> answers.ReservationAnswer:
    """Show a reservation.

    It shows where the hold stands now, and what its caller was told.
    """
    async with reading(request, reader.tenant) as connection:
        reservation = await find_reservation(connection, reader.tenant, reservation_id)
    if reservation is None:
        detail = f"there is no reservation {reservation_id}"
        raise not_found("reservation_id", detail, Code.RESERVATION_NOT_FOUND)
    return answers.reservation_answer(reservation)


@router.post("/reservations/{reservation_id}/force-release")
async def force_release(
    request: Request, admin: Admin, reservation_id: ReservationId, body: bodies.ForceReleaseBody
) -> answers.ReservationAnswer:
    """End the hold of a client that is believed dead.

    The hold expires now. If its client reports a call later, that call is still booked, as a late one.
    """
    command = commands.force_release_command(body, reservation_id, actor_of(admin))
    return answers.released_answer(await decide(request, admin.tenant, Released, command))
