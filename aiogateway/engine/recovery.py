"""A stream that broke after its first token is finished by the next target, if the config asks for it.

The next target is asked the original question again; what the client already has is dropped from its answer. When the
answers differ the client is told of the break: two texts are never spliced.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import msgspec

from ..contracts import Dialect, Encoder, Sink
from ..errors import AnswerDiffers, ClientStalled, GatewayError, StreamBroken, UpstreamError
from ..neutral import Begin, Envelope, Event, Text, UsageReport
from ..types import Attempt, Call, Outcome, Recovery, Usage
from . import replies
from .attempt import Opened, Tools
from .deadlines import Watch
from .lanes import GiveUp, TranslatedLane, Verdict
from .relay import Epilogue, Relay
from .search import FINAL
from .transcript import Continuation, Transcript


class Broken(msgspec.Struct):
    """A stream whose client has not been told that it broke."""

    error: GatewayError
    recovery: Recovery
    transcript: Transcript
    client: Dialect
    envelope: Envelope
    choices: int
    path: str


class ResumedLane(TranslatedLane):
    """Another target's answer behind the part that the client already has; always encoded by us.

    `spent` is what the client's usage event has to hold beside this attempt's own.
    """

    __slots__ = ("_continuation", "_opened", "_spent")

    def __init__(
        self,
        upstream: Dialect,
        client: Dialect,
        encoder: Encoder,
        transcript: Transcript,
        *,
        max_event: int,
        choices: int = 1,
        spent: Usage | None = None,
        give_up: GiveUp | None = None,
    ) -> None:
        super().__init__(
            upstream, client, encoder, max_event=max_event, choices=choices, transcript=transcript, give_up=give_up
        )
        self._finished = len(transcript.finished)
        self._continuation = Continuation(transcript)
        self._opened = False
        self._spent = spent

    def take(self, events: Sequence[Event]) -> bytes:
        """A unary answer's events."""
        return b"".join(self._encode(event) for event in events)

    def _encode(self, event: Event) -> bytes:
        if self.verdict.error is not None:
            return b""
        if not self._opened:
            self._open(event.model if isinstance(event, Begin) else None)
        if isinstance(event, Begin):
            return b""
        if isinstance(event, UsageReport):
            self.verdict.usage = event.usage
            return self._encoder.feed(UsageReport(add_usage(self._spent, event.usage)))
        try:
            return b"".join([super(ResumedLane, self)._encode(new) for new in self._continuation.take(event)])
        except StreamBroken as broken:
            return self._break(broken)

    def _open(self, model: str | None) -> None:
        """Brings the encoder to where the client is: it is told what was said, and its bytes are thrown away."""
        self._opened = True
        assert self._transcript is not None
        begin = self._transcript.begin or Begin()
        self._encoder.feed(Begin(begin.id, model or begin.model, begin.created))
        texts = self._transcript.texts()
        for index in self._transcript.begun:
            self._encoder.feed(Text(texts.get(index, ""), index))

    def end(self, error: GatewayError | None) -> bytes:
        if not self._opened:
            self._open(None)
        return super().end(error)


def add_usage(one: Usage | None, other: Usage | None) -> Usage:
    """What two attempts used together."""
    one, other = one or Usage(), other or Usage()
    return Usage(
        input=one.input + other.input,
        output=one.output + other.output,
        cached=one.cached + other.cached,
        cache_write=one.cache_write + other.cache_write,
        reasoning=one.reasoning + other.reasoning,
        estimated=one.estimated or other.estimated,
    )


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


async def wait_for_client(sink: Sink, watch: Watch) -> GatewayError | None:
    """Until the client has taken what was written; the error for which it was cut when it took nothing."""
    if not sink.paused:
        return None
    stalled: list[GatewayError] = []

    def cut(error: GatewayError) -> None:
        stalled.append(error)
        sink.abort()

    watch.await_relay(sink, None, cut)
    try:
        await sink.drained()
    except (asyncio.CancelledError, ConnectionError):
        if not stalled:  # else it is the echo of our own cut
            raise
    return stalled[0] if stalled else None


def end_soon(tools: Tools, opened: Opened) -> GiveUp:
    """Ends the provider's stream once the read that holds the error has been dealt with."""
    return lambda error: _call_soon(tools, opened, error)


def _call_soon(tools: Tools, opened: Opened, error: GatewayError) -> None:
    tools.loop.call_soon(opened.exchange.fail, error)


def epilogue_of(call: Call, attempt: Attempt, verdict: Verdict) -> Epilogue | None:
    """The closing comment of a stream whose client asked for an explanation; it tells how the stream ended."""
    if not call.explain:
        return None

    def tell() -> bytes:
        conclude(call, attempt, verdict.error)
        attempt.end = time.monotonic() - call.clock
        return write_comment(replies.explain(call))

    return tell


