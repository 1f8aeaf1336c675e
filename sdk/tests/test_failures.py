"""The rule of what a failed call costs, and that whatever books one goes by it."""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
import urllib.error
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import botocore.exceptions
import httpx2
import pydantic_ai.exceptions
import pytest
import requests
import starlette.exceptions
import urllib3
from agents.exceptions import UserError

from token_ledger_sdk import InvalidRequest, Problem, TokenLedger, Unreachable
from token_ledger_sdk._sync.guarded_call import GuardedCall
from token_ledger_sdk.failures import NEVER_BILLED, Failure, failure_of, failure_with, is_misuse
from token_ledger_sdk.guard.ask import Ask
from token_ledger_sdk.guard.attempts import Attempts

from .conftest import FakeLedger


def with_status(status: int) -> httpx2.HTTPStatusError:
    return httpx2.HTTPStatusError("no", request=httpx2.Request("GET", "http://x"), response=httpx2.Response(status))


def raised_from(error: BaseException, cause: BaseException) -> BaseException:
    try:
        raise error from cause
    except BaseException as raised:
        return raised


def raised_while_handling(error: BaseException, handled: BaseException) -> BaseException:
    try:
        try:
            raise handled
        except BaseException:
            raise error  # noqa: B904
    except BaseException as raised:
        return raised


def of_a_library(name: str, code: str, *given: Any) -> BaseException:
    """Return what a function of a library raises, which is written here."""
    module: dict[str, Any] = {"__name__": name}
    exec(f"class Error(Exception):\n    status_code = 500\n\n\ndef call(*given):\n{code}", module)
    try:
        module["call"](*given)
    except BaseException as raised:
        return raised
    raise AssertionError("nothing was raised")


def fail(error: BaseException) -> None:
    raise error


TRANSLATES = """
    act, error = given
    try:
        act(error)
    except Exception:
        raise Error
"""
RAISES = """
    raise Error
"""


def raised_by_litellm_while(handled: BaseException) -> BaseException:
    """Return an error of litellm, called where the caller handles one of its own."""
    try:
        fail(handled)
    except BaseException:
        return of_a_library("litellm.main", RAISES)
    raise AssertionError("nothing was raised")


class ConnectError(Exception):
    """Of some library this package does not know."""


class ProxyConnectTimeout(httpx2.ConnectTimeout):
    """A subclass, as libraries make them."""


class ClientError(Exception):
    """Of botocore: its response is no object."""

    response = {"ResponseMetadata": {"HTTPStatusCode": 429}}


def no_connection(name: str) -> Failure:
    return Failure("no_connection", f"no connection to the provider: {name}")


def refused() -> httpx2.ConnectError:
    return httpx2.ConnectError("refused")


POOL: Any = urllib3.HTTPConnectionPool("nobody")


def refused_by_urllib3() -> urllib3.exceptions.NewConnectionError:
    return urllib3.exceptions.NewConnectionError(POOL, "refused")


def of_aiohttp(*names: str) -> BaseException:
    """Return an error of aiohttp, which need not be installed, of a class that is a subclass of the next, and so on."""
    kind: Any = Exception
    for name in reversed(names):
        kind = type(name, (kind,), {"__module__": "aiohttp.client_exceptions"})
    made: BaseException = kind()
    return made


