"""A request's first lines. What must not get into them is in tests/features/test_header_smuggling.py."""

from __future__ import annotations

import pytest

from aiogateway.engine.dial import Place
from aiogateway.engine.head import split_url, write_head
from aiogateway.types import UpstreamRequest


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://a.example/v1/x?y=%2F+a", ("https://a.example", "/v1/x?y=%2F+a")),
        ("http://a.example:80", ("http://a.example:80", "/")),
        ("http://[::1]:8/", ("http://[::1]:8", "/")),
    ],
)
def test_split_url(url: str, parts: tuple[str, str]) -> None:
    assert split_url(url) == parts


def head_of(method: str, body: bytes = b"", length: int | None = -1, *headers: tuple[str, str]) -> bytes:
    request = UpstreamRequest(method=method, url="http://a.example/x?y", headers=headers, body=body)
    return write_head(request, Place("http://a.example", guarded=False), length)


@pytest.mark.parametrize(
    ("method", "body", "length", "framing"),
    [
        ("POST", b"abc", -1, [b"content-length: 3"]),
        ("POST", b"", -1, [b"content-length: 0"]),
        ("PUT", b"", 0, [b"content-length: 0"]),
        ("POST", b"", 12, [b"content-length: 12"]),
        ("POST", b"", None, [b"transfer-encoding: chunked"]),
        ("GET", b"", -1, []),
        ("HEAD", b"", 0, []),
        ("DELETE", b"", 0, []),
        ("OPTIONS", b"", 0, []),
        ("GET", b"", 5, [b"content-length: 5"]),
        ("DELETE", b"", None, [b"transfer-encoding: chunked"]),
    ],
)
def test_each_request_has_the_framing_it_needs(
    method: str, body: bytes, length: int | None, framing: list[bytes]
) -> None:
    lines = head_of(method, body, length).split(b"\r\n")
    assert lines[0] == method.encode() + b" /x?y HTTP/1.1"
    assert lines[1:] == [b"host: a.example", *framing, b"", b""]


def test_host_and_length_are_ours_to_say() -> None:
    head = head_of("POST", b"abc", -1, ("host", "evil"), ("content-length", "99"), ("x-a", "é"))
    assert head.split(b"\r\n")[1:] == [b"host: a.example", b"x-a: \xe9", b"content-length: 3", b"", b""]
