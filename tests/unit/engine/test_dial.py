from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.client_reqrep import ConnectionKey
from yarl import URL

from aiogateway.config.hosts import AddressPolicy
from aiogateway.engine.dial import Dialer, Place
from aiogateway.engine.gate import AddressRefused
from aiogateway.errors import ConfigError, ConnectFailed, ConnectTimeout, GatewayError, UpstreamTLS

ADDRESS = "10.20.30.40"
HOST = "inside.example"
PROXY = "http://user:canary-proxy@proxy.example:3128"
KEY = ConnectionKey(
    host=HOST, port=443, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None
)  # fmt: skip
REFUSED = ConnectionRefusedError(111, f"Connect call failed ('{ADDRESS}', 443)")
UNREACHABLE = OSError(113, f"No route to host {ADDRESS}")


class Names(AbstractResolver):
    """Every name leads to `address`; None: to nothing."""

    def __init__(self, address: str | None = "93.184.215.14") -> None:
        self.address = address
        self.asked: list[str] = []
        self.closed = 0

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        if self.address is None:
            raise OSError("NXDOMAIN")
        return [ResolveResult(hostname=host, host=self.address, port=port, family=family, proto=0, flags=0)]

    async def close(self) -> None:
        self.closed += 1


class FakeConnector:
    """Notes what it is asked to connect to, and answers with a value, an error, or silence."""

    def __init__(self, answer: object = None) -> None:
        self.answer = answer
        self.requests: list[aiohttp.ClientRequest] = []
        self.closed = 0

    async def connect(self, request: aiohttp.ClientRequest, traces: object, timeout: object) -> object:
        self.requests.append(request)
        if isinstance(self.answer, BaseException):
            raise self.answer
        if callable(self.answer):
            return await self.answer()
        return self.answer

    async def close(self) -> None:
        self.closed += 1


