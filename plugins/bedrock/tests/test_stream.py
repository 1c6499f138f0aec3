from __future__ import annotations

from aiogateway_plugin_bedrock.frames import write_event
from aiogateway_plugin_bedrock.stream import BedrockDialect, find_frames

from aiogateway.errors import IdleTimeout

DELTA = write_event("contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"text":"a"}}')
SLOW = write_event("throttlingException", b'{"message":"slow down"}', kind="exception")


class Dialect(BedrockDialect):
    name = "bedrock_any"


DIALECT = Dialect()


def test_what_opens_a_stream_is_no_commit() -> None:
    assert DIALECT.is_keepalive(write_event("messageStart", b'{"role":"assistant"}'))
    assert DIALECT.is_keepalive(write_event("initial-response", b"{}"))
    assert not DIALECT.is_keepalive(DELTA)
    assert not DIALECT.is_keepalive(SLOW)
    assert not DIALECT.is_keepalive(b"<html>")


def test_what_is_malformed() -> None:
    assert not DIALECT.is_malformed(DELTA)
    assert DIALECT.is_malformed(DELTA[:-1])
    assert DIALECT.is_malformed(write_event("contentBlockDelta", b"{"))
    assert DIALECT.data_of(DELTA).startswith(b'{"contentBlockIndex"')


def test_failures_of_a_stream_and_of_a_body() -> None:
    failure = DIALECT.read_failure(SLOW)
    assert failure is not None
    assert failure.status == 429
    assert DIALECT.read_failure(DELTA) is None
    other = DIALECT.read_failure(b"<html>bad gateway</html>")
    assert other is not None
    assert (other.status, other.message) == (502, "bedrock sent bytes that are no event stream")
    assert DIALECT.read_body_failure(b'{"output":{}}') is None
    assert DIALECT.read_body_failure(b"{") is None
    found = DIALECT.read_body_failure(b'{"__type":"ThrottlingException","message":"slow"}')
    assert found is not None
    assert (found.status, found.message) == (429, "slow")


def test_our_own_errors_are_theirs() -> None:
    error = IdleTimeout("silence")
    assert DIALECT.write_error(error) == b'{"message":"silence"}'
    failure = DIALECT.read_failure(DIALECT.write_failure(error))
    assert failure is not None
    assert failure.message == "silence"


def test_frames_are_found_wherever_a_tail_begins() -> None:
    data = DELTA + DELTA + SLOW
    for cut in range(len(data)):
        found = [frame.name for frame in find_frames(data[cut:])]
        whole = 3 if cut == 0 else 2 if cut <= len(DELTA) else 1 if cut <= 2 * len(DELTA) else 0
        assert found == ["contentBlockDelta", "contentBlockDelta", "throttlingException"][3 - whole :], cut
    assert list(find_frames(b"")) == []
    assert [frame.name for frame in find_frames(DELTA + SLOW[:-1])] == ["contentBlockDelta"]
