from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace

import pytest

from aiogateway.config.hosts import AddressPolicy
from aiogateway.engine import transport as module
from aiogateway.engine.dial import Dialer, Place
from aiogateway.engine.transport import HEAD_LIMIT, IDLE_PER_PLACE, Pool, StaleConnection, Upstream
from aiogateway.errors import ConfigError, ConnectFailed, StreamBroken, UpstreamError
from aiogateway.testing import FakeUpstream, split_points, unary
from tests.unit.engine.fakes import FakeLoop, FakeTransport

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-A: 1\r\n\r\nok"
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n5;x=y\r\n then\r\n0\r\n\r\n"
EVIL = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"


class Heard:
    """A receiver that notes what it hears."""

    def __init__(self) -> None:
        self.heads: list[tuple[int, list[tuple[bytes, bytes]]]] = []
        self.body = b""
        self.reads = 0
        self.ends: list[UpstreamError | None] = []
        self.over = asyncio.Event()

    def on_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        assert not self.reads
        self.heads.append((status, headers))

    def on_read(self, data: bytes, over: bool, error: UpstreamError | None) -> None:
        assert not self.ends, "heard something after the end"
        self.reads += 1
        self.body += data
        if over:
            self.ends.append(error)
            self.over.set()


class NoDialer:
    def __init__(self) -> None:
        self.closed = False

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
async def pool() -> AsyncIterator[Pool]:
    pool = Pool(NoDialer())  # type: ignore[arg-type]
    yield pool
    await pool.close()


def connect(pool: Pool, origin: str = "http://up.example") -> tuple[Upstream, FakeTransport]:
    transport = FakeTransport()
    conn = SimpleNamespace(transport=transport, protocol=SimpleNamespace(connection_lost=lambda exc: None))
    conn.close = lambda: None
    upstream = Upstream(pool, pool.find(origin, guarded=False), conn)  # type: ignore[arg-type]
    assert transport.protocol is upstream
    return upstream, transport


def ask(upstream: Upstream, method: str = "GET", *, uploading: bool = False) -> Heard:
    heard = Heard()
    upstream.send(heard, method, b"%b / HTTP/1.1\r\n\r\n" % method.encode(), uploading=uploading)
    return heard


def serve(pool: Pool, *pieces: bytes, method: str = "GET") -> tuple[Heard, FakeTransport]:
    upstream, transport = connect(pool)
    heard = ask(upstream, method)
    for piece in pieces:
        upstream.data_received(piece)
    return heard, transport


# --- answers ---


@pytest.mark.parametrize(("answer", "body"), [(OK, b"ok"), (CHUNKED, b"ok then")], ids=["length", "chunked"])
async def test_an_answer_may_be_cut_anywhere_and_its_connection_stays(pool: Pool, answer: bytes, body: bytes) -> None:
    upstream, transport = connect(pool)
    for pieces in split_points(answer):
        heard = ask(upstream)
        for piece in pieces:
            assert not heard.ends
            upstream.data_received(piece)
        assert [status for status, _ in heard.heads] == [200]
        assert (heard.body, heard.ends) == (body, [None])
        assert pool.take(upstream.place) is upstream
        assert not transport.is_closing()


async def test_header_names_are_lower_case_and_values_stay(pool: Pool) -> None:
    heard, _ = serve(pool, b"HTTP/1.1 418 Tea\r\nX-A: B\r\nx-a: c\r\ncontent-length: 0\r\n\r\n")
    assert heard.heads == [(418, [(b"x-a", b"B"), (b"x-a", b"c"), (b"content-length", b"0")])]
    assert heard.ends == [None]


async def test_the_head_alone_is_told_and_then_each_read_once(pool: Pool) -> None:
    upstream, _ = connect(pool)
    heard = ask(upstream)
    upstream.data_received(CHUNKED[:20])
    assert heard.reads == 0
    upstream.data_received(CHUNKED[20:47])
    assert (len(heard.heads), heard.reads, heard.body) == (1, 1, b"")
    upstream.data_received(CHUNKED[47:])
    assert (heard.reads, heard.body) == (2, b"ok then")


