"""What a request line asks for, kept byte for byte where it goes on."""

from __future__ import annotations

from urllib.parse import unquote

from ..errors import RequestError
from .auth import OUR_PREFIX


def read_path(raw: str) -> str:
    """The path and query of a request target. An absolute one (RFC 9112 3.2.2) loses scheme and authority."""
    if raw.startswith("/") or "://" not in raw:
        return raw
    start = raw.find("/", raw.find("://") + 3)
    return raw[start:] if start >= 0 else "/"


def strip_key(path: str) -> str:
    """The path without a key of ours in ``?key=``, however it is written; every other byte as it came."""
    head, mark, query = path.partition("?")
    if not mark:
        return path
    pairs = query.split("&")
    kept = [pair for pair in pairs if not _holds_key(pair)]
    if len(kept) == len(pairs):
        return path
    return f"{head}?{'&'.join(kept)}" if kept else head


def find_segment(path: str) -> str:
    """The first segment below ``/v1/`` as a server would read it: decoded, empty ones left out."""
    segments = unquote(path[len("/v1/") :]).split("/")
    return next((segment for segment in segments if segment), "")


def check_dots(path: str) -> None:
    """A path that climbs could leave the provider's base URL, which may be the operator's, with the operator's key."""
    if "." in path or "%2" in path:
        segments = unquote(path.partition("?")[0]).replace("\\", "/").split("/")
        if "." in segments or ".." in segments:
            raise RequestError("a path with . or .. in it is not passed on")


def _holds_key(pair: str) -> bool:
    name, _, value = pair.partition("=")
    return unquote(name).lower() == "key" and unquote(value).lower().startswith(OUR_PREFIX)
