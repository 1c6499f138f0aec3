from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from aiogateway.dialects.openai_chat import OpenAIChat
from aiogateway.engine.exchange import Exchange
from aiogateway.engine.lanes import SplicedLane, Verdict
from aiogateway.engine.relay import Conduit, Epilogue, Relay
from aiogateway.errors import ClientStalled, GatewayError, IdleTimeout, StreamBroken, UpstreamError
from tests.unit.engine.fakes import DONE, SSE_HEAD, FakeSink, FakeSource, event, make_exchange

CHAT = OpenAIChat()
A, B, STOP = event("a"), event("b"), event("", "stop")
IDLE = IdleTimeout("the provider sent nothing for 1 s")
STALLED = ClientStalled("the client took nothing for 1 s")


def begin(
    conduit: Conduit | None = None, *, room: int = 1 << 30, epilogue: Epilogue | None = None
) -> tuple[Relay, Exchange, FakeSource, FakeSink]:
    """A relay right after its commit; `A` is on its way."""
    exchange, source, _ = make_exchange(CHAT)
    exchange.on_head(200, SSE_HEAD)
    exchange.on_read(A, False, None)
    sink = FakeSink(room)
    sink.start(200, [])
    relay = Relay(asyncio.get_running_loop(), exchange, sink, conduit, epilogue)
    exchange.attach(relay)
    source.log.clear()
    return relay, exchange, source, sink


def lane() -> SplicedLane:
    return SplicedLane(CHAT, max_event=1 << 20)


async def settle_down() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_every_read_is_written_and_flushed_and_the_end_goes_with_the_last() -> None:
    relay, exchange, _, sink = begin(lane())
    exchange.on_read(B, False, None)
    exchange.on_read(STOP + DONE, True, None)
    await relay.run()
    assert sink.log == [
        ("start", 200), ("write", A), ("flush", None), ("write", B), ("flush", None), ("write", STOP + DONE),
        ("end", None),
    ]  # fmt: skip
    assert (relay.sent, relay.error, relay.cut) == (len(A + B + STOP + DONE), None, False)


async def test_what_the_lane_adds_goes_with_the_end_and_is_counted() -> None:
    relay, exchange, _, sink = begin(lane())
    exchange.on_read(STOP, True, None)
    await relay.run()
    assert sink.written == A + STOP + DONE
    assert relay.sent == len(sink.written)
    assert sink.steps[-3:] == ["write", "write", "end"]


async def test_nothing_is_written_for_half_an_event() -> None:
    _, exchange, _, sink = begin(lane())
    steps = len(sink.log)
    exchange.on_read(B[:9], False, None)
    assert len(sink.log) == steps


async def test_without_a_conduit_bytes_pass_as_they_are() -> None:
    relay, exchange, _, sink = begin()
    exchange.on_read(b"\xff\x00half", True, None)
    await relay.run()
    assert (sink.written, sink.ended, sink.aborted) == (A + b"\xff\x00half", True, False)


async def test_a_full_client_pauses_the_source_until_it_has_drained() -> None:
    relay, exchange, source, sink = begin(lane(), room=len(A) + 10)
    running = asyncio.create_task(relay.run())
    await settle_down()
    for _ in range(3):
        assert source.log == []
        exchange.on_read(B, False, None)
        assert source.log == ["pause"]
        await settle_down()
        assert source.log == ["pause"]  # not before the client has room
        sink.drain()
        await settle_down()
        assert source.log == ["pause", "resume"]
        source.log.clear()
        sink.room = 10
    exchange.on_read(STOP + DONE, True, None)
    await settle_down()
    assert not running.done()  # the end was written, but not taken
    sink.drain()
    await running
    assert sink.written == A + B * 3 + STOP + DONE


async def test_a_client_that_is_full_before_the_handler_waits() -> None:
    exchange, source, _ = make_exchange(CHAT)
    exchange.on_head(200, SSE_HEAD)
    exchange.on_read(A, False, None)
    sink = FakeSink(room=1)
    sink.start(200, [])
    relay = Relay(asyncio.get_running_loop(), exchange, sink, lane())
    exchange.attach(relay)
    assert source.log[-1] == "pause"
    running = asyncio.create_task(relay.run())
    await settle_down()
    assert source.log[-1] == "pause"
    sink.drain()
    await settle_down()
    assert source.log[-1] == "resume"
    sink.room = 1 << 30
    exchange.on_read(STOP + DONE, True, None)
    await running