Make = Callable[..., Any]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Dialers whose connectors are fakes: ``(dialer, open, gated)``."""
    real: list[Any] = []

    def build(
        answer: object = None, *, address: str | None = "93.184.215.14", proxy: str | None = None, **options: Any
    ) -> tuple[Dialer, FakeConnector, FakeConnector]:
        way = SimpleNamespace(url_for=lambda host: None if host.startswith("direct.") else proxy)
        names = options.setdefault("resolver", Names(address))
        dialer = Dialer(AddressPolicy(loopback=False), proxy=cast(Any, way if proxy else None), **options)
        real.extend((dialer._open, dialer._gated))
        first, second = FakeConnector(answer), FakeConnector(answer)
        dialer._open, dialer._gated = cast(Any, first), cast(Any, second)
        assert names is dialer._inner
        return dialer, first, second

    yield build
    for connector in real:
        await connector.close()


def place(origin: str = f"https://{HOST}", *, guarded: bool = False) -> Place:
    return Place(origin, guarded=guarded)


def verification_error() -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, f"[SSL: CERTIFICATE_VERIFY_FAILED] at {ADDRESS}")
    error.verify_message = "certificate has expired"
    return error


def dns_error() -> aiohttp.ClientConnectorDNSError:
    return aiohttp.ClientConnectorDNSError(KEY, OSError(None, f"NXDOMAIN from {ADDRESS}"))


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


ERRORS: dict[str, tuple[Callable[[], Exception], type[GatewayError], str]] = {
    "refused": (lambda: aiohttp.ClientConnectorError(KEY, REFUSED), ConnectFailed, "refused the connection"),
    "refused, bare": (lambda: REFUSED, ConnectFailed, "refused the connection"),
    "unreachable": (lambda: aiohttp.ClientConnectorError(KEY, UNREACHABLE), ConnectFailed, "could not connect"),
    "unreachable, bare": (lambda: UNREACHABLE, ConnectFailed, "could not connect"),
    "reset": (lambda: aiohttp.ClientOSError(104, f"reset by {ADDRESS}"), ConnectFailed, "could not connect"),
    "no such name": (dns_error, ConnectFailed, "does not resolve"),
    "hung up": (lambda: aiohttp.ServerDisconnectedError(ADDRESS), ConnectFailed, "could not connect"),
    "bad URL": (lambda: aiohttp.InvalidURL(f"http://{ADDRESS}"), ConnectFailed, "could not connect"),
    "idna": (lambda: ValueError(f"bad host {ADDRESS}"), ConnectFailed, "could not connect"),
    "timeout": (TimeoutError, ConnectTimeout, "within 5 s"),
    "aiohttp's timeout": (lambda: aiohttp.ConnectionTimeoutError(ADDRESS), ConnectTimeout, "within 5 s"),
    "kernel's timeout": (lambda: OSError(110, ADDRESS), ConnectTimeout, "within 5 s"),  # a TimeoutError by its number
    "certificate": (
        lambda: aiohttp.ClientConnectorCertificateError(KEY, verification_error()),
        UpstreamTLS,
        "certificate verify failed: certificate has expired",
    ),
    "certificate, bare": (verification_error, UpstreamTLS, "certificate verify failed: certificate has expired"),
    "handshake": (
        lambda: aiohttp.ClientConnectorSSLError(KEY, OSError(1, f"WRONG_VERSION {ADDRESS}")),
        UpstreamTLS,
        "handshake failed",
    ),
    "handshake, bare": (lambda: ssl.SSLError(1, f"WRONG_VERSION {ADDRESS}"), UpstreamTLS, "handshake failed"),
    "no proxy": (lambda: aiohttp.ClientProxyConnectionError(KEY, REFUSED), ConnectFailed, "the HTTPS proxy"),
    "proxy says no": (
        lambda: aiohttp.ClientHttpProxyError(
            cast(Any, SimpleNamespace(real_url=URL(PROXY))), (), status=407, message=ADDRESS
        ),
        ConnectFailed,
        "the HTTPS proxy",
    ),
    "gate": (lambda: caused(aiohttp.ClientError("no"), AddressRefused()), ConfigError, "not allowed"),
    "gate, deeper": (
        lambda: aiohttp.ClientConnectorDNSError(KEY, AddressRefused()), ConfigError, "not allowed"
    ),
    "gate, bare": (AddressRefused, ConfigError, "not allowed"),
}  # fmt: skip


@pytest.mark.parametrize(("error", "kind", "says"), ERRORS.values(), ids=ERRORS)
async def test_what_goes_wrong_and_what_is_said(
    make: Make, error: Callable[[], Exception], kind: type[GatewayError], says: str
) -> None:
    dialer, _, _ = make(error())
    with pytest.raises(GatewayError) as caught:
        await dialer.dial(place(), 5)
    assert type(caught.value) is kind
    assert says in caught.value.message
    for secret in (ADDRESS, HOST, "canary", "443"):
        assert secret not in caught.value.message
    if kind is ConfigError:
        assert caught.value.path == "custom_host"  # type: ignore[attr-defined]


async def test_a_mistake_of_ours_is_not_explained_away(make: Make) -> None:
    dialer, _, _ = make(KeyError("ours"))
    with pytest.raises(KeyError):
        await dialer.dial(place(), 5)


async def test_the_deadline_is_ours(make: Make) -> None:
    dialer, _, _ = make(asyncio.Event().wait)
    with pytest.raises(ConnectTimeout, match=r"within 0\.05 s"):
        await dialer.dial(place(), 0.05)


async def test_a_caller_that_leaves_ends_the_dialling(make: Make) -> None:
    dialer, _, _ = make(asyncio.Event().wait)
    dialling = asyncio.create_task(dialer.dial(place(), 5))
    await asyncio.sleep(0)
    dialling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dialling


@pytest.mark.parametrize("guarded", [False, True])
async def test_what_requests_name_and_what_operators_name_share_no_connector(make: Make, guarded: bool) -> None:
    connection = object()
    dialer, opened, gated = make(connection)
    assert await dialer.dial(place(guarded=guarded), 5) is connection
    used, other = (gated, opened) if guarded else (opened, gated)
    assert (len(used.requests), len(other.requests)) == (1, 0)
    assert used.requests[0].url == URL(f"https://{HOST}")
    assert used.requests[0].proxy is None


async def test_each_real_connector_has_a_gate_of_its_own() -> None:
    names = Names()
    dialer = Dialer(AddressPolicy(loopback=False), resolver=names)
    opened, gated = dialer._open, dialer._gated
    assert opened._resolver is dialer._ours
    assert gated._resolver is dialer._theirs
    assert (opened._limit, gated._limit) == (0, 0)
    with pytest.raises(AddressRefused):
        await dialer._theirs.resolve("10.0.0.1")
    assert await dialer._ours.resolve("10.0.0.1")
    await dialer.close()
    assert (opened.closed, gated.closed, names.closed) == (True, True, 1)


@pytest.mark.parametrize("origin", ["http://10.0.0.1:8080", "http://127.1", "http://[::1]", "https://2130706433"])
async def test_addresses_are_checked_before_anything_is_dialled(make: Make, origin: str) -> None:
    dialer, opened, gated = make(object())
    try:
        guarded = place(origin, guarded=True)
    except ConfigError:
        return
    with pytest.raises(ConfigError) as caught:
        await dialer.dial(guarded, 5)
    assert guarded.url.host is not None
    assert guarded.url.host not in caught.value.message
    assert not opened.requests
    assert not gated.requests


async def test_an_operators_private_address_is_dialled(make: Make) -> None:
    dialer, opened, _ = make(object())
    await dialer.dial(place("http://10.0.0.1:8080"), 5)
    assert len(opened.requests) == 1
    with pytest.raises(ConfigError):
        await dialer.dial(place("http://169.254.169.254"), 5)  # not even an operator's


# --- the proxy ---


@pytest.mark.parametrize(
    ("origin", "proxied"),
    [("https://up.example", True), ("http://up.example", False), ("https://direct.example", False)],
)
@pytest.mark.parametrize("guarded", [False, True])
async def test_only_https_goes_through_the_proxy(make: Make, origin: str, guarded: bool, proxied: bool) -> None:
    dialer, opened, gated = make(object(), proxy=PROXY)
    await dialer.dial(place(origin, guarded=guarded), 5)
    used = opened if proxied or not guarded else gated
    assert len(used.requests) == 1
    assert len(opened.requests) + len(gated.requests) == 1
    assert (used.requests[0].proxy is not None) is proxied
    if proxied:
        assert used.requests[0].proxy.host == "proxy.example"


async def test_a_guarded_name_that_leads_inside_is_not_given_to_the_proxy(make: Make) -> None:
    names = Names("10.0.0.1")
    dialer, opened, gated = make(object(), proxy=PROXY, resolver=names)
    with pytest.raises(ConfigError, match="not allowed"):
        await dialer.dial(place(guarded=True), 5)
    assert names.asked == [HOST]
    assert not opened.requests
    assert not gated.requests


async def test_a_guarded_name_that_only_the_proxy_knows_is_the_proxys(make: Make) -> None:
    dialer, opened, _ = make(object(), proxy=PROXY, address=None)
    await dialer.dial(place(guarded=True), 5)
    assert len(opened.requests) == 1


async def test_an_operators_name_is_not_looked_up_for_the_proxy(make: Make) -> None:
    names = Names()
    dialer, _, _ = make(object(), proxy=PROXY, resolver=names)
    await dialer.dial(place(), 5)
    assert names.asked == []


async def test_the_trust_is_handed_on(make: Make) -> None:
    context = ssl.create_default_context()
    dialer, opened, _ = make(object(), tls=context)
    await dialer.dial(place(), 5)
    assert opened.requests[0].ssl is context
    dialer, opened, _ = make(object())
    await dialer.dial(place(), 5)
    assert opened.requests[0].ssl is True


@pytest.mark.parametrize("origin", ["ftp://a.example", "a.example", "//a.example", "https:"])
def test_what_is_no_place(origin: str) -> None:
    with pytest.raises(ConfigError):
        Place(origin, guarded=True)


@pytest.mark.parametrize(
    ("origin", "host", "tls"),
    [
        ("https://a.example", b"a.example", True),
        ("https://a.example:443", b"a.example", True),
        ("https://a.example:8443", b"a.example:8443", True),
        ("http://[::1]:80", b"[::1]", False),
        ("http://[::1]", b"[::1]", False),
        ("http://[fd00::1]:8080", b"[fd00::1]:8080", False),
        ("https://bücher.example", b"xn--bcher-kva.example", True),
        ("http://10.0.0.1:8080", b"10.0.0.1:8080", False),
    ],
)
def test_a_place(origin: str, host: bytes, tls: bool) -> None:
    found = Place(origin, guarded=True)
    assert (found.origin, found.tls, found.guarded) == (origin, tls, True)
    assert found.host == host
