"""Opens connections: names, addresses, TLS, the company's CONNECT proxy. aiohttp's connector does the dialling.

Two connectors, because they must not share a name cache: what an operator may reach (`guarded=False`) is not what a
host from a request may reach. A connector hands over one connection and forgets it; pooling is `transport`'s.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Protocol

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from ..config.hosts import AddressPolicy
from ..errors import ConfigError, ConnectFailed, ConnectTimeout, GatewayError, UpstreamTLS
from .gate import AddressRefused, GuardedResolver

NAME_CACHE = 30  # seconds a resolved (and checked) name is kept


class Place:
    """One upstream to connect to: scheme, host, port, and whether the address gate stands before it."""

    __slots__ = ("guarded", "host", "origin", "tls", "url")

    def __init__(self, origin: str, *, guarded: bool) -> None:
        url = URL(origin)
        if url.host is None or url.scheme not in ("http", "https"):
            raise ConfigError(f"no http(s) URL: {origin!r}", path="custom_host")
        self.origin = origin
        self.url = url
        self.tls = url.scheme == "https"
        self.host = (url.host_port_subcomponent or "").encode()  # brackets and punycode; `authority` has neither
        self.guarded = guarded


class Proxy(Protocol):
    """The company's way out, by CONNECT."""

    def url_for(self, host: str) -> str | None:
        """The proxy for an https upstream, or None when `host` is dialled directly."""


class Dialer:
    """Dials places. `resolver` is injected by tests; `tls` is the trust that upstreams must meet."""

    def __init__(
        self,
        policy: AddressPolicy,
        *,
        tls: ssl.SSLContext | None = None,
        proxy: Proxy | None = None,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._policy = policy
        self._tls: ssl.SSLContext | bool = tls if tls is not None else True
        self._proxy = proxy
        inner = resolver or aiohttp.ThreadedResolver()
        self._inner = inner
        self._ours = GuardedResolver(inner, policy, operator=True)
        self._theirs = GuardedResolver(inner, policy, operator=False)
        # limit 0: a connection of ours counts as acquired for as long as it lives, and the default of 100 would cap all
        self._open = aiohttp.TCPConnector(limit=0, resolver=self._ours, ttl_dns_cache=NAME_CACHE)
        self._gated = aiohttp.TCPConnector(limit=0, resolver=self._theirs, ttl_dns_cache=NAME_CACHE)

    async def dial(self, place: Place, timeout: float) -> aiohttp.connector.Connection:
        """A fresh connection within `timeout` seconds.

        Raises ConnectFailed, ConnectTimeout, UpstreamTLS, or ConfigError for an address that is not allowed.
        """
        resolver = self._theirs if place.guarded else self._ours
        try:
            resolver.check_host(place.url.host or "")
            proxy = self._choose_proxy(place)
            if proxy is not None and place.guarded:
                await self._check_proxied(place)
            request = aiohttp.ClientRequest("GET", place.url, loop=self._loop, ssl=self._tls, proxy=proxy)
            connector = self._gated if place.guarded and proxy is None else self._open
            async with asyncio.timeout(timeout):
                return await connector.connect(request, [], aiohttp.ClientTimeout())
        except (aiohttp.ClientError, OSError, ValueError) as error:  # TimeoutError is an OSError
            raise _explain(error, timeout) from error

    def _choose_proxy(self, place: Place) -> URL | None:
        """Plain http is never sent through a proxy: it would need another form of request."""
        if self._proxy is None or not place.tls:
            return None
        url = self._proxy.url_for(place.url.host or "")
        return URL(url) if url is not None else None

    async def _check_proxied(self, place: Place) -> None:
        """A proxy resolves names itself. What we can resolve too must pass the gate; the rest is the proxy's."""
        try:
            await self._theirs.resolve(place.url.host or "", place.url.port or 443)
        except AddressRefused:
            raise
        except OSError:
            return

    async def close(self) -> None:
        await self._open.close()
        await self._gated.close()
        await self._inner.close()


def _explain(error: Exception, timeout: float) -> GatewayError:
    """Never with an address: the message goes to the caller."""
    refused = _find_refused(error)
    if refused is not None:
        return ConfigError(str(refused), path="custom_host")
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return UpstreamTLS(f"the provider's TLS is not acceptable: {_tls_reason(error)}")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return ConnectFailed("the provider's host name does not resolve")
    if isinstance(error, TimeoutError):
        return ConnectTimeout(f"no connection to the provider within {timeout:g} s")
    if isinstance(error, aiohttp.ClientHttpProxyError | aiohttp.ClientProxyConnectionError):
        return ConnectFailed("the HTTPS proxy did not connect us to the provider")
    if isinstance(getattr(error, "os_error", error), ConnectionRefusedError):
        return ConnectFailed("the provider refused the connection")
    return ConnectFailed("could not connect to the provider")


def _find_refused(error: BaseException | None) -> AddressRefused | None:
    while error is not None and not isinstance(error, AddressRefused):
        error = getattr(error, "os_error", None) or error.__cause__
    return error


def _tls_reason(error: Exception) -> str:
    inner = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error
    if isinstance(inner, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {inner.verify_message}"
    return "handshake failed"