async def test_an_end_that_came_before_the_handler_waits() -> None:
    relay, exchange, _, sink = begin(lane())
    exchange.on_read(STOP + DONE, True, None)
    async with asyncio.timeout(1):
        await relay.run()
    assert sink.ended


@pytest.mark.parametrize("end", ["cut", "fail"])
async def test_an_error_is_said_in_band(end: str) -> None:
    relay, exchange, source, sink = begin(lane())
    if end == "cut":
        exchange.on_read(B[:9], True, IDLE)
    else:
        exchange.fail(IDLE)
        assert source.dropped == 1
    await relay.run()
    assert sink.written.startswith(A + b"data: ")
    assert b"idle_timeout" in sink.written
    assert (sink.ended, sink.aborted, relay.error, relay.cut) == (True, False, IDLE, False)


async def test_what_cant_say_that_it_is_broken_is_cut() -> None:
    relay, exchange, _, sink = begin()
    exchange.fail(IDLE)
    await relay.run()
    assert (sink.aborted, relay.error, relay.cut) == (True, IDLE, True)
    assert sink.written == A


class Breaking:
    """A conduit that raises."""

    def __init__(
        self, feed: Exception | None = None, end: Exception | None = None, settled: Exception | None = None
    ) -> None:
        self.feeding, self.ending, self.settling = feed, end, settled
        self.verdict = Verdict()
        self.ended_with: list[GatewayError | None] = []

    def feed(self, data: bytes) -> bytes:
        if self.feeding is not None and data != A:
            raise self.feeding
        return data

    def end(self, error: GatewayError | None) -> bytes:
        self.ended_with.append(error)
        if self.ending is not None:
            raise self.ending
        return b"closing"

    def settled(self) -> bool:
        if self.settling is not None:
            raise self.settling
        return False


async def test_a_plugins_mistake_while_a_stream_is_silent_is_named(caplog: pytest.LogCaptureFixture) -> None:
    relay, _, _, sink = begin(Breaking(settled=KeyError("oops")))
    assert relay.settle() is False
    assert "dialect openai_chat failed on a silent stream" in caplog.text
    assert not sink.aborted


async def test_a_lane_that_gives_up_ends_the_exchange() -> None:
    broken = StreamBroken("the provider sent an event over 10 bytes")
    conduit = Breaking(feed=broken)
    relay, exchange, source, sink = begin(conduit)
    exchange.on_read(B, False, None)
    await relay.run()
    assert (conduit.ended_with, source.dropped) == ([broken], 1)
    assert (sink.written, sink.aborted) == (A + b"closing", False)


async def test_a_plugins_mistake_ends_the_exchange_and_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    conduit = Breaking(feed=KeyError("oops"))
    relay, exchange, source, sink = begin(conduit)
    exchange.on_read(B, False, None)
    exchange.on_read(B, True, None)  # what was in the same read
    await relay.run()
    assert source.dropped == 1
    assert len(conduit.ended_with) == 1
    assert isinstance(conduit.ended_with[0], UpstreamError)
    assert "oops" not in conduit.ended_with[0].message
    assert sink.written == A + b"closing"
    assert "dialect openai_chat failed on a provider's stream" in caplog.text


async def test_a_plugins_mistake_in_the_last_read_is_no_clean_end(caplog: pytest.LogCaptureFixture) -> None:
    conduit = Breaking(feed=KeyError("oops"))
    relay, exchange, _, sink = begin(conduit)
    exchange.on_read(B, True, None)
    await relay.run()
    assert isinstance(relay.error, UpstreamError)
    assert sink.ended
    assert "dialect openai_chat failed" in caplog.text


@pytest.mark.parametrize("error", [None, IDLE])
async def test_a_plugins_mistake_at_the_end_cuts_the_client(
    error: UpstreamError | None, caplog: pytest.LogCaptureFixture
) -> None:
    relay, exchange, _, sink = begin(Breaking(end=KeyError("oops")))
    exchange.on_read(b"", True, error)
    await relay.run()
    assert (sink.aborted, relay.cut) == (True, True)
    assert isinstance(relay.error, UpstreamError)
    assert "at the end of a provider's stream" in caplog.text


async def test_nothing_follows_the_end() -> None:
    relay, exchange, _, sink = begin(lane())
    exchange.on_read(STOP + DONE, True, None)
    written = sink.written
    relay.on_data(B)
    relay.on_end(IDLE)
    assert sink.written == written
    assert relay.error is None


