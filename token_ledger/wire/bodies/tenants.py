"""Bodies of tenants: making one, its calendar, its duplicates, its emergency stop, its identity providers."""

from typing import Annotated, Literal

from pydantic import Field, StrictBool, StrictInt

from token_ledger.wire.fields import Body, IdempotencyKey, Instant, Name, Words, doc

_ZONE = "IANA time zone that the tenant's windows follow."


class TenantBody(Body):
    """Make a tenant."""

    name: Annotated[Name, doc("Name of the tenant, unique in the service.", "acme")]
    time_zone: Annotated[Words, doc(_ZONE, "Europe/Berlin")] = "UTC"


class CalendarBody(Body):
    """Change the tenant's calendar. Windows that are open keep their ends."""

    idempotency_key: IdempotencyKey
    time_zone: Annotated[Words, doc(_ZONE, "Europe/Berlin")]
    week_start: Annotated[StrictInt, Field(ge=0, le=6), doc("First day of a week: 0 is Monday, 6 is Sunday.", 0)] = 0
    fiscal_month: Annotated[StrictInt, Field(ge=1, le=12), doc("First month of a year: 1 is January.", 4)] = 1
    effective_from: Annotated[
        Instant | None,
        doc(
            "From when on, at least 5 minutes and at most two years ahead; by default, in 5 minutes. "
            "Changes that are planned for this instant or later are replaced.",
            "2027-01-01T00:00:00Z",
        ),
    ] = None


class DuplicatesBody(Body):
    """Say whether the reports of one response of a provider are one call."""

    idempotency_key: IdempotencyKey
    found: Annotated[
        StrictBool,
        doc("True: one call, and a later report books nothing. False: each report is booked as a call.", False),
    ]


class KeyBody(Body):
    """A request that has nothing to say but its key."""

    idempotency_key: IdempotencyKey


class StopBody(Body):
    """Stop every call of the tenant."""

    idempotency_key: IdempotencyKey
    reason: Annotated[
        Words, doc("Why; callers are told, and it is kept in the audit log.", "runaway agent in team core")
    ]


PeoplesRole = Literal["admin", "finance", "agent", "user"]


class IdentityProviderBody(Body):
    """Accept the tokens of an identity provider (OpenID Connect) for a tenant."""

    issuer: Annotated[Words, doc("The `iss` claim of its tokens, an HTTPS address.", "https://id.acme.example")]
    audience: Annotated[Words, doc("The `aud` claim of its tokens. It stands for this tenant alone.", "token-ledger")]
    jwks_url: Annotated[
        Words | None,
        doc(
            "Where its public keys are; by default, where its discovery document says.", "https://id.acme.example/keys"
        ),
    ] = None
    user_claim: Annotated[Words, doc("The claim that names the person.", "email")] = "sub"
    role_claim: Annotated[Words | None, doc("The claim whose values `roles` maps.", "groups")] = None
    roles: Annotated[
        dict[Words, PeoplesRole],
        Field(max_length=64),
        doc("Role for each value of `role_claim`. Of several the most powerful counts.", {"ledger-admins": "admin"}),
    ] = Field(default_factory=dict)
    default_role: Annotated[
        PeoplesRole | None, doc("Role of people whom `roles` gives none; without it they are refused.", "user")
    ] = None