@pytest.mark.parametrize("interim", [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"])
async def test_an_interim_answer_is_not_the_answer(pool: Pool, interim: bytes) -> None:
    for pieces in split_points(interim * 2 + OK):
        upstream, _ = connect(pool)
        heard = ask(upstream)
        for piece in pieces:
            upstream.data_received(piece)
        assert heard.heads == [(200, [(b"content-length", b"2"), (b"x-a", b"1")])], pieces[0]
        assert (heard.body, heard.ends) == (b"ok", [None])


@pytest.mark.parametrize(
    ("method", "status", "pooled"), [("HEAD", b"200 OK", False), ("GET", b"304 Not Modified", False)]
)
async def test_an_answer_that_names_a_length_and_has_no_body(
    pool: Pool, method: str, status: bytes, pooled: bool
) -> None:
    answer = b"HTTP/1.1 " + status + b"\r\ncontent-length: 5\r\n\r\n"
    for pieces in split_points(answer):
        heard, transport = serve(pool, *pieces, method=method)
        assert (heard.body, heard.ends) == (b"", [None])
        assert transport.aborted is not pooled


async def test_204_has_no_body_and_its_connection_stays(pool: Pool) -> None:
    heard, transport = serve(pool, b"HTTP/1.1 204 No Content\r\n\r\n")
    assert heard.ends == [None]
    assert not transport.is_closing()
    assert pool.count_idle() == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok",
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ],
)
async def test_a_connection_that_will_be_closed_is_not_kept(pool: Pool, answer: bytes) -> None:
    heard, transport = serve(pool, answer)
    assert (heard.body, heard.ends) == (b"ok", [None])
    assert transport.aborted
    assert pool.count_idle() == 0


@pytest.mark.parametrize(("exc", "kind"), [(None, type(None)), (ConnectionResetError(), StreamBroken)])
async def test_without_a_length_the_close_is_the_end(
    pool: Pool, exc: Exception | None, kind: type[UpstreamError] | None
) -> None:
    upstream, _ = connect(pool)
    heard = ask(upstream)
    upstream.data_received(b"HTTP/1.1 200 OK\r\n\r\nsome")
    upstream.data_received(b" more")
    assert (heard.body, heard.ends) == (b"some more", [])
    upstream.connection_lost(exc)
    assert [type(end) for end in heard.ends] == [kind]


# --- answers that break ---


@pytest.mark.parametrize(
    ("sent", "reused", "kind"),
    [
        (b"", False, ConnectFailed),
        (b"", True, StaleConnection),
        (b"HTTP/1.1 2", True, ConnectFailed),
        (b"HTTP/1.1 100 Continue\r\n\r\n", True, ConnectFailed),
        (OK[:-1], True, StreamBroken),
        (CHUNKED[:-1], False, StreamBroken),
    ],
)
async def test_a_lost_connection(pool: Pool, sent: bytes, reused: bool, kind: type[UpstreamError]) -> None:
    upstream, _ = connect(pool)
    if reused:
        heard = ask(upstream)
        upstream.data_received(OK)
        assert pool.take(upstream.place) is upstream
    heard = ask(upstream)
    if sent:
        upstream.data_received(sent)
    upstream.connection_lost(None)
    assert [type(error) for error in heard.ends] == [kind]
    assert pool.count_idle() == 0


@pytest.mark.parametrize(
    "noise", [b"\x00\xff\xfe garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"]
)
async def test_what_is_no_http_breaks_the_stream(pool: Pool, noise: bytes) -> None:
    heard, transport = serve(pool, noise)
    assert [type(error) for error in heard.ends] == [StreamBroken]
    assert transport.aborted


