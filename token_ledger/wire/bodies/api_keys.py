"""Bodies of API keys and short-lived tokens."""

from typing import Annotated, Literal

from pydantic import Field, StrictInt

from token_ledger.wire.fields import Body, Id, Instant, Name, Words, doc, like


class ApiKeyBody(Body):
    """Make an API key."""

    role: Annotated[
        Literal["agent", "finance", "admin"],
        doc("`agent` reserves and settles, `finance` reads, `admin` does both and sets up.", "agent"),
    ]
    name: Annotated[Words, doc("What the key is for.", "data agents in production")]
    expires_at: Annotated[Instant | None, doc("When the key ends; by default never.", "2027-11-21T00:00:00Z")] = None


class RotationBody(Body):
    """Replace an API key by a new one. The old one stays valid for `overlap_seconds`."""

    overlap_seconds: Annotated[
        StrictInt, Field(ge=0, le=604_800), doc("How long the old key stays valid, in seconds.", 86_400)
    ] = 86_400


class TokenBody(Body):
    """Make a short-lived token for one user or for one run. Give one of the two."""

    model_config = like({"user": "ada", "ttl_seconds": 900})

    user: Annotated[Name | None, doc("The user whose budgets and runs the token may see.", "ada")] = None
    run_id: Annotated[Id | None, doc("The run that the token may see and cancel.", "68288512")] = None
    ttl_seconds: Annotated[StrictInt, Field(ge=60, le=3_600), doc("How long the token is valid, in seconds.", 900)] = (
        900
    )
