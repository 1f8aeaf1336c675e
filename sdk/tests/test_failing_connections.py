"""What failed connections of real HTTP libraries prove: whether a request may have reached a provider."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import botocore.awsrequest
import botocore.httpsession
import httpx
import httpx2
import pytest
import requests
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from token_ledger_sdk.failures import Failure, failure_of

TRUSTING = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
TRUSTING.check_hostname = False
TRUSTING.verify_mode = ssl.CERT_NONE


def by_http_client(url: str) -> object:
    to = urlsplit(url)
    if to.scheme == "https":
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(to.netloc, context=TRUSTING)
    else:
        connection = http.client.HTTPConnection(to.netloc)
    with closing(connection):
        connection.request("POST", "/", body=b"{}")
        return connection.getresponse().read()


def by_botocore(url: str) -> object:
    request = botocore.awsrequest.AWSRequest("POST", url, data=b"{}").prepare()
    return botocore.httpsession.URLLib3Session(verify=False).send(request).content


async def by_httpx2_awaited(url: str) -> object:
    async with httpx2.AsyncClient(verify=TRUSTING) as client:
        return await client.post(url, content=b"{}")


async def by_httpx_awaited(url: str) -> object:
    async with httpx.AsyncClient(verify=TRUSTING) as client:
        return await client.post(url, content=b"{}")


LIBRARIES: dict[str, Callable[[str], Any]] = {
    "httpx2": lambda url: httpx2.post(url, content=b"{}", verify=TRUSTING),
    "httpx2, awaited": by_httpx2_awaited,
    "httpx": lambda url: httpx.post(url, content=b"{}", verify=TRUSTING),
    "httpx, awaited": by_httpx_awaited,
    "requests": lambda url: requests.post(url, data=b"{}", verify=False),
    "urllib3": lambda url: urllib3.PoolManager(ssl_context=TRUSTING, retries=False).request("POST", url, body=b"{}"),
    "urllib3, tried again": lambda url: urllib3.PoolManager(ssl_context=TRUSTING, retries=1).urlopen(
        "POST", url, body=b"{}", retries=urllib3.Retry(1, allowed_methods=None, backoff_factor=0)
    ),
    "urllib": lambda url: urllib.request.urlopen(url, data=b"{}", context=TRUSTING),
    "http.client": by_http_client,
    "botocore": by_botocore,
}


@contextmanager
def answering(handle: Callable[[socket.socket], None]) -> Iterator[str]:
    """Accept connections on a local port, and give each to a function; yields the address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection = server.accept()[0]
                    with connection, suppress(OSError):
                        handle(connection)

        threading.Thread(target=serve, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> Callable[[str], Any]:
    return LIBRARIES[request.param]


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> ssl.SSLContext:
    """What a server needs that nobody has to trust."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    now = datetime.now(UTC)
    built = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    certificate = built.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=True).sign(
        key, hashes.SHA256()
    )
    file: Path = tmp_path_factory.mktemp("tls") / "pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context


async def failure(library: Callable[[str], Any], url: str) -> Failure:
    try:
        made = library(url)
        if hasattr(made, "__await__"):
            await made
    except Exception as error:
        return failure_of(error)
    raise AssertionError("it did not fail")


pytestmark = pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")


async def test_a_refused_connection_costs_nothing(library: Callable[[str], Any]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        found = await failure(library, f"http://127.0.0.1:{taken.getsockname()[1]}/")
    assert (found.kind, found.free is not None) == ("no_connection", True)


async def test_an_unknown_host_costs_nothing(library: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert (await failure(library, "http://nobody.example/")).kind == "no_connection"


async def test_a_handshake_that_fails_costs_nothing(library: Callable[[str], Any]) -> None:
    def no_tls(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with answering(no_tls) as address:
        assert (await failure(library, f"https://{address}/")).kind == "no_connection"


async def test_a_connection_that_breaks_after_the_request_may_cost_something(library: Callable[[str], Any]) -> None:
    with answering(lambda connection: bool(connection.recv(65_536)) and None) as address:
        assert (await failure(library, f"http://{address}/")).free is None


async def test_tls_that_breaks_after_the_request_may_cost_something(
    library: Callable[[str], Any], tls: ssl.SSLContext
) -> None:
    def garble(connection: socket.socket) -> None:
        with tls.wrap_socket(connection, server_side=True) as secured:
            secured.recv(65_536)
            os.write(secured.fileno(), b"this is no record of TLS" * 9)
            secured.recv(1)  # until the client goes away

    with answering(garble) as address:
        assert (await failure(library, f"https://{address}/")).free is None


async def test_a_request_that_can_not_be_written_costs_nothing() -> None:
    with answering(lambda connection: connection.close()) as address:
        for send in (httpx2.post, httpx.post):
            made: Any = send
            with pytest.raises(Exception, match="Illegal header value") as raised:
                made(f"http://{address}/", headers={"Authorization": "Bearer key\n"})
            assert failure_of(raised.value).free is not None
