"""Hosts that a config may name: one spelling each, and the addresses behind them that may be dialled.

`parse_base_url` is about spelling and needs no name resolution. `AddressPolicy` judges an address that a name resolved
to (or that was the host itself); the engine's address gate asks it before every connection to a host it guards.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from collections.abc import Iterable, Sequence

from aiogateway.errors import ConfigError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

MAX_URL = 2048
HOST_LABEL = re.compile(r"[a-z0-9-]{1,63}")
"""What a config string that becomes part of a host must match as a whole."""

_URL = re.compile(r"(https?)://([^/]*)(.*)", re.IGNORECASE | re.DOTALL)
_AUTHORITY = re.compile(r"(?:\[([^\[\]]*)\]|([^:\[\]]*))(?::([0-9]*))?")
_UNSAFE = re.compile(r"[^\x21-\x7e]|[\\\"<>^`{|}]")
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PORTS = {"http": 80, "https": 443}


@functools.lru_cache(maxsize=512)
def parse_base_url(value: str, *, path: str) -> str:
    """The one canonical spelling of a base URL: lower-case host, no default port, no trailing slash.

    Raises ConfigError(`path`) for anything but http and https, for user names, queries and fragments, and for every
    host that resolvers read in more than one way (``0x7f.1``, ``127.1``, ``2130706433``, ``[::ffff:127.0.0.1]``).
    """
    parts = _URL.fullmatch(value) if len(value) <= MAX_URL else None
    if parts is None:
        raise ConfigError(f"must be an http:// or https:// URL of at most {MAX_URL} characters", path=path)
    scheme, authority, rest = parts[1].lower(), parts[2], parts[3].rstrip("/")
    _check_characters(authority, rest, path)
    split = _AUTHORITY.fullmatch(authority)
    if split is None:
        raise ConfigError("must hold a host name, or an address with an optional port", path=path)
    host = f"[{_canonical_v6(split[1], path)}]" if split[1] is not None else _canonical_host(split[2].lower(), path)
    port = _read_port(split[3], path)
    shown = "" if port is None or port == _PORTS[scheme] else f":{port}"
    return f"{scheme}://{host}{shown}{rest}"


def _check_characters(authority: str, rest: str, path: str) -> None:
    reason = None
    if "@" in authority:
        reason = "must not hold a user name or password"
    elif "?" in authority + rest:
        reason = "must not hold a query"
    elif "#" in authority + rest:
        reason = "must not hold a fragment"
    elif _UNSAFE.search(authority + rest):
        reason = "must be printable ASCII without spaces or backslashes (an international host name as xn--…)"
    elif "%" in authority:
        reason = "must not hold a percent sign or a zone in its host"
    elif any(part in (".", "..") for part in rest.split("/")):
        reason = "must not hold . or .. in its path"
    if reason:
        raise ConfigError(reason, path=path)


def _read_port(text: str | None, path: str) -> int | None:
    if text is None:
        return None
    if len(text) > 5 or not text or text[0] == "0" or int(text) > 65535:
        raise ConfigError("must have a port from 1 to 65535, or none", path=path)
    return int(text)


def _canonical_v6(text: str, path: str) -> str:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        raise ConfigError("must hold a valid IPv6 address between its brackets", path=path) from None
    if address.ipv4_mapped is not None or str(address) != text.lower():
        raise ConfigError("must hold its address in canonical form (RFC 5952), and IPv4 as IPv4", path=path)
    return str(address)


def _canonical_host(host: str, path: str) -> str:
    labels = host.split(".")
    if labels[-1] == "" and host:
        raise ConfigError("must not end its host with a dot", path=path)
    # A last label that is a number makes the whole host an IPv4 address (WHATWG URL, "ends in a number").
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise ConfigError("must hold an IPv4 address as four decimal numbers", path=path) from None
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ConfigError("must hold a valid host name", path=path)
    return host


def _networks(*texts: str) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text) for text in texts)


# IANA's special-purpose registries (RFC 6890 and its updates), spelled out: what ipaddress calls private differs
# between patch releases of Python.
_SPECIAL_V4 = _networks(
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
)
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")  # all that IANA gives out to hosts
_SPECIAL_V6 = _networks("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
# Link-local, and what clouds answer machine credentials on: Azure, Alibaba, Oracle, and AWS and Google over IPv6.
_METADATA = _networks(
    "169.254.0.0/16",
    "fe80::/10",
    "168.63.129.16/32",
    "100.100.100.200/32",
    "192.0.0.192/32",
    "fd00:ec2::254/128",
    "fd20:ce::254/128",
)


class AddressPolicy:
    """Which addresses may be dialled. `loopback`: whether this machine itself may (we listen on loopback only).

    `trusted` are exact host names, ``*.suffix``, addresses and networks. A name there opens every address but the
    link-local and metadata ones, which only an address or a network there opens. Raises ValueError for a bad entry.
    """

    def __init__(self, *, loopback: bool, trusted: Sequence[str] = ()) -> None:
        self._loopback = loopback
        self._names: set[str] = set()
        self._suffixes: tuple[str, ...] = ()
        self._networks: list[Network] = []
        for entry in trusted:
            self._add(entry.strip().lower())

    def _add(self, entry: str) -> None:
        name = entry.removeprefix("*.")
        if "/" in entry or ":" in entry or _NUMBER.fullmatch(entry.rpartition(".")[2]):
            self._networks.append(ipaddress.ip_network(entry))
        elif not name or not all(_LABEL.fullmatch(label) for label in name.split(".")):
            raise ValueError(f"{entry!r} is no host name, *.suffix, address or network")
        elif name == entry:
            self._names.add(entry)
        else:
            self._suffixes += (f".{name}",)

    def allows(self, address: str, *, host: str, operator: bool) -> bool:
        """Whether `address`, to which `host` resolved, may be dialled; `operator`: settings named the host."""
        parsed = _read_address(address)
        if parsed is None:
            return False
        if _is_in(parsed, self._networks):
            return True
        if _is_in(parsed, _METADATA):
            return False
        return operator or self._trusts(host.lower()) or self._is_open(parsed)

    def _trusts(self, host: str) -> bool:
        return host in self._names or host.endswith(self._suffixes)

    def _is_open(self, address: Address) -> bool:
        if address.is_loopback:
            return self._loopback
        if isinstance(address, ipaddress.IPv4Address):
            return not _is_in(address, _SPECIAL_V4)
        return address in _GLOBAL_V6 and not _is_in(address, _SPECIAL_V6)


def _read_address(text: str) -> Address | None:
    """The address, without its zone, and as IPv4 where it only carries one (mapped, NAT64)."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            behind = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
            return None if behind.is_loopback else behind  # the translator's own loopback, not ours
    return address


def _is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks if network.version == address.version)