def write_comment(text: str) -> bytes:
    """Clients skip it (the SSE specification, 9.2.6)."""
    return f": {text}\n\n".encode("ascii", "replace")


class Rescue:
    """Brings one broken stream to its end, by other targets' answers or by an in-band error."""

    def __init__(self, tools: Tools, call: Call, sink: Sink, broken: Broken) -> None:
        self._tools = tools
        self._call = call
        self._sink = sink
        self._broken = broken
        self._first = broken.error  # what the client is told when nobody can go on
        self.left = broken.recovery.attempts
        self.error: GatewayError | None = broken.error

    @property
    def wanted(self) -> GatewayError | None:
        """The break that another target may mend; None once the stream has its end, or nothing may be tried."""
        if self.left <= 0 or self.error is None or isinstance(self.error, FINAL):
            return None
        return self.error if self._broken.transcript.hindrance is None else None

    def announce(self) -> None:
        """Says in the stream that it goes on elsewhere; it also keeps the line alive meanwhile."""
        self._call.outcome = self._call.error = None  # whatever it is, it is not known yet
        comment = write_comment(f"the stream broke off on {self._broken.path}; looking for another target")
        self._sink.write(comment)
        self._sink.flush()
        self._call.sent += len(comment)

    async def resume(self, opened: Opened) -> GatewayError | None:
        """Another target's answer, from where the client is. Returns what broke it off."""
        self.left -= 1
        call, broken, attempt = self._call, self._broken, opened.attempt
        try:
            lane = ResumedLane(
                opened.upstream,
                broken.client,
                broken.client.encoder(broken.envelope),
                broken.transcript,
                max_event=self._tools.max_event,
                choices=broken.choices,
                spent=call.usage,
                give_up=end_soon(self._tools, opened),
            )
            error = await (self._relay(opened, lane) if opened.exchange.streaming else self._give(opened, lane))
        except (asyncio.CancelledError, ConnectionError):
            attempt.outcome, attempt.closed_by = Outcome.CLIENT_LEFT, "client"
            raise
        except GatewayError as failure:  # its dialect can't be read
            attempt.outcome, attempt.error, attempt.closed_by = Outcome.FAILED, failure.code, "upstream"
            return failure
        attempt.usage = lane.verdict.usage
        if attempt.usage is not None:
            call.usage = add_usage(call.usage, attempt.usage)
        call.malformed += lane.verdict.malformed
        broken.path = opened.target.path
        conclude(call, attempt, error)
        said = error is None or not lane.verdict.unsaid
        call.recovery = "recovered" if error is None else broken.transcript.hindrance or "failed"
        self.error = None if said else error
        return error

    async def _relay(self, opened: Opened, lane: ResumedLane) -> GatewayError | None:
        relay = Relay(
            self._tools.loop, opened.exchange, self._sink, lane, epilogue_of(self._call, opened.attempt, lane.verdict)
        )
        opened.watch.await_relay(self._sink, relay.settle, relay.stall)
        opened.exchange.attach(relay)
        try:
            await relay.run()
        finally:
            self._call.sent += relay.sent
        if relay.cut:
            lane.verdict.unsaid = False
            return relay.error
        return lane.verdict.error

    async def _give(self, opened: Opened, lane: ResumedLane) -> GatewayError | None:
        """An answer that is no stream: whole, or too large to be compared."""
        if not opened.exchange.over:
            lane.verdict.unsaid = True
            return AnswerDiffers("the other target's answer is no stream and too large to be compared")
        try:
            events = opened.events or replies.read_events(opened.upstream, opened.exchange.body())
        except UpstreamError as error:
            lane.verdict.unsaid = True
            return error
        out = lane.take(events) + lane.end(None)
        if not lane.verdict.unsaid and self._call.explain:
            out += write_comment(replies.explain(self._call))
        self._sink.write(out)
        self._call.sent += len(out)
        if lane.verdict.unsaid:
            self._sink.flush()
        else:
            self._sink.end()
        stalled = await wait_for_client(self._sink, opened.watch)
        if stalled is not None:
            lane.verdict.unsaid = False
        return stalled or lane.verdict.error

    def conclude(self) -> None:
        """Nobody could go on: the client is told of the break it has not heard of yet."""
        if self.error is None:
            return
        call, sink = self._call, self._sink
        call.outcome, call.error = Outcome.TRUNCATED, self._first.code
        call.recovery = self._broken.transcript.hindrance or "failed"
        out = self._broken.client.write_failure(self._first)
        if call.explain:
            out += write_comment(replies.explain(call))
        sink.write(out)
        sink.end()
        call.sent += len(out)