RULE: list[tuple[BaseException, Failure]] = [
    # no connection was made
    (refused(), no_connection("ConnectError")),
    (httpx2.ConnectTimeout("x"), no_connection("ConnectTimeout")),
    (httpx2.PoolTimeout("x"), no_connection("PoolTimeout")),
    (botocore.exceptions.ProxyConnectionError(proxy_url="x"), no_connection("ProxyConnectionError")),
    (requests.ConnectionError(urllib3.exceptions.MaxRetryError(POOL, "/", refused_by_urllib3())),
     no_connection("NewConnectionError")),
    (urllib.error.URLError(socket.gaierror()), no_connection("gaierror")),
    (of_aiohttp("ClientConnectorDNSError", "ClientConnectorError", "ClientOSError"),
     no_connection("ClientConnectorDNSError")),
    (of_aiohttp("ConnectionTimeoutError", "ServerTimeoutError"), no_connection("ConnectionTimeoutError")),
    (ssl.SSLCertVerificationError("x"), no_connection("SSLCertVerificationError")),
    (ConnectError(), no_connection("ConnectError")),
    (ProxyConnectTimeout("x"), no_connection("ProxyConnectTimeout")),
    (ConnectionRefusedError(), no_connection("ConnectionRefusedError")),
    (socket.gaierror(), no_connection("gaierror")),
    # sent, perhaps
    (httpx2.ReadTimeout("x"), Failure("timeout")),
    (httpx2.WriteTimeout("x"), Failure("timeout")),
    (TimeoutError(), Failure("timeout")),
    (httpx2.RemoteProtocolError("x"), Failure("cut_connection")),
    (httpx2.ReadError("x"), Failure("cut_connection")),
    (ConnectionResetError(), Failure("cut_connection")),
    (raised_from(httpx2.ReadError("x"), ssl.SSLError("bad record")), Failure("cut_connection")),
    (requests.ConnectionError(urllib3.exceptions.ProtocolError("aborted", http.client.RemoteDisconnected())),
     Failure("cut_connection")),
    (requests.exceptions.ChunkedEncodingError("x"), Failure("cut_connection")),
    (botocore.exceptions.ConnectionClosedError(endpoint_url="x"), Failure("cut_connection")),
    (of_aiohttp("ServerDisconnectedError", "ServerConnectionError", "ClientConnectionError"),
     Failure("cut_connection")),
    (ValueError(), Failure("ValueError")),
    # the caller's own end, whatever it follows
    (asyncio.CancelledError(), Failure("cancelled")),
    (KeyboardInterrupt(), Failure("cancelled")),
    (GeneratorExit(), Failure("closed_early")),
    (SystemExit(), Failure("SystemExit")),
    (raised_from(asyncio.CancelledError(), with_status(429)), Failure("cancelled")),
    (raised_from(KeyboardInterrupt(), refused()), Failure("cancelled")),
    # a status
    (with_status(429), Failure("status_429", "the provider answered 429")),
    (with_status(502), Failure("status_502")),
    (ClientError(), Failure("status_429", "the provider answered 429")),
    (starlette.exceptions.HTTPException(422), Failure("HTTPException")),
    # of the ledger, which says nothing of the provider
    (InvalidRequest(Problem(422, "invalid_request")), Failure("InvalidRequest")),
    (raised_from(Unreachable("away"), refused()), Failure("Unreachable")),
    (raised_from(ValueError(), raised_from(Unreachable("away"), refused())), Failure("ValueError")),
    # what it was raised from
    (raised_from(ValueError(), refused()), no_connection("ConnectError")),
    (raised_from(ValueError(), httpx2.ReadTimeout("x")), Failure("timeout")),
    (raised_from(ValueError(), with_status(429)), Failure("status_429", "the provider answered 429")),
    (raised_from(with_status(502), with_status(429)), Failure("status_502")),
    (raised_from(with_status(429), httpx2.ReadTimeout("x")), Failure("timeout")),
    # what was handled meanwhile
    (raised_while_handling(ValueError(), refused()), Failure("ValueError")),
    (raised_while_handling(ValueError(), with_status(429)), Failure("ValueError")),
    (raised_while_handling(httpx2.ReadTimeout("x"), refused()), Failure("timeout")),
    (raised_while_handling(with_status(502), refused()), Failure("status_502")),
    (raised_while_handling(with_status(429), httpx2.ReadTimeout("x")), failure_with(429)),
    (raised_while_handling(refused(), httpx2.ReadTimeout("x")), no_connection("ConnectError")),
    # litellm raises without `from`
    (of_a_library("litellm.main", TRANSLATES, fail, refused()), no_connection("ConnectError")),
    (of_a_library("litellm.main", TRANSLATES, fail, httpx2.ReadTimeout("x")), Failure("timeout")),
    (of_a_library("other.main", TRANSLATES, fail, refused()), Failure("status_500")),
    (raised_by_litellm_while(refused()), Failure("status_500")),
]  # fmt: skip


