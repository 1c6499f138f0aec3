"""Stand-ins for what the engine's parts see of each other: a loop whose time stands still, a source, a sink."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import orjson

from aiogateway.engine.buffers import Buffers
from aiogateway.engine.exchange import Exchange
from aiogateway.errors import GatewayError
from aiogateway.types import Call, Endpoint, RawHeaders, Request, Trace

SSE_HEAD = [(b"content-type", b"text/event-stream; charset=utf-8")]
JSON_HEAD = [(b"content-type", b"application/json")]
DONE = b"data: [DONE]\n\n"


def event(text: str = "hi", finish: str | None = None, index: int = 0, **extra: Any) -> bytes:
    """A chat completion chunk, as OpenAI sends it."""
    choice = {"index": index, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + orjson.dumps({"id": "c", "choices": [choice], **extra}) + b"\n\n"


def usage_event(prompt: int = 3, completion: int = 2) -> bytes:
    counts = {"prompt_tokens": prompt, "completion_tokens": completion}
    return b"data: " + orjson.dumps({"id": "c", "choices": [], "usage": counts}) + b"\n\n"


class Timer:
    """What `FakeLoop.call_later` returns."""

    def __init__(self, at: float, callback: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.at = at
        self.callback = callback
        self.args = args
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeLoop:
    """Time moves by `advance` only; timers run at their own times, in order."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Timer:
        timer = Timer(self.now + delay, callback, args)
        self.timers.append(timer)
        return timer

    @property
    def waiting(self) -> list[Timer]:
        return [timer for timer in self.timers if not timer.cancelled]

    def advance(self, seconds: float) -> None:
        end = self.now + seconds
        while due := [timer for timer in self.waiting if timer.at <= end]:
            timer = min(due, key=lambda timer: timer.at)
            self.timers.remove(timer)
            self.now = max(self.now, timer.at)
            timer.callback(*timer.args)
        self.now = end

    def as_loop(self) -> asyncio.AbstractEventLoop:
        return cast(asyncio.AbstractEventLoop, self)


class FakeSource:
    """Where an exchange's bytes come from."""

    def __init__(self) -> None:
        self.paused = False
        self.dropped = 0
        self.log: list[str] = []

    def pause(self) -> None:
        self.paused = True
        self.log.append("pause")

    def resume(self) -> None:
        self.paused = False
        self.log.append("resume")

    def drop(self) -> None:
        self.dropped += 1
        self.log.append("drop")


class FakeTransport:
    def __init__(self) -> None:
        self.written: list[bytes | tuple[bytes, ...]] = []
        self.unsent = 0
        self.closed = self.aborted = False
        self.reading = True
        self.protocol: Any = None

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def write(self, data: bytes) -> None:
        assert not self.is_closing()  # uvloop raises
        self.written.append(data)

    def writelines(self, data: tuple[bytes, ...]) -> None:
        self.written.append(tuple(data))

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        assert not self.is_closing()
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.is_closing()
        self.reading = True

    def get_write_buffer_size(self) -> int:
        return self.unsent


class FakeSink:
    """Notes what is written. `room`: bytes that it takes before it is paused; `drain` empties it."""

    def __init__(self, room: int = 1 << 30) -> None:
        self.room = room
        self.log: list[tuple[str, Any]] = []
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.length: int | None = None
        self.written = b""
        self.backlog = 0
        self.paused = False
        self.started = self.ended = self.aborted = False
        self.gone = False
        self._space = asyncio.Event()

    def start(self, status: int, headers: RawHeaders, *, length: int | None = None) -> None:
        if self.gone:
            raise ConnectionResetError("the client has gone")
        assert not self.started
        self.started, self.status, self.headers, self.length = True, status, dict(headers), length
        self.log.append(("start", status))

    def write(self, data: bytes) -> None:
        assert self.started
        assert not self.ended
        self.written += data
        self.backlog += len(data)
        self.paused = self.backlog > self.room
        self.log.append(("write", data))

    def flush(self) -> None:
        self.log.append(("flush", None))

    def send(self, data: bytes) -> bool:
        self.write(data)
        self.flush()
        return self.paused

    async def drained(self) -> None:
        self._space.clear()
        while self.paused and not self.aborted:
            await self._space.wait()
            self._space.clear()
        if self.aborted:
            raise ConnectionResetError

    def drain(self) -> None:
        """The client took everything."""
        self.backlog, self.paused = 0, False
        self._space.set()

    def end(self) -> None:
        self.ended = True
        self.log.append(("end", None))

    def abort(self) -> None:
        self.ended = self.aborted = True
        self.log.append(("abort", None))
        self._space.set()

    @property
    def steps(self) -> list[str]:
        return [name for name, _ in self.log]


class FakeWatch:
    """As much of a Watch as an answer uses."""

    def __init__(self) -> None:
        self.stopped = False
        self.settle: Callable[[], bool] | None = None
        self.on_stall: Callable[[GatewayError], None] | None = None

    def await_relay(
        self, sink: Any, settle: Callable[[], bool] | None, on_stall: Callable[[GatewayError], None]
    ) -> None:
        self.settle, self.on_stall = settle, on_stall

    def stop(self) -> None:
        self.stopped = True


class Collected:
    """An outlet."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.ends: list[GatewayError | None] = []

    def on_data(self, data: bytes, last: bool = False) -> None:
        self.data.append(data)

    def on_end(self, error: GatewayError | None) -> None:
        self.ends.append(error)


def make_exchange(
    dialect: Any = None, *, limit: int = 1 << 20, buffer: int = 1 << 30, whole: bool = True
) -> tuple[Exchange, FakeSource, Buffers]:
    """An exchange with a source; inside a loop only."""
    buffers = Buffers(buffer)
    exchange = Exchange(asyncio.get_running_loop(), buffers, dialect=dialect, limit=limit, whole=whole)
    source = FakeSource()
    exchange.source = source
    return exchange, source, buffers


def make_call(**changes: Any) -> Call:
    known: dict[str, Any] = {"id": "call-1", "trace": Trace(id="trace-1"), "received": 1.7e9, "clock": 0.0}
    known |= {"method": "POST", "route": "/v1/chat/completions", "endpoint": Endpoint.CHAT}
    return Call(**(known | changes))


def make_request(body: dict[str, Any] | None = None, **changes: Any) -> Request:
    body = {"model": "m", "messages": [], "stream": True} if body is None else body
    known: dict[str, Any] = {"endpoint": Endpoint.CHAT, "dialect": "openai_chat", "raw": orjson.dumps(body)}
    known |= {"body": body, "model": body.get("model", ""), "stream": body.get("stream") is True}
    return Request(**(known | changes))