async def test_a_protocol_that_nobody_asked_for_is_no_answer(pool: Pool) -> None:
    heard, transport = serve(pool, b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nbytes")
    assert [type(error) for error in heard.ends] == [StreamBroken]
    assert heard.body == b""
    assert transport.aborted


async def test_a_head_without_end_is_cut(pool: Pool) -> None:
    upstream, transport = connect(pool)
    heard = ask(upstream)
    upstream.data_received(b"HTTP/1.1 200 OK\r\n")
    line = b"x-a: " + b"y" * 1000 + b"\r\n"
    for _ in range(HEAD_LIMIT // len(line)):
        upstream.data_received(line)
        assert not heard.ends
    upstream.data_received(line)
    assert [type(error) for error in heard.ends] == [StreamBroken]
    assert str(HEAD_LIMIT) in str(heard.ends[0])
    assert transport.aborted


async def test_a_large_body_is_no_large_head(pool: Pool) -> None:
    size = HEAD_LIMIT * 2
    heard, _ = serve(pool, b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size, b"x" * size)
    assert (len(heard.body), heard.ends) == (size, [None])


# --- what nobody asked for ---


@pytest.mark.parametrize("answer", [OK, CHUNKED, b"HTTP/1.1 204 No Content\r\n\r\n"])
async def test_a_second_answer_is_not_part_of_ours_and_ends_the_connection(pool: Pool, answer: bytes) -> None:
    for end in range(1, len(EVIL) + 1):
        heard, transport = serve(pool, answer + EVIL[:end])
        assert b"evil" not in heard.body
        assert heard.ends == [None]
        assert len(heard.heads) == 1
        assert transport.aborted
    assert pool.count_idle() == 0


async def test_a_second_answer_in_a_later_read_ends_the_idle_connection(pool: Pool) -> None:
    upstream, transport = connect(pool)
    heard = ask(upstream)
    upstream.data_received(OK)
    assert pool.count_idle() == 1
    upstream.data_received(EVIL)
    assert transport.aborted
    assert pool.take(upstream.place) is None
    upstream.connection_lost(None)
    assert (heard.body, pool.count_idle()) == (b"ok", 0)


async def test_garbage_behind_a_last_chunk_is_not_the_answers(pool: Pool) -> None:
    heard, transport = serve(pool, CHUNKED + b"\x00garbage")
    assert (heard.body, heard.ends, transport.aborted) == (b"ok then", [None], True)


async def test_more_than_the_length_says_is_a_broken_answer(pool: Pool) -> None:
    heard, transport = serve(pool, OK + b"\x00garbage")
    assert [type(error) for error in heard.ends] == [StreamBroken]
    assert transport.aborted


# --- requests ---


async def test_head_and_body_leave_in_one_call(pool: Pool) -> None:
    upstream, transport = connect(pool)
    upstream.send(Heard(), "POST", b"head", b"body")
    large = b"x" * (1 << 16)
    upstream.send(Heard(), "POST", b"head", large)
    assert transport.written == [b"headbody", (b"head", large)]


async def test_an_answer_before_the_end_of_the_upload_costs_the_connection(pool: Pool) -> None:
    upstream, transport = connect(pool)
    heard = ask(upstream, "POST", uploading=True)
    upstream.data_received(OK)
    assert heard.ends == [None]
    assert transport.aborted
    upstream.write(b"the rest")  # the pump may be late: nothing happens
    assert pool.count_idle() == 0


async def test_an_answer_before_our_bytes_have_left_costs_the_connection(pool: Pool) -> None:
    upstream, transport = connect(pool)
    heard = ask(upstream, "POST")
    transport.unsent = 1
    upstream.data_received(OK)
    assert (heard.body, heard.ends, transport.aborted) == (b"ok", [None], True)


async def test_an_upload_that_ended_first_costs_nothing(pool: Pool) -> None:
    upstream, transport = connect(pool)
    heard = ask(upstream, "POST", uploading=True)
    upstream.write(b"body")
    upstream.uploaded()
    upstream.data_received(OK)
    assert heard.ends == [None]
    assert not transport.is_closing()
    assert transport.written[1:] == [b"body"]


async def test_an_upload_waits_for_room(pool: Pool) -> None:
    upstream, _ = connect(pool)
    async with asyncio.timeout(1):
        await upstream.drained()
    upstream.pause_writing()
    upstream.pause_writing()
    waiting = asyncio.create_task(upstream.drained())
    await asyncio.sleep(0)
    assert not waiting.done()
    upstream.resume_writing()
    await waiting
    upstream.pause_writing()
    waiting = asyncio.create_task(upstream.drained())
    await asyncio.sleep(0)
    upstream.connection_lost(None)  # nobody waits for a dead connection
    await waiting


async def test_pause_and_resume_are_said_once_and_never_to_a_closed_transport(pool: Pool) -> None:
    upstream, transport = connect(pool)
    said: list[str] = []
    transport.pause_reading = lambda: said.append("pause")  # type: ignore[method-assign]
    transport.resume_reading = lambda: said.append("resume")  # type: ignore[method-assign]
    upstream.resume()
    for _ in range(2):
        upstream.pause()
        upstream.pause()
        upstream.resume()
        upstream.resume()
    assert said == ["pause", "resume"] * 2
    upstream.pause()
    transport.aborted = True
    upstream.resume()
    upstream.pause()
    assert said[4:] == ["pause"]


async def test_a_paused_connection_reads_again_in_the_pool(pool: Pool) -> None:
    upstream, transport = connect(pool)
    ask(upstream)
    upstream.pause()
    upstream.data_received(OK)
    assert transport.reading
    assert pool.count_idle() == 1


async def test_a_dropped_connection_says_no_more(pool: Pool) -> None:
    upstream, transport = connect(pool)
    heard = ask(upstream)
    upstream.drop()
    assert transport.aborted
    upstream.data_received(OK)
    upstream.connection_lost(None)
    assert (heard.reads, heard.heads, pool.count_idle()) == (0, [], 0)


async def test_the_connector_hears_of_the_end(pool: Pool) -> None:
    said: list[object] = []
    conn = SimpleNamespace(transport=FakeTransport(), close=lambda: said.append("close"))
    conn.protocol = SimpleNamespace(connection_lost=said.append)
    upstream = Upstream(pool, pool.find("http://a.example", guarded=False), conn)  # type: ignore[arg-type]
    error = ConnectionResetError()
    upstream.connection_lost(error)
    assert said == [error, "close"]


async def test_a_connection_that_is_already_gone(pool: Pool) -> None:
    conn = SimpleNamespace(transport=None, protocol=None)
    with pytest.raises(ConnectFailed):
        Upstream(pool, pool.find("http://a.example", guarded=False), conn)  # type: ignore[arg-type]


# --- the pool ---


def idle(pool: Pool, origin: str = "http://up.example") -> tuple[Upstream, FakeTransport]:
    upstream, transport = connect(pool, origin)
    ask(upstream)
    upstream.data_received(OK)
    return upstream, transport


async def test_a_place_is_known_by_origin_and_guard(pool: Pool) -> None:
    place = pool.find("https://a.example:8443", guarded=False)
    assert (place.host, place.tls, place.guarded) == (b"a.example:8443", True, False)
    assert pool.find("https://a.example:8443", guarded=False) is place
    assert pool.find("https://a.example:8443", guarded=True) is not place
    assert pool.find("http://a.example:8443", guarded=False) is not place


async def test_connections_are_never_shared_between_places(pool: Pool) -> None:
    idle(pool)
    for origin, guarded in (("http://up.example", True), ("https://up.example", False), ("http://other", False)):
        assert pool.take(pool.find(origin, guarded=guarded)) is None


async def test_places_are_bounded(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PLACES", 3)
    first = pool.find("http://h0.example", guarded=False)
    for number in range(1, 10):
        pool.find(f"http://h{number}.example", guarded=False)
    assert len(pool._places) == 3
    assert pool.find("http://h0.example", guarded=False) is not first


@pytest.mark.parametrize("origin", ["ftp://a.example", "a.example", "http://", "local:x"])
async def test_what_is_no_place(pool: Pool, origin: str) -> None:
    with pytest.raises((ConfigError, ValueError)):
        pool.find(origin, guarded=False)


async def test_the_newest_living_connection_is_taken_first(pool: Pool) -> None:
    first, _ = idle(pool)
    second, _ = idle(pool)
    third, gone = idle(pool)
    gone.closed = True
    place = first.place
    assert not first.reused
    assert [pool.take(place), pool.take(place), pool.take(place)] == [second, first, None]
    assert (first.reused, second.reused, third.reused) == (True, True, False)


async def test_idle_connections_of_a_place_are_bounded(pool: Pool) -> None:
    kept = [idle(pool) for _ in range(IDLE_PER_PLACE)]
    _, transport = idle(pool)
    assert transport.closed
    assert pool.count_idle() == IDLE_PER_PLACE
    assert not any(transport.closed for _, transport in kept)


async def test_the_sweep_closes_what_was_idle_for_too_long(pool: Pool) -> None:
    pool._sweeper.cancel()
    loop = FakeLoop()
    pool._loop = loop.as_loop()
    pool._sweep()
    _, old = idle(pool)
    loop.advance(module.IDLE_SECONDS - 1)
    _, young = idle(pool)
    assert not old.closed
    loop.advance(module.IDLE_SECONDS / 2 + 1)
    assert (old.closed, young.closed, pool.count_idle()) == (True, False, 1)
    loop.advance(module.IDLE_SECONDS * 2)
    assert young.closed
    assert not pool._idle
    assert len(loop.waiting) == 1


async def test_close_ends_everything() -> None:
    dialer = NoDialer()
    pool = Pool(dialer)  # type: ignore[arg-type]
    transports = [idle(pool)[1], idle(pool, "http://other.example")[1]]
    await pool.close()
    assert [transport.closed for transport in transports] == [True, True]
    assert dialer.closed
    assert pool.count_idle() == 0
    assert pool._sweeper.cancelled()


async def test_a_real_connection_is_dialled_used_twice_and_forgotten_when_its_peer_leaves() -> None:
    async with FakeUpstream(unary(b"{}")) as up:
        pool = Pool(Dialer(AddressPolicy(loopback=True)))
        try:
            place = pool.find(up.url, guarded=False)
            upstream = await pool.dial(place, 5)
            assert isinstance(place, Place)
            for _ in range(2):
                heard = Heard()
                upstream.send(heard, "GET", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
                async with asyncio.timeout(5):
                    await heard.over.wait()
                assert (heard.body, heard.ends) == (b"{}", [None])
                assert pool.take(place) is upstream
            pool.give(upstream)
            up.connections[0].transport.abort()
            async with asyncio.timeout(5):
                while pool.count_idle():  # noqa: ASYNC110
                    await asyncio.sleep(0)
            assert len(up.connections) == 1
        finally:
            await pool.close()