@pytest.mark.parametrize(("error", "failure"), RULE)
def test_what_an_exception_proves(error: BaseException, failure: Failure) -> None:
    assert failure_of(error) == failure


@pytest.mark.parametrize("status", range(400, 600))
def test_a_status_is_free_where_it_is_on_the_list(status: int) -> None:
    free = f"the provider answered {status}" if status in NEVER_BILLED else None
    assert failure_with(status) == failure_of(with_status(status)) == Failure(f"status_{status}", free)


def test_a_chain_that_runs_in_a_circle_ends() -> None:
    one, other = ValueError(), KeyError()
    one.__cause__, other.__cause__ = other, one
    assert failure_of(one) == Failure("ValueError")


def test_what_frameworks_refuse_is_misuse() -> None:
    mine = type("UserError", (Exception,), {"__module__": "mine"})
    errors = (UserError("x"), pydantic_ai.exceptions.UserError("x"), mine())
    assert [is_misuse(error) for error in errors] == [True, True, False]


# --- whatever books a failed call ---

CALL: Any = {"agent_type": "a", "provider": "openai", "model": "gpt-5-mini", "input_tokens": 9, "max_output_tokens": 5}
Costs = Callable[[TokenLedger, FakeLedger, BaseException], str | None]


def of_a_block(ledger: TokenLedger, service: FakeLedger, error: BaseException) -> str | None:
    """Return why the hold of a block was released, None if it was booked."""
    with pytest.raises(type(error)), ledger.reserve(user="ada", **CALL):
        raise error
    return reason(service)


def of_a_function(ledger: TokenLedger, service: FakeLedger, error: BaseException) -> str | None:
    with pytest.raises(type(error)):
        ledger.guard(**CALL, user="ada")(lambda: fail(error))()
    return reason(service)


def of_a_tool(ledger: TokenLedger, service: FakeLedger, error: BaseException) -> str | None:
    tool: Any = {"tool": "search", "cost": Decimal(1), "user": "ada", "agent_type": "a"}
    with pytest.raises(type(error)):
        ledger.guard(**tool)(lambda: fail(error))()
    (event,) = service.body(-1)["events"]
    return None if "cost" in event else failure_of(error).free


def of_an_attempt(ledger: TokenLedger, service: FakeLedger, error: BaseException) -> str | None:
    attempts = Attempts()
    attempts.begin()
    attempts.fail(error)
    return attempts.release_reason


def of_a_model_of_a_framework(ledger: TokenLedger, service: FakeLedger, error: BaseException) -> str | None:
    ask = Ask(provider="openai", model="gpt-5-mini", input_tokens=9)
    call = GuardedCall(ledger.reserve(user="ada", **CALL), ask, output_limit=None)
    call.failed_unseen(error)
    call.end(error)
    return reason(service)


def reason(service: FakeLedger) -> str | None:
    path, body = service.paths()[-1], service.body(-1)
    if path.endswith("/release"):
        return str(body["reason"])
    assert body["estimated"] is True
    return None


@pytest.mark.parametrize("costs", [of_a_block, of_a_function, of_a_tool, of_a_model_of_a_framework, of_an_attempt])
@pytest.mark.parametrize(("error", "failure"), RULE)
def test_all_go_by_the_rule(
    error: BaseException, failure: Failure, costs: Costs, client: TokenLedger, service: FakeLedger
) -> None:
    assert costs(client, service, error) == failure.free
