from __future__ import annotations

import asyncio
import gzip
import itertools
from collections.abc import Callable

import pytest

from aiogateway.dialects.openai_chat import OpenAIChat
from aiogateway.engine import exchange as module
from aiogateway.engine.exchange import Exchange
from aiogateway.errors import FirstTokenTimeout, GatewayError, Overloaded, StreamBroken, UpstreamError
from aiogateway.testing import split_points
from tests.unit.engine.fakes import DONE, JSON_HEAD, SSE_HEAD, Collected, FakeSource, event, make_exchange

CHAT = OpenAIChat()
LATE = FirstTokenTimeout("no answer from the provider within 1 s")
CUT = StreamBroken("the provider closed the connection before its answer was complete")


def outcome(exchange: Exchange) -> object:
    """What `ready` says: False while it says nothing, else None or what it raises."""
    return exchange.ready.exception() if exchange.ready.done() else False


def feed(exchange: Exchange, *pieces: bytes, end: bool = False, error: UpstreamError | None = None) -> None:
    for piece in pieces:
        exchange.on_read(piece, False, None)
    if end:
        exchange.on_read(b"", True, error)


# --- answers that are no stream ---


async def test_a_whole_answer_is_ready_at_its_end() -> None:
    for pieces in split_points(b'{"a": [1, 2]}'):
        exchange, source, buffers = make_exchange()
        exchange.on_head(200, JSON_HEAD)
        feed(exchange, *pieces)
        assert outcome(exchange) is False
        assert buffers.held == 13
        feed(exchange, end=True)
        assert outcome(exchange) is None
        assert (exchange.over, exchange.streaming, exchange.body()) == (True, False, b'{"a": [1, 2]}')
        exchange.close()
        assert buffers.held == 0
        assert not source.dropped  # its connection may already serve another call


async def test_the_last_bytes_may_come_with_the_end() -> None:
    exchange, _, _ = make_exchange()
    exchange.on_head(200, JSON_HEAD)
    exchange.on_read(b"{}", True, None)
    assert (outcome(exchange), exchange.body(), exchange.beats) == (None, b"{}", 1)


async def test_a_body_cut_short_is_a_failure() -> None:
    exchange, _, buffers = make_exchange()
    exchange.on_head(200, JSON_HEAD)
    feed(exchange, b'{"a":', end=True, error=CUT)
    assert outcome(exchange) is CUT
    exchange.close()
    assert buffers.held == 0


async def test_an_end_without_a_head_is_a_failure() -> None:
    exchange, _, _ = make_exchange()
    feed(exchange, end=True)
    assert isinstance(outcome(exchange), StreamBroken)


async def test_a_head_without_a_body_yet_ends_the_first_deadline_once() -> None:
    exchange, _, _ = make_exchange()
    calls: list[int] = []
    exchange.on_first = lambda: calls.append(1)
    exchange.on_head(200, JSON_HEAD)
    assert not calls
    feed(exchange, b"", b"{", b"}")
    assert calls == [1]


async def test_an_answer_of_one_read_needs_no_deadline() -> None:
    exchange, _, _ = make_exchange()
    exchange.on_first = lambda: pytest.fail("it is over")
    exchange.on_head(200, JSON_HEAD)
    exchange.on_read(b"{}", True, None)


async def test_a_larger_answer_is_ready_at_the_bound_and_waits() -> None:
    exchange, source, buffers = make_exchange(limit=10)
    exchange.on_head(200, JSON_HEAD)
    feed(exchange, b"0123456789")
    assert outcome(exchange) is False
    feed(exchange, b"a")
    assert outcome(exchange) is None
    assert (exchange.over, source.paused) == (False, True)
    source.paused = False
    feed(exchange, b"b")  # was on its way when the source was told to wait
    assert source.paused
    assert buffers.held == 12
    out = Collected()
    exchange.attach(out)
    assert (out.data, out.ends, source.paused) == ([b"0123456789ab"], [], False)
    assert buffers.held == 0
    feed(exchange, b"c", end=True)
    assert (out.data[1:], out.ends) == ([b"c"], [None])


async def test_an_error_status_is_no_stream_even_if_it_says_so() -> None:
    exchange, _, _ = make_exchange(CHAT)
    exchange.on_head(429, SSE_HEAD)
    feed(exchange, event())
    assert not exchange.streaming
    assert outcome(exchange) is False
    feed(exchange, end=True)
    assert outcome(exchange) is None


# --- passthrough ---


async def test_a_passthrough_is_ready_at_its_head() -> None:
    exchange, _, buffers = make_exchange(whole=False)
    calls: list[int] = []
    exchange.on_first = lambda: calls.append(1)
    exchange.on_head(200, [(b"content-encoding", b"gzip"), (b"content-type", b"text/event-stream")])
    assert outcome(exchange) is None
    assert calls == [1]
    feed(exchange, b"\x1f\x8b not unpacked")
    out = Collected()
    exchange.attach(out)
    assert out.data == [b"\x1f\x8b not unpacked"]
    assert buffers.held == 0


