"""The commit, and the body after it: a stream by its lane, a unary answer whole, a larger one from the bound on."""

from __future__ import annotations

import asyncio

from ..contracts import Sink
from ..errors import ClientStalled, GatewayError, StreamBroken
from ..types import Attempt, Call, Lane, Outcome
from . import replies
from .attempt import Opened, Tools
from .body import count_choices, envelope_for
from .lanes import CheckedLane, SplicedLane, TranslatedLane
from .relay import Relay


async def give_answer(tools: Tools, call: Call, opened: Opened, sink: Sink) -> None:
    """Writes the opened attempt's answer to the client and notes how it ended."""
    attempt = opened.attempt
    try:
        if opened.lane is not Lane.UNARY:
            error = await _give_stream(tools, call, opened, sink)
        elif opened.exchange.over:
            error = await _give_whole(call, opened, sink)
        else:
            error = await _give_large(tools, call, opened, sink)
    except (asyncio.CancelledError, ConnectionError):
        attempt.outcome, attempt.closed_by = Outcome.CLIENT_LEFT, "client"
        raise
    except GatewayError as broken:  # it turned out to be no answer before a byte was sent
        attempt.outcome, attempt.error, attempt.closed_by = Outcome.FAILED, broken.code, "upstream"
        raise
    conclude(call, attempt, error)


def conclude(call: Call, attempt: Attempt, error: GatewayError | None) -> None:
    """Notes the end of a committed answer in the call and its attempt."""
    if error is None:
        call.outcome, attempt.closed_by = Outcome.OK, "upstream"
    elif isinstance(error, ClientStalled):
        call.outcome, attempt.closed_by = Outcome.CLIENT_STALLED, "gateway"
    else:
        call.outcome, attempt.closed_by = Outcome.TRUNCATED, "upstream"
    attempt.outcome = call.outcome
    call.error = attempt.error = error.code if error is not None else None


async def _give_stream(tools: Tools, call: Call, opened: Opened, sink: Sink) -> GatewayError | None:
    lane = _build_lane(tools, call, opened)
    exchange = opened.exchange
    relay = Relay(tools.loop, exchange, sink, lane)
    verbatim = opened.lane is not Lane.TRANSLATED
    sink.start(exchange.status, replies.stream_headers(call, exchange.headers, opened.client, verbatim=verbatim))
    opened.watch.await_relay(sink, relay.settle, relay.stall)
    exchange.attach(relay)
    try:
        await relay.run()
    finally:
        call.sent = relay.sent
        verdict = lane.verdict
        call.usage = opened.attempt.usage = verdict.usage
        call.malformed = verdict.malformed
    return relay.error if relay.cut else verdict.error


def _build_lane(tools: Tools, call: Call, opened: Opened) -> SplicedLane | CheckedLane | TranslatedLane:
    choices = count_choices(opened.request)
    if opened.lane is Lane.TRANSLATED:
        encoder = opened.client.encoder(envelope_for(call.id, opened.request))
        return TranslatedLane(opened.upstream, opened.client, encoder, max_event=tools.max_event, choices=choices)
    kind = CheckedLane if opened.lane is Lane.CHECKED else SplicedLane
    return kind(opened.client, max_event=tools.max_event, hide_usage=opened.hide_usage, choices=choices)


async def _give_whole(call: Call, opened: Opened, sink: Sink) -> GatewayError | None:
    """Head and body in one system call."""
    exchange = opened.exchange
    body = exchange.body()
    verbatim = opened.upstream is opened.client
    if not verbatim:
        events = replies.read_events(opened.upstream, body)
        body = opened.client.write_answer(events, envelope_for(call.id, opened.request))
        call.usage = replies.find_usage(events)
    sink.start(exchange.status, replies.unary_headers(call, exchange.headers, verbatim=verbatim), length=len(body))
    if body:
        sink.write(body)
    sink.end()
    call.sent = len(body)
    if verbatim:  # the client has its answer: reading on costs it nothing
        call.usage = opened.client.read_usage(body)
    opened.attempt.usage = call.usage
    stalled: list[GatewayError] = []
    if sink.paused:

        def cut(error: GatewayError) -> None:
            stalled.append(error)
            sink.abort()

        opened.watch.await_relay(sink, None, cut)
        try:
            await sink.drained()
        except (asyncio.CancelledError, ConnectionError):
            if not stalled:  # else it is the echo of our own cut
                raise
    return stalled[0] if stalled else None


async def _give_large(tools: Tools, call: Call, opened: Opened, sink: Sink) -> GatewayError | None:
    """Over `unary_buffer`: committed at the bound, streamed on."""
    if opened.upstream is not opened.client:
        raise StreamBroken(f"an answer over {tools.unary_buffer} bytes can't be translated")
    exchange = opened.exchange
    relay = Relay(tools.loop, exchange, sink, None)
    length = find_length(exchange.headers)
    sink.start(exchange.status, replies.unary_headers(call, exchange.headers, verbatim=True), length=length)
    opened.watch.await_relay(sink, None, relay.stall)
    exchange.attach(relay)
    try:
        await relay.run()
    finally:
        call.sent = relay.sent
    return relay.error


def find_length(headers: list[tuple[bytes, bytes]]) -> int | None:
    """The length a provider promised, where its bytes reach the client as they are."""
    length: int | None = None
    for name, value in headers:
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            return None
        if name == b"content-length":
            length = int(value)
    return length
