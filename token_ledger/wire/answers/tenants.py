"""Answers about tenants: their calendar, duplicates, stop and identity providers."""

from typing import Annotated

from typing_extensions import TypedDict

from token_ledger.core.model.tenant import TenantId
from token_ledger.storage.identity_providers import IdentityProvider
from token_ledger.storage.reads.calendar import CalendarChange
from token_ledger.storage.tenants import TenantRow
from token_ledger.wire.fields import InstantText, answer, doc, example_of, instant, optional_instant

Zone = Annotated[str, doc("Time zone that windows follow.", "Europe/Berlin")]
WeekStart = Annotated[int, doc("First day of a week: 0 is Monday, 6 is Sunday.", 0)]
FiscalMonth = Annotated[int, doc("First month of a year: 1 is January.", 1)]
Stopped = Annotated[
    str | None, doc("Why every call is stopped; null if calls may go on.", "runaway agent in team core")
]


@answer
class NewTenantAnswer(TypedDict):
    """A new tenant with its first admin key."""

    tenant_id: Annotated[str, doc("The tenant.", "1")]
    name: Annotated[str, doc("Its name.", "acme")]
    time_zone: Zone
    admin_key: Annotated[str, doc("Its first admin key. It is shown only now.", "tl_live_1kQ8vR2mZx0a_7hY…")]


def new_tenant_answer(tenant: TenantId, name: str, time_zone: str, admin_key: str) -> NewTenantAnswer:
    """Return a new tenant with its first admin key."""
    return {"tenant_id": str(tenant), "name": name, "time_zone": time_zone, "admin_key": admin_key}


@answer
class TenantAnswer(TypedDict):
    """A tenant, with the calendar it began with."""

    tenant_id: Annotated[str, doc("The tenant.", "1")]
    name: Annotated[str, doc("Its name.", "acme")]
    time_zone: Zone
    created_at: Annotated[InstantText, doc("When it was made.", "2026-11-21T09:30:00+00:00")]
    week_start: WeekStart
    fiscal_month: FiscalMonth
    stopped: Stopped


@answer
class TenantList(TypedDict):
    """Tenants."""

    tenants: Annotated[list[TenantAnswer], doc("Tenants, in the order they were made.", [example_of(TenantAnswer)])]


def tenant_answer(tenant: TenantRow, stopped: str | None) -> TenantAnswer:
    """Return a tenant and the reason of its stop, if it is stopped."""
    return {
        "tenant_id": str(tenant.tenant_id),
        "name": tenant.name,
        "time_zone": tenant.time_zone,
        "created_at": instant(tenant.created_at),
        "week_start": tenant.week_start,
        "fiscal_month": tenant.fiscal_month,
        "stopped": stopped,
    }


@answer
class StopState(TypedDict):
    """Whether every call of the tenant is stopped."""

    stopped: Stopped


@answer
class DuplicatesState(TypedDict):
    """Whether the reports of one response of a provider are one call."""

    found: Annotated[
        bool, doc("True: a later report of a response books nothing. False: each is booked as a call.", True)
    ]


@answer
class CalendarRuleAnswer(TypedDict):
    """A rule of the calendar, from an instant on."""

    effective_from: Annotated[
        InstantText | None,
        doc("From when on; null for the rule that the tenant began with.", "2027-01-01T00:00:00+00:00"),
    ]
    time_zone: Zone
    week_start: WeekStart
    fiscal_month: FiscalMonth


@answer
class CalendarAnswer(TypedDict):
    """The tenant's calendar."""

    calendar: Annotated[
        list[CalendarRuleAnswer],
        doc(
            "The rule that it began with, then every change, planned ones too.",
            [{"effective_from": None, "time_zone": "Europe/Berlin", "week_start": 0, "fiscal_month": 1}],
        ),
    ]


def calendar_rule_answer(change: CalendarChange) -> CalendarRuleAnswer:
    """Return a rule of the calendar."""
    return {
        "effective_from": optional_instant(change.effective_from),
        "time_zone": change.time_zone,
        "week_start": change.week_start,
        "fiscal_month": change.fiscal_month,
    }


@answer
class IdentityProviderAnswer(TypedDict):
    """An identity provider whose tokens are accepted for a tenant."""

    provider_id: Annotated[str, doc("The provider.", "5")]
    issuer: Annotated[str, doc("The `iss` claim of its tokens.", "https://id.acme.example")]
    audience: Annotated[str, doc("The `aud` claim of its tokens.", "token-ledger")]
    jwks_url: Annotated[
        str | None, doc("Where its public keys are; null: as discovered.", "https://id.acme.example/keys")
    ]
    user_claim: Annotated[str, doc("The claim that names the person.", "email")]
    role_claim: Annotated[str | None, doc("The claim whose values `roles` maps.", "groups")]
    roles: Annotated[dict[str, str], doc("Role for each value of `role_claim`.", {"ledger-admins": "admin"})]
    default_role: Annotated[str | None, doc("Role of people whom `roles` gives none; null: none.", "user")]


@answer
class IdentityProviderList(TypedDict):
    """Identity providers of a tenant."""

    identity_providers: Annotated[
        list[IdentityProviderAnswer], doc("Identity providers, oldest first.", [example_of(IdentityProviderAnswer)])
    ]


@answer
class RemovedIdentityProvider(TypedDict):
    """An identity provider that was removed."""

    provider_id: Annotated[str, doc("The provider.", "5")]


def identity_provider_answer(provider_id: int, provider: IdentityProvider) -> IdentityProviderAnswer:
    """Return an identity provider."""
    return {
        "provider_id": str(provider_id),
        "issuer": provider.issuer,
        "audience": provider.audience,
        "jwks_url": provider.jwks_url,
        "user_claim": provider.user_claim,
        "role_claim": provider.role_claim,
        "roles": dict(provider.roles),
        "default_role": provider.default_role,
    }