# --- streams ---


@pytest.mark.parametrize("media_type", [b"text/event-stream", b"Text/Event-Stream; charset=utf-8"])
async def test_a_stream_is_ready_with_its_first_whole_event(media_type: bytes) -> None:
    head = b"\xef\xbb\xbf: comment\n\n:\n\nretry: 3\n\n"
    for line_end in (b"\n", b"\r\n", b"\r"):
        before, first = head.replace(b"\n", line_end), event("a").replace(b"\n", line_end)
        for pieces in split_points(before + first):
            exchange, _, buffers = make_exchange(CHAT)
            calls: list[int] = []
            exchange.on_first = lambda calls=calls: calls.append(1)
            exchange.on_head(200, [(b"content-type", media_type)])
            assert exchange.streaming
            for piece in pieces:
                assert outcome(exchange) is False
                assert not calls
                feed(exchange, piece)
            if outcome(exchange) is False:  # CRLF CR: its LF is waited for
                assert line_end == b"\r"
                feed(exchange, b"d")
            assert outcome(exchange) is None
            assert exchange.first.rstrip() == first.rstrip()
            assert calls == [1]
            assert not exchange.over
            out = Collected()
            exchange.attach(out)
            assert b"".join(out.data).startswith(before + first)
            assert buffers.held == 0


async def test_what_follows_before_the_commit_is_collected() -> None:
    exchange, source, buffers = make_exchange(CHAT)
    exchange.on_head(200, SSE_HEAD)
    feed(exchange, event("a"), event("b"), DONE, end=True)
    assert exchange.first == event("a")
    assert buffers.held == len(event("a") + event("b") + DONE)
    out = Collected()
    exchange.attach(out)
    assert (out.data, out.ends) == ([event("a") + event("b") + DONE], [None])
    assert source.log == []


@pytest.mark.parametrize("media_type", [b"application/json", b"text/plain", b""])
async def test_an_answer_that_is_no_event_stream_is_a_whole_one(media_type: bytes) -> None:
    exchange, _, _ = make_exchange(CHAT)
    exchange.on_head(200, [(b"content-type", media_type)] if media_type else [])
    feed(exchange, event("a"))
    assert (exchange.streaming, outcome(exchange)) == (False, False)


async def test_a_stream_of_comments_only() -> None:
    exchange, _, _ = make_exchange(CHAT)
    exchange.on_head(200, SSE_HEAD)
    feed(exchange, b": a\n\n", b": b\n\n", end=True)
    assert (outcome(exchange), exchange.first, exchange.over) == (None, b"", True)


async def test_a_stream_cut_before_its_first_event_is_a_failure() -> None:
    exchange, _, _ = make_exchange(CHAT)
    exchange.on_head(200, SSE_HEAD)
    feed(exchange, event("a")[:-1], end=True, error=CUT)
    assert outcome(exchange) is CUT


async def test_the_first_event_and_a_cut_in_one_read_are_a_failure_that_may_be_retried() -> None:
    exchange, _, _ = make_exchange(CHAT)
    exchange.on_head(200, SSE_HEAD)
    exchange.on_read(event("a"), True, CUT)
    assert outcome(exchange) is CUT


async def test_comments_without_end_hold_little_and_are_not_counted_twice() -> None:
    exchange, _, buffers = make_exchange(CHAT, buffer=1 << 19)
    exchange.on_head(200, SSE_HEAD)
    for _ in range(200):
        feed(exchange, b": keep-alive\n\n" * 1000)
    assert outcome(exchange) is False
    assert buffers.held == sum(map(len, exchange.parts)) < module.PEEK_LIMIT
    feed(exchange, event("a"))
    assert (outcome(exchange), exchange.first) == (None, event("a"))
    exchange.attach(Collected())
    assert buffers.held == 0


async def test_a_first_event_over_the_peek_is_not_waited_for() -> None:
    exchange, source, buffers = make_exchange(CHAT)
    exchange.on_head(200, SSE_HEAD)
    feed(exchange, b"data: ", b"x" * (module.PEEK_LIMIT - 6))
    assert outcome(exchange) is False
    feed(exchange, b"x")
    assert (outcome(exchange), exchange.first, source.paused) == (None, b"", True)
    exchange.close()
    assert (buffers.held, source.dropped) == (0, 1)


# --- after the commit ---


