from __future__ import annotations

import socket
from types import SimpleNamespace
from typing import Any

import pytest

from aiogateway.server import sink as module
from aiogateway.server.sink import ClientSink, Written
from tests.unit.server.requests import FakeContent, FakeRequest

PLAIN = [(b"content-type", b"text/plain")]


def answer(
    request: FakeRequest, *pieces: bytes, status: int = 200, length: int | None = None, **options: Any
) -> tuple[dict[bytes, bytes], bytes, bool]:
    """Headers, body as it is on the wire, and whether the connection is kept."""
    sink = ClientSink(request.web, **options)
    sink.start(status, PLAIN, length=length)
    for piece in pieces:
        sink.write(piece)
    sink.end()
    headers, body = request.answer
    return headers, body, bool(sink.finish().keep_alive)


def test_an_answer_of_known_length_leaves_in_one_call() -> None:
    request = FakeRequest()
    headers, body, keep = answer(request, b"he", b"llo", length=5)
    assert request.written.startswith(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n")
    assert headers == {b"content-type": b"text/plain", b"content-length": b"5"}
    assert (body, keep) == (b"hello", True)
    assert request.transport is not None
    assert len(request.transport.calls) == 1


def test_an_answer_of_unknown_length_is_chunked() -> None:
    headers, body, keep = answer(FakeRequest(), b"he", b"", b"llo, world")
    assert headers[b"transfer-encoding"] == b"chunked"
    assert b"content-length" not in headers
    assert body == b"2\r\nhe\r\na\r\nllo, world\r\n0\r\n\r\n"
    assert keep


def test_large_chunks_are_not_copied() -> None:
    request = FakeRequest()
    large = b"x" * module.COPY_BELOW
    _, body, _ = answer(request, large, b"y")
    assert body == b"1000\r\n" + large + b"\r\n1\r\ny\r\n0\r\n\r\n"
    assert request.transport is not None
    call = request.transport.calls[0]
    assert isinstance(call, tuple)
    assert any(part is large for part in call)


def test_what_was_queued_leaves_in_one_call() -> None:
    request = FakeRequest()
    assert request.transport is not None
    sink = ClientSink(request.web)
    sink.start(200, PLAIN)
    sink.write(b"a")
    assert (request.transport.calls, sink.started, sink.ended) == ([], True, False)
    sink.flush()
    sink.flush()
    assert len(request.transport.calls) == 1
    sink.write(b"b")
    sink.flush()
    assert request.transport.calls[1] == b"1\r\nb\r\n"  # a single piece needs no list
    sink.end()
    sink.end()
    assert request.transport.calls[2:] == [b"0\r\n\r\n"]


@pytest.mark.parametrize(
    ("keep_alive", "length", "connection", "body"),
    [
        (True, 2, b"keep-alive", b"ok"),
        (False, 2, None, b"ok"),
        (True, None, None, b"ok"),
        (False, None, None, b"ok"),
    ],
)
def test_http_1_0(keep_alive: bool, length: int | None, connection: bytes | None, body: bytes) -> None:
    headers, sent, keep = answer(FakeRequest(old=True, keep_alive=keep_alive), b"ok", length=length)
    assert headers.get(b"connection") == connection
    assert b"transfer-encoding" not in headers
    assert (sent, keep) == (body, connection is not None)


@pytest.mark.parametrize("length", [5, None])
def test_head_has_no_body(length: int | None) -> None:
    headers, body, keep = answer(FakeRequest("HEAD"), b"hello", length=length)
    assert headers.get(b"content-length") == (b"5" if length else None)
    assert headers.get(b"transfer-encoding") == (None if length else b"chunked")
    assert (body, keep) == (b"", True)


@pytest.mark.parametrize(
    ("status", "length", "framing"),
    [(204, None, None), (204, 0, None), (304, None, None), (304, 5, b"5")],
)
@pytest.mark.parametrize("old", [False, True])
def test_statuses_without_a_body(status: int, length: int | None, framing: bytes | None, old: bool) -> None:
    headers, body, keep = answer(FakeRequest(old=old), b"hello", status=status, length=length)
    assert headers.get(b"content-length") == framing
    assert b"transfer-encoding" not in headers
    assert (body, keep) == (b"", True)


@pytest.mark.parametrize("status", [299, 599, 720])
def test_a_status_without_a_name(status: int) -> None:
    request = FakeRequest()
    answer(request, status=status, length=0)
    assert request.written.startswith(b"HTTP/1.1 %d " % status)


@pytest.mark.parametrize(
    ("options", "closing"),
    [({}, False), ({"keep_alive": False}, False), ({}, True), ({"content": FakeContent(b"rest")}, False)],
    ids=["kept", "the client's wish", "we are going away", "an upload that nobody read"],
)
def test_who_closes(options: dict[str, Any], closing: bool) -> None:
    headers, _, keep = answer(FakeRequest(**options), b"ok", length=2, closing=closing)
    expected = not options and not closing
    assert keep is expected
    assert headers.get(b"connection") == (None if expected else b"close")


def test_the_doors_headers_come_last() -> None:
    headers, _, _ = answer(FakeRequest(), length=0, extra=[(b"vary", b"origin")])
    assert list(headers)[:2] == [b"content-type", b"vary"]


@pytest.mark.parametrize("gone", ["closing", "None"])
def test_an_answer_to_nobody(gone: str) -> None:
    request = FakeRequest()
    assert request.transport is not None
    request.transport.closing = True
    if gone == "None":
        request.transport = None
    sink = ClientSink(request.web)
    with pytest.raises(ConnectionResetError):
        sink.start(200, PLAIN)
    assert not sink.started
    assert sink.backlog == 0
    sink.abort()
    response = sink.finish()
    assert (response.status, response.keep_alive) == (499, False)


def test_a_client_that_leaves_midway_is_written_to_no_more() -> None:
    request = FakeRequest()
    assert request.transport is not None
    sink = ClientSink(request.web)
    sink.start(200, PLAIN)
    sink.flush()
    request.transport.closing = True
    sink.write(b"a")
    sink.flush()
    sink.end()
    assert len(request.transport.calls) == 1


@pytest.mark.parametrize("size", [1, module.COPY_BELOW])
def test_a_chunk_is_sent_at_once_with_what_was_queued(size: int) -> None:
    request = FakeRequest()
    assert request.transport is not None
    sink = ClientSink(request.web)
    sink.start(200, PLAIN)
    assert sink.send(b"a") is False
    assert len(request.transport.calls) == 1
    assert sink.send(b"x" * size) is False
    assert len(request.transport.calls) == 2
    sink.end()
    assert request.answer[1] == b"1\r\na\r\n%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size)


def test_send_tells_that_the_client_is_slow_and_says_nothing_to_one_that_left() -> None:
    request = FakeRequest()
    assert request.transport is not None
    sink = ClientSink(request.web)
    sink.start(200, PLAIN)
    sink.flush()
    request.protocol.writing_paused = True
    request.transport.unsent = 70_000
    assert sink.send(b"a") is True
    request.transport.closing = True
    assert sink.send(b"b") is False
    assert request.transport.calls[1:] == [b"1\r\na\r\n"]


def test_an_abort_sends_nothing_of_what_was_queued() -> None:
    request = FakeRequest()
    assert request.transport is not None
    sink = ClientSink(request.web)
    sink.start(200, PLAIN)
    sink.write(b"a")
    sink.abort()
    assert sink.ended
    sink.end()
    sink.flush()
    assert (request.transport.calls, request.transport.aborted, sink.ended) == ([], True, True)
    assert sink.finish().keep_alive is False


async def test_back_pressure_is_aiohttps_own() -> None:
    request = FakeRequest()
    sink = ClientSink(request.web)
    seen = [sink.paused]
    request.protocol.writing_paused = True
    assert [*seen, sink.paused] == [False, True]
    await sink.drained()
    assert request.drains == 1


def test_the_backlog_counts_what_the_kernel_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    request = FakeRequest()
    assert request.transport is not None
    sink = ClientSink(request.web)
    request.transport.unsent = 7
    assert sink.backlog == 7
    ours, theirs = socket.socketpair()
    with ours, theirs:
        monkeypatch.setattr(request.transport, "get_extra_info", {"socket": ours}.get)
        assert sink.backlog == 7
        with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(server.getsockname())
            peer, _ = server.accept()
            with peer:
                peer.setblocking(False)
                try:
                    while True:
                        peer.send(b"x" * 65536)
                except BlockingIOError:
                    pass
                monkeypatch.setattr(request.transport, "get_extra_info", {"socket": peer}.get)
                assert sink.backlog > 7
    monkeypatch.setattr(request.transport, "get_extra_info", {"socket": SimpleNamespace(fileno=lambda: -1)}.get)
    assert sink.backlog == 7  # a closed socket


async def test_aiohttp_is_told_that_all_was_written() -> None:
    written = Written(201, keep=True)
    assert await written.prepare(FakeRequest().web) is None
    assert await written.write_eof() is None  # type: ignore[func-returns-value]
    assert (written.status, written.keep_alive) == (201, True)