async def test_a_stalled_client_is_cut_at_both_ends_and_that_is_no_error_of_the_handlers() -> None:
    relay, _, source, sink = begin(lane(), room=1)
    running = asyncio.create_task(relay.run())
    await settle_down()
    relay.stall(STALLED)
    await running
    assert (sink.aborted, source.dropped, relay.error, relay.cut) == (True, 1, STALLED, True)
    relay.on_data(B)
    relay.on_end(None)
    assert sink.written == A


async def test_the_cancellation_that_follows_our_own_cut_is_its_echo() -> None:
    relay, _, _, sink = begin(lane(), room=1)
    running = asyncio.create_task(relay.run())
    await settle_down()
    relay.stall(STALLED)
    running.cancel()  # what aiohttp does when the connection is lost
    await running
    assert sink.aborted


async def test_a_client_that_leaves_is_not_swallowed() -> None:
    relay, exchange, source, sink = begin(lane())
    running = asyncio.create_task(relay.run())
    await settle_down()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    exchange.close()
    assert source.dropped == 1
    relay, _, _, sink = begin(lane(), room=1)
    running = asyncio.create_task(relay.run())
    await settle_down()
    sink.abort()  # the socket broke while we waited for room
    with pytest.raises(ConnectionResetError):
        await running


@pytest.mark.parametrize(
    ("conduit", "settled"), [(lambda: None, False), (lane, False), (Breaking, False)], ids=["none", "lane", "other"]
)
async def test_what_is_not_finished_is_not_settled(conduit: Callable[[], Conduit | None], settled: bool) -> None:
    relay, _, source, sink = begin(conduit())
    assert relay.settle() is settled
    assert (source.dropped, sink.ended) == (0, False)


async def test_a_finished_stream_is_settled_cleanly() -> None:
    relay, exchange, source, sink = begin(lane())
    exchange.on_read(STOP, False, None)
    assert relay.settle() is True
    await relay.run()
    assert (sink.written, sink.ended, source.dropped) == (A + STOP + DONE, True, 1)


# --- what follows the end ---


@pytest.mark.parametrize("error", [None, IDLE], ids=["clean", "broken"])
async def test_an_epilogue_goes_out_with_the_end(error: UpstreamError | None) -> None:
    relay, exchange, _, sink = begin(lane(), epilogue=lambda: b": why\n\n")
    exchange.on_read(STOP + DONE if error is None else B[:9], True, error)
    await relay.run()
    assert sink.written.count(b": why") == 1
    assert sink.written.endswith(b": why\n\n")
    assert (relay.sent, sink.steps[-1]) == (len(sink.written), "end")


async def test_a_client_that_is_cut_hears_no_epilogue(caplog: pytest.LogCaptureFixture) -> None:
    relay, exchange, _, sink = begin(Breaking(end=KeyError("oops")), epilogue=lambda: b": why\n\n")
    exchange.on_read(b"", True, None)
    await relay.run()
    assert (sink.aborted, sink.written) == (True, A)
    assert "at the end of a provider's stream" in caplog.text


async def test_an_unsaid_break_leaves_the_answer_open() -> None:
    conduit = Breaking()
    conduit.verdict.unsaid = True
    relay, exchange, _, sink = begin(conduit, epilogue=lambda: b": why\n\n")
    exchange.on_read(B, True, IDLE)
    await relay.run()
    assert sink.written == A + B + b"closing"
    assert sink.steps[-2:] == ["write", "flush"]  # what came with the last read must not wait for the next target
    assert not sink.ended
    assert (relay.error, relay.sent) == (IDLE, len(sink.written))


async def test_an_unsaid_break_waits_for_a_client_that_is_slow() -> None:
    conduit = Breaking()
    conduit.verdict.unsaid = True
    relay, exchange, _, sink = begin(conduit, room=1)
    exchange.on_read(b"", True, IDLE)
    running = asyncio.create_task(relay.run())
    await settle_down()
    assert not running.done()
    sink.drain()
    await running
    relay, exchange, _, sink = begin(conduit, room=1)
    exchange.on_read(b"", True, IDLE)
    running = asyncio.create_task(relay.run())
    await settle_down()
    relay.stall(STALLED)
    await running
    assert (relay.error, relay.cut, sink.aborted) == (STALLED, True, True)
