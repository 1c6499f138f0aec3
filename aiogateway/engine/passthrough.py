"""Everything under ``/v1/`` that we don't understand: bytes both ways, nothing buffered, nothing read into.

A request is sent again, to the same target or the next one, only while not a byte of the client's body has been taken.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from ..config.conditions import Facts
from ..config.tree import Tree
from ..contracts import Observer, Provider, Sink
from ..errors import GatewayError, StreamBroken, Unsupported, UpstreamError, UpstreamStatus
from ..tasks import start_task
from ..types import Attempt, Call, Headers, Lane, Outcome, Target, UpstreamRequest
from ..wire.encoding import Inflater
from . import replies
from .attempt import ask, authorize, begin_attempt, find_place, text_headers
from .deadlines import Watch
from .exchange import Exchange
from .head import write_head
from .local import LocalSource
from .pipeline import Account, Pipeline
from .recovery import conclude
from .relay import Relay
from .search import FINAL, Search, Step
from .transport import StaleConnection, Upstream

PASSED_ON = UpstreamRequest | None


class Upload(Protocol):
    """The client's body on its way in."""

    @property
    def length(self) -> int | None:
        """Bytes, 0 for none, None when it comes in chunks."""

    @property
    def touched(self) -> bool:
        """Whether a byte of it has been taken."""

    async def read(self) -> bytes:
        """The next piece; empty at the end."""

    async def read_all(self) -> bytes: ...


class Passed(msgspec.Struct):
    """What the server read off the request line and headers."""

    method: str
    raw_path: str
    headers: Headers
    tree: Tree


class Opened(msgspec.Struct):
    """An answer's head; the body follows."""

    attempt: Attempt
    exchange: Exchange
    watch: Watch
    pump: asyncio.Task[None] | None

    def close(self) -> None:
        if self.pump is not None:
            self.pump.cancel()
        self.watch.stop()
        self.exchange.close()


async def pass_on(
    pipeline: Pipeline, call: Call, sink: Sink, resolve: Callable[[], Awaitable[Passed]], upload: Upload
) -> None:
    """Forwards one request as it is. Raises only when the client left."""
    with Account(pipeline, call, sink) as account:
        passed = await resolve()
        passage = Passage(pipeline, call, passed, upload, account.observers)
        search = Search(pipeline.tools, call, passed.tree, passage.look, passage.open, passage.may_go_on)
        opened = await search.find()
        try:
            error = await _give(pipeline, call, sink, opened, account.observers)
        except (asyncio.CancelledError, ConnectionError):
            opened.attempt.outcome, opened.attempt.closed_by = Outcome.CLIENT_LEFT, "client"
            raise
        finally:
            opened.close()
            opened.attempt.end = time.monotonic() - call.clock
            pipeline.tools.live.discard(opened.exchange)
        if error is not None:
            search.note_break(error)


class Passage:
    """One request on its way to whichever target takes it."""

    def __init__(
        self, pipeline: Pipeline, call: Call, passed: Passed, upload: Upload, observers: tuple[Observer, ...]
    ) -> None:
        self._pipeline = pipeline
        self._call = call
        self._passed = passed
        self._upload = upload
        self._observers = observers

    def look(self) -> Facts:
        call, passed = self._call, self._passed
        return Facts(metadata=call.metadata, path=call.route, headers=dict(passed.headers))

    def may_go_on(self) -> bool:
        """A body that has begun to flow is nowhere kept."""
        return not self._upload.touched

    async def open(self, this: Step) -> Opened:
        """One attempt, up to the answer's head."""
        attempt = begin_attempt(self._call, this, "", self._observers)
        try:
            opened = await self._open(this, attempt)
            if self._may_fail(this, opened.exchange.status):
                raise await self._refuse(this, opened)
        except BaseException as error:
            left = isinstance(error, asyncio.CancelledError | ConnectionError)
            attempt.error = getattr(error, "code", None)
            attempt.status = getattr(error, "status", None) if isinstance(error, UpstreamError) else None
            attempt.outcome = Outcome.CLIENT_LEFT if left else Outcome.FAILED
            attempt.closed_by = "client" if left else "upstream" if isinstance(error, UpstreamError) else "gateway"
            raise
        finally:
            attempt.end = time.monotonic() - self._call.clock
        return opened

    async def _open(self, this: Step, attempt: Attempt) -> Opened:
        tools, target, passed = self._pipeline.tools, this.target, self._passed
        provider = tools.registry.providers[target.provider]
        asked = ask(provider, PASSED_ON, provider.passthrough, passed.method, passed.raw_path, passed.headers, target)
        if asked is None:
            raise Unsupported(f"{target.provider} has no passthrough", param=f"{target.path}.provider")
        fresh = False
        while True:
            exchange = Exchange(tools.loop, tools.buffers, dialect=None, limit=tools.unary_buffer, whole=False)
            opened = Opened(attempt, exchange, Watch(tools.sweeper, exchange, target.deadlines, this.until), None)
            exchange.on_first = opened.watch.await_idle
            tools.live.add(exchange)
            try:
                exchange.opener = asyncio.current_task(tools.loop)
                opened.watch.await_total()
                request = await authorize(tools, provider, asked, target)
                opened.pump = await _send(
                    self._pipeline, provider, request, target, exchange, opened.watch, self._upload, fresh=fresh
                )
                await exchange.ready
                return opened
            except BaseException as error:
                opened.close()
                tools.live.discard(exchange)
                if isinstance(error, StaleConnection) and not fresh and not self._upload.touched:
                    fresh = True
                    continue
                if isinstance(error, asyncio.CancelledError) and (failure := exchange.read_interruption()) is not None:
                    raise failure from None
                raise

    def _may_fail(self, this: Step, status: int) -> bool:
        """Whether an error status is a failed attempt; where nothing else can be tried, and no circuit has to hear of
        it, it is the answer.
        """
        target = this.target
        if status >= 500 and target.circuit is not None:
            return True
        others = self._passed.tree is not target or target.retry.attempts > 0
        return status >= 400 and others and self.may_go_on()

    async def _refuse(self, this: Step, opened: Opened) -> UpstreamStatus:
        """The error that a provider's answer stands for, with its body as far as that is kept."""
        tools, exchange = self._pipeline.tools, opened.exchange
        collector = Collector(tools.loop.create_future(), tools.unary_buffer)
        try:
            exchange.attach(collector)
            await collector.done
        finally:
            opened.close()
            tools.live.discard(exchange)
        if isinstance(exchange.error, FINAL):  # we are told to stop, or the call's time is over
            raise exchange.error
        provider = tools.registry.providers[this.target.provider]
        body, headers = collector.read(exchange.headers), text_headers(exchange.headers)
        return ask(provider, UpstreamStatus, provider.read_error, exchange.status, headers, body)


