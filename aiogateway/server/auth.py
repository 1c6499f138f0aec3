"""Whose key is it: what in a request's headers is ours, what is the caller's provider credential, what may go on.

``x-portkey-api-key`` is always ours. A value that starts with ``agw-`` is ours wherever it stands; ours is consumed
here and leaves by no route. What is left in the places where clients put a credential is the caller's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from ..types import Credential, Headers, Origin, Secret

OUR_PREFIX = "agw-"
OUR_HEADERS = ("x-portkey-api-key", "x-aiogateway-api-key")
PLACEHOLDER = "OPENAI_API_KEY"  # what portkey_ai sends when it has none (portkey.md 0, trap 2)
KEY_HEADERS = ("x-api-key", "x-goog-api-key", "api-key")

# RFC 9110 7.6.1; `content-length` and framing are the transport's, `expect` is answered here
_NOT_PASSED = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
     "transfer-encoding", "upgrade", "host", "cookie", "content-length", "expect")
)  # fmt: skip
_OUR_QUERY = re.compile(r"(?<=[?&])key=agw-[^&#]*&?", re.IGNORECASE)


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
    dropped: list[str] = []
    for raw_name, raw_value in raw_headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("utf-8", "surrogateescape")
        if name in OUR_HEADERS:
            key = key or value
        elif name.startswith(("x-portkey-", "x-aiogateway-")):
            gateway.append((name, value))
        elif _is_ours(value):
            key = key or _bare(value)
        elif name == "authorization" and value[:7].lower() == "bearer ":
            found.setdefault(name, value[7:].strip())
        elif name in KEY_HEADERS:
            found.setdefault(name, value)
        elif name == "connection":
            dropped += [token.strip().lower() for token in value.split(",")]
        elif name not in _NOT_PASSED:
            headers.append((name, value.encode("utf-8", "surrogateescape").decode("latin-1")))
    if dropped:  # what `Connection` names is hop-by-hop too
        headers = [pair for pair in headers if pair[0] not in dropped]
    return Caller(Secret(key) if key else None, _read_credential(found), tuple(headers), tuple(gateway))


def strip_query(raw_path: str) -> str:
    """The path without a key of ours in ``?key=``; every other byte as it came."""
    return _OUR_QUERY.sub("", raw_path).rstrip("?&") if "key=" in raw_path else raw_path


def _read_credential(found: dict[str, str]) -> Credential | None:
    for name in ("authorization", *KEY_HEADERS):
        value = found.get(name)
        if value and value != PLACEHOLDER:
            return Credential(Secret(value), Origin.REQUEST, name)
    return None


def _is_ours(value: str) -> bool:
    return value.startswith(OUR_PREFIX) or _bare(value).startswith(OUR_PREFIX)


def _bare(value: str) -> str:
    return value[7:].strip() if value[:7].lower() == "bearer " else value
