from __future__ import annotations

import pytest
from aiogateway_plugin_ollama.wire import OllamaDialect, read_time

from aiogateway.errors import IdleTimeout, UpstreamStatus
from aiogateway.types import Usage


class Dialect(OllamaDialect):
    name = "ollama_any"


DIALECT = Dialect()


def test_frames_are_lines() -> None:
    data = b'{"a":1}\r\n\n{"b"'
    splitter = DIALECT.splitter()
    assert splitter.feed(data) == [b'{"a":1}\r\n', b"\n"]
    assert splitter.rest() == b'{"b"'
    assert [DIALECT.frame_end(data, start) for start in (0, 9, 10)] == [9, 10, 0]


def test_what_a_line_is() -> None:
    assert DIALECT.is_keepalive(b"\n")
    assert not DIALECT.is_keepalive(b"{}\n")
    assert DIALECT.is_malformed(b'{"a"\n')
    assert not DIALECT.is_malformed(b"{}\n")
    assert not DIALECT.is_malformed(b"\n")


@pytest.mark.parametrize(
    ("data", "usage"),
    [
        (b'{"prompt_eval_count":3,"eval_count":2}', Usage(input=3, output=2)),
        (b'{\n "prompt_eval_count": 3\n}\n', Usage(input=3)),
        (b'ent":"x"}}\n{"done":true,"eval_count":2}\n', Usage(output=2)),
        (b'{"done":true}\n', None),
        (b'{"eval_count":2}\n{"done"', None),
        (b"", None),
    ],
)
def test_usage_from_a_body_or_a_tail(data: bytes, usage: Usage | None) -> None:
    assert DIALECT.read_usage(data) == usage


def test_errors_are_read() -> None:
    for read in (DIALECT.read_failure, DIALECT.read_body_failure):
        failure = read(b'{"error":"no"}\n')
        assert isinstance(failure, UpstreamStatus)
        assert (failure.message, failure.status, failure.body) == ("no", 502, b"")
        assert read(b'{"error":""}') is None
        assert read(b'{"message":{}}') is None
        assert read(b"{") is None


def test_errors_are_written() -> None:
    assert DIALECT.write_error(IdleTimeout("silence")) == b'{"error":"silence"}'
    assert DIALECT.write_failure(IdleTimeout("silence")) == b'{"error":"silence"}\n'


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2026-11-03T09:14:07.123456789Z", 1793697247),
        ("2026-11-03T10:14:07+01:00", 1793697247),
        ("2026-11-03T09:14:07", 1793697247),
        ("0001-01-01T00:00:00Z", None),
        ("yesterday", None),
        (7, None),
    ],
)
def test_times(value: object, seconds: int | None) -> None:
    assert read_time({"created_at": value}) == seconds
    assert read_time({}) is None
