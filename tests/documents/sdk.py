"""Writes the reference of the SDK from its exports and their docstrings."""

import inspect
import re

import token_ledger_sdk
from token_ledger_sdk import Hold, LeasedCall, Leases, Run, TokenLedger, errors

from tests.documents.markdown import summary, table

CLIENTS = (TokenLedger, Run, Hold, Leases, LeasedCall)
_UNPACKED = re.compile(r"Unpack\[(\w+)\]")


def clients() -> str:
    """Return what the client and what it makes can do: a section a class, a row a method."""
    return "\n\n".join(_client(client) for client in CLIENTS)


def _client(client: type) -> str:
    rows = [
        (_called(name, member), summary(member))
        for name, member in _members(client).items()
        if not name.startswith("_") and summary(member)
    ]
    return f"## {client.__name__}\n\n{summary(client)}\n\n{table(('member', 'does'), rows)}"


def _members(client: type) -> dict[str, object]:
    """Return what a class defines or takes from its bases of the same package."""
    bases = [base for base in reversed(client.__mro__) if base.__module__.startswith(token_ledger_sdk.__name__)]
    return {name: member for base in bases for name, member in vars(base).items()}


def _called(name: str, member: object) -> str:
    if not inspect.isfunction(member):
        return f"`{name}`"
    signature = inspect.signature(member)
    kept = [parameter for key, parameter in signature.parameters.items() if key != "self"]
    text = str(signature.replace(parameters=kept, return_annotation=inspect.Signature.empty)).replace("'", "")
    return f"`{name}{_UNPACKED.sub(lambda found: found[1], text)}`"


def values() -> str:
    """Return the values that go in and come out."""
    names = [
        name
        for name in token_ledger_sdk.__all__
        if inspect.isclass(found := getattr(token_ledger_sdk, name))
        and not issubclass(found, BaseException)
        and not name.startswith("Async")
        and found not in CLIENTS
    ]
    return table(("name", "what it is"), [(f"`{name}`", summary(getattr(token_ledger_sdk, name))) for name in names])


def functions() -> str:
    """Return the functions that read what providers answer."""
    found = [getattr(token_ledger_sdk, name) for name in token_ledger_sdk.__all__]
    rows = [(_called(each.__name__, each), summary(each)) for each in found if inspect.isfunction(each)]
    return table(("function", "does"), rows)


def error_tree() -> str:
    """Return the tree of errors as their module draws it."""
    lines = (errors.__doc__ or "").splitlines()
    return "\n".join(line for line in lines if re.match(r"^    (LedgerError|[├└│ ])", line))
