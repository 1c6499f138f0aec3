"""Everything under ``/v1/`` that we don't understand: bytes both ways, nothing buffered, nothing read into.

A request is sent again only if a pooled connection died unheard and not one byte of the client's body has been taken.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from ..contracts import Observer, Provider, Sink
from ..errors import GatewayError, StreamBroken, Unsupported, UpstreamError
from ..tasks import start_task
from ..types import Attempt, Call, Headers, Lane, Outcome, Target, UpstreamRequest
from . import replies
from .answer import conclude
from .attempt import ask, authorize, find_place, write_head
from .deadlines import Watch
from .exchange import Exchange
from .local import LocalSource
from .pipeline import Account, Pipeline
from .relay import Relay
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
    target: Target


async def pass_on(
    pipeline: Pipeline, call: Call, sink: Sink, resolve: Callable[[], Awaitable[Passed]], upload: Upload
) -> None:
    """Forwards one request as it is. Raises only when the client left."""
    with Account(pipeline, call, sink) as account:
        tools = pipeline.tools
        passed = await resolve()
        target = passed.target
        provider = tools.registry.providers[target.provider]
        attempt = Attempt(target=target.path, provider=target.provider, model="", start=time.monotonic() - call.clock)
        call.attempts.append(attempt)
        for observer in account.observers:
            observer.attempt(attempt)
        try:
            await _exchange(pipeline, call, sink, provider, passed, upload, attempt, account.observers)
        except BaseException as error:
            attempt.error = getattr(error, "code", None)
            left = isinstance(error, asyncio.CancelledError | ConnectionError)
            attempt.outcome = Outcome.CLIENT_LEFT if left else Outcome.FAILED
            attempt.closed_by = "client" if left else "upstream" if isinstance(error, UpstreamError) else "gateway"
            raise
        finally:
            attempt.end = time.monotonic() - call.clock


async def _exchange(
    pipeline: Pipeline, call: Call, sink: Sink, provider: Provider, passed: Passed, upload: Upload, attempt: Attempt,
    observers: tuple[Observer, ...],
) -> None:  # fmt: skip
    tools, target = pipeline.tools, passed.target
    asked = ask(provider, PASSED_ON, provider.passthrough, passed.method, passed.raw_path, passed.headers, target)
    if asked is None:
        raise Unsupported(f"{target.provider} has no passthrough", param=f"{target.path}.provider")
    until = tools.loop.time() + target.deadlines.total
    fresh = False
    while True:
        exchange = Exchange(tools.loop, tools.buffers, dialect=None, limit=tools.unary_buffer, whole=False)
        watch = Watch(tools.sweeper, exchange, target.deadlines, until)
        exchange.on_first = watch.await_idle
        tools.live.add(exchange)
        pump: asyncio.Task[None] | None = None
        try:
            exchange.opener = asyncio.current_task(tools.loop)
            watch.await_total()
            request = await authorize(tools, provider, asked, target)
            pump = await _send(pipeline, provider, request, target, exchange, watch, upload, fresh=fresh)
            await exchange.ready
            await _give(pipeline, call, sink, exchange, watch, attempt, observers)
            return
        except StaleConnection:
            if fresh or upload.touched:
                raise
            fresh = True
        except asyncio.CancelledError:
            if (failure := exchange.read_interruption()) is not None:
                raise failure from None
            raise
        finally:
            if pump is not None:
                pump.cancel()
            watch.stop()
            exchange.close()
            tools.live.discard(exchange)


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
    pipeline: Pipeline, call: Call, sink: Sink, exchange: Exchange, watch: Watch, attempt: Attempt,
    observers: tuple[Observer, ...],
) -> None:  # fmt: skip
    tools = pipeline.tools
    relay = Relay(tools.loop, exchange, sink, None)
    attempt.status = call.status = exchange.status
    attempt.first_token = call.committed = time.monotonic() - call.clock
    call.lane = Lane.PASSTHROUGH
    for observer in observers:
        observer.commit(call)
    length = next((int(value) for name, value in exchange.headers if name == b"content-length"), None)
    headers = replies.pass_headers(exchange.headers, frozenset((b"content-length",)))
    sink.start(exchange.status, [*headers, *replies.own_headers(call)], length=length)
    watch.await_relay(sink, None, relay.stall)
    exchange.attach(relay)
    sink.flush()
    try:
        await relay.run()
    finally:
        call.sent = relay.sent
    conclude(call, attempt, relay.error)