async def test_reads_go_straight_to_the_outlet() -> None:
    exchange, source, buffers = make_exchange(CHAT)
    exchange.on_head(200, SSE_HEAD)
    feed(exchange, event("a"))
    out = Collected()
    exchange.attach(out)
    assert source.log == ["resume"]
    feed(exchange, b"b", b"", b"c")
    exchange.on_read(b"d", True, CUT)
    assert b"".join(out.data) == event("a") + b"bcd"
    assert out.ends == [CUT]
    assert exchange.beats == 5
    assert buffers.held == 0


async def test_an_error_before_the_commit_is_told_at_the_commit() -> None:
    exchange, _, _ = make_exchange(CHAT)
    exchange.on_head(200, SSE_HEAD)
    feed(exchange, event("a"))
    feed(exchange, b"half", end=True, error=CUT)
    out = Collected()
    exchange.attach(out)
    assert (out.data, out.ends) == ([event("a") + b"half"], [CUT])


# --- giving up ---


async def test_fail_while_waiting() -> None:
    for prepare in (lambda _: None, lambda e: e.on_head(200, SSE_HEAD), lambda e: e.on_head(200, JSON_HEAD)):
        exchange, source, buffers = make_exchange(CHAT)
        prepare(exchange)
        exchange.fail(LATE)
        exchange.fail(CUT)
        assert outcome(exchange) is LATE
        assert source.dropped == 1
        exchange.close()
        assert (source.dropped, buffers.held) == (1, 0)


async def test_fail_between_ready_and_the_commit() -> None:
    exchange, source, buffers = make_exchange(CHAT)
    exchange.on_head(200, SSE_HEAD)
    feed(exchange, event("a"))
    exchange.fail(LATE)
    assert (outcome(exchange), source.dropped) == (None, 1)
    out = Collected()
    exchange.attach(out)
    assert (out.data, out.ends) == ([event("a")], [LATE])
    assert buffers.held == 0


async def test_fail_after_the_commit() -> None:
    exchange, source, _ = make_exchange(CHAT)
    exchange.on_head(200, SSE_HEAD)
    feed(exchange, event("a"))
    out = Collected()
    exchange.attach(out)
    exchange.fail(LATE)
    assert (out.ends, source.dropped, exchange.over) == ([LATE], 1, True)


async def test_an_answer_that_is_whole_can_fail_no_more() -> None:
    exchange, source, _ = make_exchange()
    exchange.on_head(200, JSON_HEAD)
    exchange.on_read(b"{}", True, None)
    exchange.fail(LATE)
    assert exchange.error is None
    out = Collected()
    exchange.attach(out)
    assert (out.ends, source.dropped) == ([None], 0)


@pytest.mark.parametrize("phase", ["asked", "head", "body", "ready", "attached", "over"])
async def test_close_drops_the_source_once_and_frees_all(phase: str) -> None:
    exchange, source, buffers = make_exchange(CHAT)
    steps: list[Callable[[], None]] = [
        lambda: None,
        lambda: exchange.on_head(200, SSE_HEAD),
        lambda: feed(exchange, event("a")[:9]),
        lambda: feed(exchange, event("a")[9:]),
        lambda: exchange.attach(Collected()),
        lambda: feed(exchange, end=True),
    ]
    for step in itertools.islice(steps, 1 + ["asked", "head", "body", "ready", "attached", "over"].index(phase)):
        step()
    exchange.close()
    exchange.close()
    assert source.dropped == (0 if phase == "over" else 1)
    assert buffers.held == 0


async def test_a_full_worker_refuses_what_is_collected() -> None:
    exchange, source, buffers = make_exchange(buffer=10)
    buffers.hold(4)
    exchange.on_head(200, JSON_HEAD)
    feed(exchange, b"12345")
    assert outcome(exchange) is False
    feed(exchange, b"67")
    assert isinstance(outcome(exchange), Overloaded)
    assert (source.dropped, buffers.held) == (1, 9)
    exchange.close()
    assert buffers.held == 4


async def test_a_full_worker_ends_a_large_answer_that_waits_for_its_commit() -> None:
    exchange, source, buffers = make_exchange(limit=5, buffer=10)
    exchange.on_head(200, JSON_HEAD)
    feed(exchange, b"123456")
    assert outcome(exchange) is None
    feed(exchange, b"7890123")
    assert source.dropped == 1
    out = Collected()
    exchange.attach(out)
    assert [type(error) for error in out.ends] == [Overloaded]
    assert buffers.held == 0


# --- compressed although nobody asked ---


async def test_compressed_answers_are_unpacked_at_every_split() -> None:
    packed = gzip.compress(event("a") + DONE, mtime=0)
    for pieces in split_points(packed):
        for head, body in ((SSE_HEAD, True), (JSON_HEAD, False)):
            exchange, _, buffers = make_exchange(CHAT)
            exchange.on_head(200, [*head, (b"content-encoding", b" GZIP ")])
            feed(exchange, *pieces, end=True)
            assert outcome(exchange) is None
            assert exchange.streaming is body
            assert exchange.body() == event("a") + DONE
            assert buffers.held == len(event("a") + DONE)
            exchange.close()


