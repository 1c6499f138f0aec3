"""Who may knock at all: the Host and Origin rules that hold while no key is required.

Any web page can make its reader's browser send requests to 127.0.0.1, and aiohttp parses JSON that is sent as
text/plain, which needs no permission from us; a page can also let its own name lead to 127.0.0.1 (DNS rebinding).
The first shows in `Origin`, the second in `Host`.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Protocol

from ..errors import Forbidden, GatewayError, RequestError
from ..types import Headers

EXEMPT = frozenset({"/healthz", "/readyz"})
"""Paths to which the rules don't apply."""

_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?", re.IGNORECASE)
_TOKENS = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+(?: *, *[A-Za-z0-9!#$%&'*+.^_`|~-]+)*")
_METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
_MOST_SEEN = 256  # Host values remembered as good
_PREFLIGHT_AGE = "600"  # seconds a browser may remember a preflight's answer


class DoorSettings(Protocol):
    """What of the Settings is read here."""

    @property
    def allowed_hosts(self) -> Sequence[str]:
        """``host`` (with any port) or ``host:port``."""

    @property
    def cors_origins(self) -> Sequence[str]:
        """``scheme://host[:port]``, as browsers send it."""


class Door:
    """The rules, with what was seen and found good."""

    def __init__(self, settings: DoorSettings) -> None:
        self._hosts = frozenset(_normalize(host) for host in settings.allowed_hosts)
        origins = (origin.rstrip("/").lower() for origin in settings.cors_origins)
        self._origins: dict[str, Headers] = {
            origin: (
                ("access-control-allow-origin", origin),
                ("access-control-expose-headers", "*"),
                ("vary", "origin"),
            )
            for origin in origins
            if origin != "null"  # what every sandboxed page sends
        }
        self._seen: set[str] = set()

    def refuse(self, host: str | None, origin: str | None) -> GatewayError | None:
        """What is wrong with a request of these headers: RequestError for Host, Forbidden for Origin, or None."""
        if host not in self._seen:
            if host is None or not self._admits(host):
                return RequestError(
                    "the Host header is neither a loopback name or address nor one of `allowed_hosts` in the settings"
                )
            if len(self._seen) < _MOST_SEEN:
                self._seen.add(host)
        if origin is not None and origin not in self._origins:
            return Forbidden("requests from web pages need their origin in `cors_origins` in the settings")
        return None

    def cors_headers(self, origin: str | None) -> Headers:
        """What an answer to a page of an allowed origin carries; nothing for everybody else."""
        return self._origins.get(origin, ()) if origin is not None else ()

    def preflight(
        self, method: str, origin: str | None, asked_method: str | None, asked_headers: str | None
    ) -> Headers:
        """The headers of a 204 when the request is a browser's preflight for an allowed origin; empty when it is not.

        `asked_method` and `asked_headers` are ``Access-Control-Request-Method`` and ``-Headers``. The asked headers are
        named one by one, since ``*`` does not include ``authorization`` (Fetch standard, CORS-preflight fetch).
        """
        headers = self.cors_headers(origin)
        if method != "OPTIONS" or asked_method is None or not headers:
            return ()
        allowed: Headers = (("access-control-allow-methods", _METHODS), ("access-control-max-age", _PREFLIGHT_AGE))
        if asked_headers and _TOKENS.fullmatch(asked_headers):
            allowed += (("access-control-allow-headers", asked_headers),)
        return headers + allowed

    def _admits(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match["name"].lower()
        if _is_loopback(name) or name in self._hosts:
            return True
        return match["port"] is not None and f"{name}:{match['port']}" in self._hosts


def _normalize(host: str) -> str:
    """An entry of `allowed_hosts` as a Host header has it: lower case, IPv6 in brackets."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host.lower()
    return f"[{address}]" if address.version == 6 else host


def _is_loopback(name: str) -> bool:
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        if name.startswith("["):
            return ipaddress.IPv6Address(name[1:-1]) == ipaddress.IPv6Address("::1")
        return ipaddress.IPv4Address(name).is_loopback
    except ValueError:
        return False
