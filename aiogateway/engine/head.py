"""A request's first lines, as they go to a provider."""

from __future__ import annotations

from ..errors import RequestError
from ..types import UpstreamRequest
from .dial import Place

BODILESS = ("GET", "HEAD", "DELETE", "OPTIONS")
UNFIT = "a header or the path of the provider's request holds characters that HTTP can't carry"


def split_url(url: str) -> tuple[str, str]:
    """``https://host:port`` and the raw rest, byte for byte."""
    cut = url.find("/", url.find("//") + 2)
    return (url, "/") if cut < 0 else (url[:cut], url[cut:])


def write_head(request: UpstreamRequest, place: Place, length: int | None = -1) -> bytes:
    """A request's head. `length` of the body: -1 for the request's own, None when it follows in chunks.

    Raises RequestError rather than let what became part of a header or of the path end the line it stands in.
    """
    method, path = request.method, split_url(request.url)[1]
    try:
        lines = [f"{method} {path} HTTP/1.1".encode("latin-1"), b"host: " + place.host]
        lines += [
            f"{name}: {value}".encode("latin-1")
            for name, value in request.headers
            if name not in ("host", "content-length")
        ]
    except UnicodeEncodeError:
        raise RequestError(UNFIT) from None
    if length is None:
        lines.append(b"transfer-encoding: chunked")
    else:
        length = len(request.body) if length < 0 else length
        if length or method not in BODILESS:  # a bodiless GET names no length
            lines.append(b"content-length: %d" % length)
    lines.append(b"\r\n")
    head = b"\r\n".join(lines)
    if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines) or b"\0" in head:
        raise RequestError(UNFIT)
    return head