class Collector:
    """Takes an error's body; what is over `limit`, cut or can't be decoded is no body at all."""

    def __init__(self, done: asyncio.Future[None], limit: int) -> None:
        self.done = done
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0
        self._whole = True

    def on_data(self, data: bytes, last: bool = False) -> None:
        self._size += len(data)
        if self._size <= self._limit:
            self._parts.append(data)
        else:
            self.on_end(StreamBroken("too large"))

    def on_end(self, error: UpstreamError | None) -> None:
        if not self.done.done():
            self._whole = error is None
            self.done.set_result(None)

    def read(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        if not self._whole:
            return b""
        body = b"".join(self._parts)
        encoding = next((value.strip().lower() for name, value in headers if name == b"content-encoding"), b"")
        if encoding in (b"", b"identity"):
            return body
        try:
            inflater = Inflater(encoding.decode("latin-1"))
            return inflater.feed(body) + inflater.end()
        except UpstreamError:
            return b""


async def _send(
    pipeline: Pipeline, provider: Provider, request: UpstreamRequest, target: Target, exchange: Exchange, watch: Watch,
    upload: Upload, *, fresh: bool,
) -> asyncio.Task[None] | None:  # fmt: skip
    """Sends the head; a body follows in a task of its own, since the answer may come before its end."""
    pool = pipeline.tools.pool
    responder = pipeline.tools.responders.get(provider.name)
    if responder is not None and request.url.startswith("local:"):
        body = await upload.read_all()
        exchange.opener = None
        LocalSource(responder, msgspec.structs.replace(request, body=body), exchange)
        watch.await_first(stream=False)
        return None
    place = find_place(pipeline.tools, request, target)
    upstream = None if fresh else pool.take(place)
    if upstream is None:
        upstream = await pool.dial(place, target.deadlines.connect)
    exchange.opener = None
    exchange.source = upstream
    head = write_head(request, place, upload.length)
    if upload.length == 0:
        upstream.send(exchange, request.method, head)
        watch.await_first(stream=False)
        return None
    upstream.send(exchange, request.method, head, uploading=True)
    watch.await_total()
    return start_task(_pump(exchange, upstream, watch, upload), name="passthrough upload")


async def _pump(exchange: Exchange, upstream: Upstream, watch: Watch, upload: Upload) -> None:
    """Client to provider, one piece at a time; TCP holds the client back while the provider is slow."""
    chunked = upload.length is None
    try:
        while data := await upload.read():
            if exchange.source is not upstream:
                return
            upstream.write(b"%x\r\n%b\r\n" % (len(data), data) if chunked else data)
            if upstream.full:
                await _wait_for_room(exchange, upstream, watch)
    except Exception as error:  # the client's body broke off: the provider must not take the part for the whole
        exchange.fail(error if isinstance(error, GatewayError) else StreamBroken("the client's upload broke off"))
        return
    if exchange.source is upstream:
        if chunked:
            upstream.write(b"0\r\n\r\n")
        upstream.uploaded()
        if not exchange.ready.done():
            watch.await_first(stream=False)


async def _wait_for_room(exchange: Exchange, upstream: Upstream, watch: Watch) -> None:
    """A provider that takes nothing is as silent as one that says nothing; once it answers, its answer is watched."""
    if not exchange.ready.done():
        watch.await_idle()
    await upstream.drained()
    if not exchange.ready.done():
        watch.await_total()


async def _give(
    pipeline: Pipeline, call: Call, sink: Sink, opened: Opened, observers: tuple[Observer, ...]
) -> GatewayError | None:
    """Relays the answer; returns what broke it off."""
    attempt, exchange = opened.attempt, opened.exchange
    relay = Relay(pipeline.tools.loop, exchange, sink, None)
    attempt.status = call.status = exchange.status
    attempt.first_token = call.committed = time.monotonic() - call.clock
    call.lane = Lane.PASSTHROUGH
    for observer in observers:
        observer.commit(call)
    length = next((int(value) for name, value in exchange.headers if name == b"content-length"), None)
    headers = replies.pass_headers(exchange.headers, frozenset((b"content-length",)))
    sink.start(exchange.status, [*headers, *replies.own_headers(call)], length=length)
    opened.watch.await_relay(sink, None, relay.stall)
    exchange.attach(relay)
    sink.flush()
    try:
        await relay.run()
    finally:
        call.sent = relay.sent
    conclude(call, attempt, relay.error)
    return relay.error
