"""The commit, and the body after it: a stream by its lane, a unary answer whole, a larger one from the bound on."""

from __future__ import annotations

import asyncio

from ..contracts import Sink
from ..errors import GatewayError
from ..neutral import Envelope
from ..types import Call, Lane, Outcome
from . import replies
from .attempt import Opened, Tools
from .body import count_choices, envelope_for
from .lanes import CheckedLane, SplicedLane, TranslatedLane, Verdict
from .recovery import Broken, conclude, end_soon, epilogue_of, wait_for_client
from .relay import Relay
from .transcript import Transcript


async def give_answer(
    tools: Tools, call: Call, opened: Opened, sink: Sink
) -> tuple[GatewayError | None, Broken | None]:
    """Writes the opened attempt's answer to the client and notes how it ended.

    Returns what broke it off, and the broken stream when the client has not been told, because another target may go
    on with it.
    """
    attempt = opened.attempt
    broken: Broken | None = None
    try:
        if opened.lane is not Lane.UNARY:
            error, broken = await _give_stream(tools, call, opened, sink)
        elif opened.exchange.over:
            error = await _give_whole(call, opened, sink)
        else:
            error = await _give_large(tools, call, opened, sink)
    except (asyncio.CancelledError, ConnectionError):
        attempt.outcome, attempt.closed_by = Outcome.CLIENT_LEFT, "client"
        raise
    except GatewayError as failure:  # it turned out to be no answer before a byte was sent
        attempt.outcome, attempt.error, attempt.closed_by = Outcome.FAILED, failure.code, "upstream"
        raise
    conclude(call, attempt, error)
    return error, broken


async def _give_stream(
    tools: Tools, call: Call, opened: Opened, sink: Sink
) -> tuple[GatewayError | None, Broken | None]:
    transcript = Transcript() if opened.recoverable else None
    ours = transcript is not None or opened.lane is Lane.TRANSLATED
    envelope = envelope_for(call.id, opened.request) if ours else None  # one for the whole answer, whoever ends it
    lane = _build_lane(tools, opened, transcript, envelope)
    exchange = opened.exchange
    relay = Relay(tools.loop, exchange, sink, lane, epilogue_of(call, opened.attempt, lane.verdict))
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
        if transcript is not None:
            call.recovery = transcript.hindrance
    if relay.cut:
        return relay.error, None
    return verdict.error, _find_broken(opened, verdict, transcript, envelope)


def _build_lane(
    tools: Tools, opened: Opened, transcript: Transcript | None, envelope: Envelope | None
) -> SplicedLane | CheckedLane | TranslatedLane:
    choices, size = count_choices(opened.request), tools.max_event
    if opened.lane is Lane.VERBATIM or opened.lane is Lane.FRAMED:
        return SplicedLane(opened.client, max_event=size, hide_usage=opened.hide_usage, choices=choices)
    give_up = end_soon(tools, opened)
    if opened.lane is Lane.CHECKED:
        return CheckedLane(
            opened.client,
            max_event=size,
            hide_usage=opened.hide_usage,
            choices=choices,
            transcript=transcript,
            give_up=give_up,
        )
    assert envelope is not None
    return TranslatedLane(
        opened.upstream,
        opened.client,
        opened.client.encoder(envelope),
        max_event=size,
        choices=choices,
        transcript=transcript,
        give_up=give_up,
    )


def _find_broken(
    opened: Opened, verdict: Verdict, transcript: Transcript | None, envelope: Envelope | None
) -> Broken | None:
    if not verdict.unsaid:
        return None
    assert verdict.error is not None
    assert transcript is not None
    assert envelope is not None
    assert opened.target.recovery is not None
    return Broken(
        error=verdict.error,
        recovery=opened.target.recovery,
        transcript=transcript,
        client=opened.client,
        envelope=envelope,
        choices=count_choices(opened.request),
        path=opened.target.path,
    )


async def _give_whole(call: Call, opened: Opened, sink: Sink) -> GatewayError | None:
    """Head and body in one system call."""
    exchange = opened.exchange
    body = exchange.body()
    verbatim = opened.upstream is opened.client
    if opened.events is not None:
        body = opened.client.write_answer(opened.events, envelope_for(call.id, opened.request))
        call.usage = replies.find_usage(opened.events)
    sink.start(exchange.status, replies.unary_headers(call, exchange.headers, verbatim=verbatim), length=len(body))
    if body:
        sink.write(body)
    sink.end()
    call.sent = len(body)
    if verbatim:  # the client has its answer: reading on costs it nothing
        call.usage = opened.client.read_usage(body)
    opened.attempt.usage = call.usage
    return await wait_for_client(sink, opened.watch) if sink.paused else None


async def _give_large(tools: Tools, call: Call, opened: Opened, sink: Sink) -> GatewayError | None:
    """Over `unary_buffer`: committed at the bound, streamed on."""
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
