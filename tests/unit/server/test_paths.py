from __future__ import annotations

import pytest

from aiogateway.errors import RequestError
from aiogateway.server.paths import check_dots, find_segment, read_path, strip_key


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ("/v1/files?a=%2F", "/v1/files?a=%2F"),
        ("http://127.0.0.1:8787/v1/files?a=http://b/c", "/v1/files?a=http://b/c"),
        ("http://127.0.0.1:8787", "/"),
        ("*", "*"),
    ],
)
def test_read_path(raw: str, path: str) -> None:
    assert read_path(raw) == path


@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("/v1/files", "/v1/files"),
        ("/v1/files?key=mine&x=%2f+", "/v1/files?key=mine&x=%2f+"),
        ("/v1/files?key=agw-x", "/v1/files"),
        ("/v1/files?a=1&KEY=AGW-x&b=2", "/v1/files?a=1&b=2"),
        ("/v1/files?%6bey=%61gw-x&b=%20", "/v1/files?b=%20"),
        ("/v1/files?monkey=agw-x", "/v1/files?monkey=agw-x"),
    ],
)
def test_strip_key(path: str, left: str) -> None:
    assert strip_key(path) == left


@pytest.mark.parametrize("path", ["/v1/configs", "/v1//configs/x", "/v1/%63onfigs", "/v1/configs%2fx"])
def test_find_segment_reads_as_a_server_would(path: str) -> None:
    assert find_segment(path) == "configs"


def test_no_segment() -> None:
    assert find_segment("/v1/") == ""


@pytest.mark.parametrize("path", ["/v1/../x", "/v1/./x", "/v1/%2e%2E/x", "/v1/a/..", "/v1/%2e%2e%2fx", "/v1/..\\x"])
def test_a_path_that_climbs_is_refused(path: str) -> None:
    with pytest.raises(RequestError):
        check_dots(path)


@pytest.mark.parametrize("path", ["/v1/files/a.b", "/v1/x?y=../z", "/v1/...", "/v1/%2f"])
def test_other_dots_are_fine(path: str) -> None:
    check_dots(path)
