"""The sixteen faults of a provider by which a public crash-test lab scores gateways (Failover Bench, methodology v0.1,
September 2026): what the primary does, as a stream and not.

The feature tests play them within seconds, `python -m tests.lab` in full time; only the `Pace` differs. What has to
come of each stands in `tests.verdicts`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import orjson

from aiogateway.testing.upstream import (
    END,
    Cut,
    Hang,
    Pause,
    Reply,
    Reset,
    Script,
    SeenRequest,
    Send,
    Step,
    chunk,
    head,
    stream,
    unary,
)
from aiogateway.types import Headers
from aiogateway.wire.sse import frame
from tests.voices import DONE, FALLBACK, PRIMARY, TOKENS, Pace


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """`primary` and `fallback` are scripts, by pace and by whether a stream was asked for.

    `calls` one after the other, with `Pace.every` between them. `refusal`: a clean error is the right answer.
    """

    name: str
    title: str
    primary: Callable[[Pace, bool], tuple[Script, ...]]
    fallback: Callable[[bool], Script] = FALLBACK.reply
    calls: int = 1
    refusal: bool = False
    circuit: bool = False


# -- what the primary does


def fail(status: int, code: str, message: str = "no", headers: Headers = (), **fields: str) -> Reply:
    """An error as OpenAI writes it."""
    return unary(orjson.dumps({"error": {"message": message, "code": code, **fields}}), status=status, headers=headers)


DOWN = fail(503, "overloaded", "down")
LIMITED = fail(429, "rate_limit_exceeded", "slow down")
TOO_LONG = fail(400, "context_length_exceeded", "at most 4096 tokens", type="invalid_request_error", param="messages")
REFUSED = fail(
    400, "content_policy_violation", "this prompt was refused", (("x-request-id", "req-13"),),
    type="invalid_request_error", param="messages",
)  # fmt: skip
PREFILLED = fail(400, "invalid_request", "a conversation must not end with an assistant message")


def begin(streamed: bool, size: int = 0) -> Send:
    """A head alone; `size` is the length of a unary body."""
    if streamed:
        return head(200, (("content-type", "text/event-stream"), ("transfer-encoding", "chunked")))
    return head(200, (("content-type", "application/json"), ("content-length", str(size))))


def break_off(streamed: bool, tokens: int, *after: Step) -> Reply:
    """An answer that goes no further than `tokens`, and what happens then."""
    if streamed:
        return (*stream(*PRIMARY.events()[: 1 + tokens], end=False), *after)
    body = PRIMARY.body()
    return (begin(False, len(body)), Send(body[: len(body) * tokens // len(TOKENS)]), *after)


def come_late(pace: Pace, streamed: bool) -> Reply:
    """The head at once, the rest after `late`."""
    body = PRIMARY.whole(streamed)
    rest = (chunk(body), END) if streamed else (Send(body),)
    return (begin(streamed, len(body)), Pause(pace.late), *rest)


def garble(streamed: bool) -> Reply:
    """The tenth event is half an object. Of a unary answer all of it is."""
    if not streamed:
        return unary(PRIMARY.body()[:-20])
    events = PRIMARY.events()
    garbled = frame(events[9].removeprefix(b"data: ")[:40])
    return stream(*events[:9], garbled, *events[9:], DONE)


def lack_done(streamed: bool) -> Reply:
    """All is said, and then nobody hangs up."""
    return (*stream(*PRIMARY.events(), end=False), Hang()) if streamed else (*unary(PRIMARY.body()), Hang())


def refuse_prefill(streamed: bool) -> Script:
    """Fine, but for a conversation that ends with an assistant message."""

    def reply(request: SeenRequest) -> Iterable[Step]:
        last = orjson.loads(request.body)["messages"][-1]
        return PREFILLED if last["role"] == "assistant" else FALLBACK.reply(streamed)

    return reply


def be_down(pace: Pace, streamed: bool) -> Script:
    """Every request gets a 503 for `down` seconds after the first."""
    begun: list[float] = []

    def reply(request: SeenRequest) -> Iterable[Step]:
        now = pace.clock.now()
        begun.append(now)
        return DOWN if now - begun[0] < pace.down else PRIMARY.reply(streamed)

    return reply


_ALL = (
    Fault(
        name="S01", title="429 with Retry-After, then fine",
        primary=lambda pace, streamed: (
            fail(429, "rate_limit_exceeded", headers=(("retry-after", f"{pace.asked:g}"),)), PRIMARY.reply(streamed)
        ),
    ),
    Fault(name="S02", title="429 for ever", primary=lambda pace, streamed: (LIMITED,)),
    Fault(
        name="S03", title="one 500, then fine",
        primary=lambda pace, streamed: (fail(500, "server_error"), PRIMARY.reply(streamed)),
    ),
    Fault(name="S04", title="503 for ever", primary=lambda pace, streamed: (DOWN,)),
    Fault(
        name="S05", title="reset before the first byte, then fine",
        primary=lambda pace, streamed: ((Reset(),), PRIMARY.reply(streamed)),
    ),
    Fault(
        name="S06", title="never answers",
        primary=lambda pace, streamed: ((Pause(pace.silence), Cut()),),
    ),
    Fault(
        name="S07", title="the first token is late",
        primary=lambda pace, streamed: (come_late(pace, streamed),),
    ),
    Fault(
        name="S08", title="dies after 40 of 60 tokens",
        primary=lambda pace, streamed: (break_off(streamed, 40, Cut()),),
    ),
    Fault(
        name="S09", title="silent after 20 tokens", calls=2,
        primary=lambda pace, streamed: (
            break_off(streamed, 20, Pause(pace.stall), Cut()), PRIMARY.reply(streamed)
        ),
    ),
    Fault(
        name="S10", title="one event is no JSON", calls=2,
        primary=lambda pace, streamed: (garble(streamed), PRIMARY.reply(streamed)),
    ),
    Fault(
        name="S11", title="complete, but for [DONE]",
        primary=lambda pace, streamed: (lack_done(streamed),),
    ),
    Fault(name="S12", title="400 context_length_exceeded", primary=lambda pace, streamed: (TOO_LONG,)),
    Fault(
        name="S13", title="400 content_policy_violation", refusal=True,
        primary=lambda pace, streamed: (REFUSED,),
    ),
    Fault(
        name="S14", title="dies, and the fallback takes no prefill", fallback=refuse_prefill,
        primary=lambda pace, streamed: (break_off(streamed, 40, Cut()),),
    ),
    Fault(
        name="S15", title="down for a while", calls=20, circuit=True,
        primary=lambda pace, streamed: (be_down(pace, streamed),),
    ),
    Fault(name="S16", title="503 for ever: who answered?", primary=lambda pace, streamed: (DOWN,)),
)  # fmt: skip

FAULTS = {fault.name: fault for fault in _ALL}
