"""Whose key is it: what in a request's headers is ours, what is the caller's provider credential, what may go on.

``x-portkey-api-key`` is always ours. A value that starts with ``agw-`` is ours wherever it stands; ours is consumed
here and leaves by no route. What is left in the places where clients put a credential is the caller's own.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ..types import GATEWAY_PREFIXES, HOP_BY_HOP, Credential, Headers, Origin, Secret

OUR_PREFIX = "agw-"
OUR_HEADERS = ("x-portkey-api-key", "x-aiogateway-api-key")
PLACEHOLDER = "OPENAI_API_KEY"  # what portkey_ai sends when it has none (portkey.md 0, trap 2)
KEY_HEADERS = ("x-api-key", "x-goog-api-key")
CREDENTIAL_HEADERS = ("authorization", *KEY_HEADERS)  # in the order in which they count
KNOWN_NAMES = 1024  # header names whose kind is remembered; clients choose names, so it is bounded

# Framing is the transport's, `expect` is answered here; what `Connection` names is looked for
_NOT_PASSED = (HOP_BY_HOP - {"connection"}) | {"content-length", "cookie", "expect", "host"}

# What a header's name makes of it. Plain numbers: reading an enum's member costs 50 ns, a dozen times a call.
_KEY, _GATEWAY, _BEARER, _CREDENTIAL, _CONNECTION, _DROPPED, _PASSED = range(7)


class Caller(msgspec.Struct, frozen=True):
    """What a request's headers say about who sends it.

    `key`: a key of ours. `credential`: the caller's own for a provider. `headers`: what a provider may get to see.
    `gateway`: the headers that speak to us, but for keys.
    """

    key: Secret | None
    credential: Credential | None
    headers: Headers
    gateway: Headers


def read_caller(raw_headers: Iterable[tuple[bytes, bytes]]) -> Caller:
    """Sorts every header of a request into one of three: ours, the caller's credential, the provider's business."""
    key = ""
    found: dict[str, str] = {}
    headers: list[tuple[str, str]] = []
    gateway: list[tuple[str, str]] = []
    hop_by_hop: list[str] = []
    for raw_name, raw_value in raw_headers:
        name, kind = _known.get(raw_name) or _learn(raw_name)
        if kind == _DROPPED:
            continue
        if kind == _PASSED and b"agw-" not in raw_value:
            headers.append((name, raw_value.decode("latin-1")))
            continue
        value = raw_value.decode("utf-8", "surrogateescape")
        if kind == _GATEWAY:
            gateway.append((name, value))
        elif kind == _KEY:
            key = key or value
        elif kind == _CONNECTION:
            hop_by_hop += [token.strip().lower() for token in value.split(",")]
        elif (bare := _bare(value)).startswith(OUR_PREFIX):
            key = key or bare
        elif kind == _PASSED or (kind == _BEARER and bare is value):
            headers.append((name, raw_value.decode("latin-1")))
        else:
            found.setdefault(name, bare)
    if hop_by_hop:  # what `Connection` names is hop-by-hop too
        headers = [pair for pair in headers if pair[0] not in hop_by_hop]
    return Caller(Secret(key) if key else None, _read_credential(found), tuple(headers), tuple(gateway))


_known: dict[bytes, tuple[str, int]] = {}


def _learn(raw_name: bytes) -> tuple[str, int]:
    name = raw_name.decode("latin-1").lower()
    pair = name, _classify(name)
    if len(_known) < KNOWN_NAMES:
        _known[raw_name] = pair
    return pair


def _classify(name: str) -> int:
    if name in OUR_HEADERS:
        return _KEY
    if name.startswith(GATEWAY_PREFIXES):
        return _GATEWAY
    if name == "authorization":
        return _BEARER
    if name in KEY_HEADERS:
        return _CREDENTIAL
    if name == "connection":
        return _CONNECTION
    return _DROPPED if name in _NOT_PASSED else _PASSED


def _read_credential(found: dict[str, str]) -> Credential | None:
    if not found:
        return None
    for name in CREDENTIAL_HEADERS:
        value = found.get(name)
        if value and value != PLACEHOLDER:
            return Credential(Secret(value), Origin.REQUEST, name)
    return None


def _bare(value: str) -> str:
    return value[7:].strip() if value[:7].lower() == "bearer " else value