@pytest.mark.parametrize("encoding", [b"identity", b"", b" Identity "])
async def test_no_encoding(encoding: bytes) -> None:
    exchange, _, _ = make_exchange()
    exchange.on_head(200, [*JSON_HEAD, (b"content-encoding", encoding)])
    feed(exchange, b"\x1f\x8b", end=True)
    assert exchange.body() == b"\x1f\x8b"


@pytest.mark.parametrize(
    ("encoding", "body", "says"),
    [
        (b"zstd", b"x", "content encoding 'zstd'"),
        (b"gzip", b"not gzip", "is not gzip"),
        (b"gzip", gzip.compress(b"\0" * 60_000_000, mtime=0), "suspiciously many"),
    ],
)
async def test_what_cant_be_unpacked_fails_and_drops_the_source(encoding: bytes, body: bytes, says: str) -> None:
    exchange, source, buffers = make_exchange()
    exchange.on_head(200, [*JSON_HEAD, (b"content-encoding", encoding)])
    feed(exchange, body)
    error = outcome(exchange)
    assert isinstance(error, StreamBroken)
    assert says in error.message
    assert source.dropped == 1
    exchange.close()
    assert buffers.held == 0


async def test_a_compressed_answer_that_ends_too_early() -> None:
    exchange, _, _ = make_exchange()
    exchange.on_head(200, [*JSON_HEAD, (b"content-encoding", b"gzip")])
    feed(exchange, gzip.compress(b'{"a":1}')[:-4], end=True)
    error = outcome(exchange)
    assert isinstance(error, StreamBroken)
    assert "ended too early" in error.message


async def test_the_connections_own_end_is_said_rather_than_the_compressions() -> None:
    exchange, _, _ = make_exchange()
    exchange.on_head(200, [*JSON_HEAD, (b"content-encoding", b"gzip")])
    feed(exchange, gzip.compress(b'{"a":1}')[:-4], end=True, error=CUT)
    assert outcome(exchange) is CUT


async def test_compression_that_breaks_after_the_commit() -> None:
    exchange, source, _ = make_exchange(CHAT)
    exchange.on_head(200, [*SSE_HEAD, (b"content-encoding", b"deflate")])
    first = b"x\x9c\x00" + bytes((len(event()), 0, 255 - len(event()), 255)) + event()  # a stored block (RFC 1951)
    feed(exchange, first)
    assert exchange.first == event()
    out = Collected()
    exchange.attach(out)
    feed(exchange, b"\xff\xff\xff\xff")
    assert [type(error) for error in out.ends] == [StreamBroken]
    assert source.dropped == 1
    assert exchange.over


# --- dialects of plugins ---


class Broken(OpenAIChat):
    def __init__(self, *methods: str) -> None:
        super().__init__()
        for method in methods:
            setattr(self, method, self._break)

    def _break(self, *_: object) -> bool:
        raise KeyError("oops")


@pytest.mark.parametrize("method", ["frame_end", "is_keepalive"])
async def test_a_dialect_that_fails_on_the_first_event(method: str, caplog: pytest.LogCaptureFixture) -> None:
    exchange, source, buffers = make_exchange(Broken(method))
    exchange.on_head(200, SSE_HEAD)
    feed(exchange, event())
    error = outcome(exchange)
    assert isinstance(error, GatewayError)
    assert (error.status, source.dropped) == (502, 1)
    assert "oops" not in error.message
    assert "dialect openai_chat failed" in caplog.text
    exchange.close()
    assert buffers.held == 0


async def test_nobody_has_to_listen_to_a_failure() -> None:
    """An exception that is never retrieved would be logged by the loop, and fail this test."""
    exchange, _, _ = make_exchange()
    exchange.fail(LATE)
    del exchange


async def test_a_source_is_asked_nothing_once_it_is_gone() -> None:
    exchange, source, _ = make_exchange(limit=1)
    exchange.on_head(200, JSON_HEAD)
    exchange.on_read(b"123", True, None)
    exchange.attach(Collected())
    assert isinstance(source, FakeSource)
    assert source.log == []


async def test_a_failure_interrupts_who_still_opens() -> None:
    exchange, _, _ = make_exchange()
    heard: list[object] = []

    async def open_it() -> None:
        exchange.opener = asyncio.current_task()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            heard.append(exchange.read_interruption())

    opening = asyncio.create_task(open_it())
    await asyncio.sleep(0)
    exchange.fail(LATE)
    exchange.fail(CUT)
    await opening
    assert heard == [LATE]
    assert opening.cancelling() == 0


async def test_a_client_that_leaves_is_no_interruption_of_ours() -> None:
    exchange, _, _ = make_exchange()
    assert exchange.read_interruption() is None
