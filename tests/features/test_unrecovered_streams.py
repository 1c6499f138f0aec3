"""A stream that breaks after its first token and can't be finished: what the client has stays, and it is told so."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from aiogateway.testing import FakeUpstream
from aiogateway.testing.upstream import Cut, Hang, Pause, Reply, Reset, chunk, stream, unary
from aiogateway.types import Lane, Outcome, Record
from aiogateway.wire.sse import frame
from tests.faults import DOWN, FAULTS, TOO_LONG, break_off
from tests.features.test_stream_recovery import BROKEN, CUT, FINE, RECOVERY, SENT, comment, pair, tell
from tests.lab import perform
from tests.stage import Stage, branch, leaf
from tests.verdicts import Verdict, judge
from tests.views import both, read_in_band
from tests.voices import ASK, DONE, FALLBACK, PRIMARY, TOKENS, Pace


async def expect_break(
    live: Stage, sent: bytes, body: bytes, *attempts: Any, recovery: str | None = "failed"
) -> Record:
    """The client has what was sent, and the first break as an error: no finish, no ``[DONE]``, no other's words."""
    error = read_in_band(body, sent)
    assert (error["code"], error["type"]) == ("stream_truncated", "upstream_error")
    assert error["message"] == "the provider closed the connection before its answer was complete"
    record = await live.recorded()
    assert (record.status, record.outcome, record.error) == (200, Outcome.TRUNCATED, "stream_truncated")
    assert list(map(tell, record.attempts)) == [BROKEN, *attempts]
    assert (record.recovery, record.sent) == (recovery, len(body))
    assert len(live.records) == 1
    return record


# -- it is not wanted


@pytest.mark.parametrize("where", ["nowhere", "config", "leaf"])
async def test_off_unless_asked_for(where: str) -> None:
    off = {"mode": "off"}
    async with pair(CUT, FINE, stream_recovery=RECOVERY if where == "leaf" else off) as (live, other, config):
        if where == "nowhere":
            del config["stream_recovery"]
        if where == "leaf":
            config["targets"][0]["stream_recovery"] = off
        _, body = await live.ask(config=config, **ASK)
        record = await expect_break(live, SENT, body, recovery=None)
        assert record.lane is Lane.FRAMED
        assert other.requests == []


async def test_it_is_safe_all_the_same() -> None:
    """The lab's word for a bounded, clean error."""
    played = await perform(FAULTS["S08"], Pace(limit=1), streamed=True, stream_recovery={"mode": "off"})
    assert judge(played) == (Verdict.SAFE, [])


# -- nobody can


async def test_a_single_target() -> None:
    async with pair(CUT, FINE) as (live, other, _):
        _, body = await live.ask(config=leaf(live.up, stream_recovery=RECOVERY), **ASK)
        error = read_in_band(body, SENT + comment().replace(b".targets[0]", b""))
        assert error["code"] == "stream_truncated"
        record = await live.recorded()
        assert list(map(tell, record.attempts)) == [("config", *BROKEN[1:])]
        assert (record.outcome, record.recovery) == (Outcome.TRUNCATED, "failed")
        assert other.requests == []


@pytest.mark.parametrize("mode", ["loadbalance", "conditional", "single"])
async def test_strategies_that_lead_to_one_target(mode: str) -> None:
    """There is no failover in these unless the config says so."""
    strategies: dict[str, Any] = {
        "loadbalance": {},
        "single": {},
        "conditional": {"conditions": [{"query": {"params.model": "m"}, "then": "one"}], "default": "two"},
    }
    async with pair(CUT, FINE) as (live, other, _):
        live.gateway.tools.draw = lambda: 0.0
        targets = leaf(live.up, name="one"), leaf(other, name="two")
        config = branch(mode, *targets, strategy=strategies[mode], stream_recovery=RECOVERY)
        _, body = await live.ask(config=config, **ASK)
        await expect_break(live, SENT + comment(), body)
        assert other.requests == []


@pytest.mark.parametrize(
    ("second", "status", "error", "tries"),
    [
        (TOO_LONG, 400, "upstream_status", 1),
        (DOWN, 503, "upstream_status", 3),
        ((Reset(),), 502, "connect_failed", 3),
        (stream(frame(b'{"error":{"message":"no capacity","code":529}}')), 529, "upstream_status", 1),
    ],
    ids=["400", "503", "reset", "error in a 200"],
)
async def test_the_next_targets_own_failure_is_never_seen(second: Reply, status: int, error: str, tries: int) -> None:
    """It is in the record; the client is told of the break, not of what was tried about it."""
    async with pair(CUT, second) as (live, other, config):
        _, body = await live.ask(config=config, **ASK)
        await expect_break(live, SENT + comment(), body, *[("[1]", status, Outcome.FAILED, error)] * tries)
        assert len(other.requests) == tries


async def test_the_next_target_breaks_as_well() -> None:
    """One attempt unless the config says more: what the second has said is kept."""
    again: Reply = (*stream(*FALLBACK.events()[:51], end=False), Cut())
    async with FakeUpstream(FINE) as third, pair(CUT, again) as (live, _, config):
        config["targets"].append(leaf(third))
        _, body = await live.ask(config=config, **ASK)
        at = body.rindex(b"data: ")
        assert body[:at].startswith(SENT + comment())
        assert body[:at].count(b"token-") == 50
        await expect_break(live, body[:at], body, ("[1]", 200, Outcome.TRUNCATED, "stream_truncated"))
        assert third.requests == []


# -- its answer is another one


def say(*tokens: str) -> Reply:
    return stream(*FALLBACK.events(tokens), DONE)


OTHER_ANSWERS = {
    "another": say("Something ", "else."),
    "another in the middle": say(*TOKENS[:39], "token-forty ", *TOKENS[40:]),
    "another at the last letter": say("".join(TOKENS[:40])[:-1] + "! and so on"),
    "shorter": say(*TOKENS[:30]),
    "empty": say(),
    "no stream": unary(FALLBACK.body().replace(b"token-39", b"token-XX")),
}


@pytest.mark.parametrize("second", OTHER_ANSWERS.values(), ids=OTHER_ANSWERS)
async def test_two_answers_are_never_spliced(second: Reply) -> None:
    async with pair(CUT, second) as (live, _, config):
        _, body = await live.ask(config=config, **ASK)
        await expect_break(live, SENT + comment(), body, ("[1]", 200, Outcome.TRUNCATED, "answer_differs"))


async def test_an_answer_that_differs_is_not_read_to_its_end() -> None:
    second: Reply = (*stream(FALLBACK.events(["Something "])[1], end=False), Hang())
    async with pair(CUT, second) as (live, other, config):
        _, body = await live.ask(config=config, **ASK)
        await other.left(limit=1)
        await expect_break(live, SENT + comment(), body, ("[1]", 200, Outcome.TRUNCATED, "answer_differs"))


# -- there is nothing to go on from


def call_tool() -> list[bytes]:
    """The begin of a tool call, half its arguments."""
    function = {"name": "weather", "arguments": '{"city": "Mo'}
    call = {"index": 0, "id": "call_1", "type": "function", "function": function}
    delta = {"role": "assistant", "content": None, "tool_calls": [call]}
    return [frame(orjson.dumps(PRIMARY.piece(delta)))]


def refuse() -> list[bytes]:
    return [frame(orjson.dumps(PRIMARY.piece({"role": "assistant", "refusal": "I can't"})))]


def flood() -> list[bytes]:
    """A little more than 1 MiB of text."""
    return PRIMARY.events(["x" * 65_536] * 16 + ["!"])[:18]


@pytest.mark.parametrize(
    ("events", "reason"),
    [(call_tool(), "tool_call"), (refuse(), "unsupported"), (flood(), "too_long")],
    ids=["tool call", "refusal", "long"],
)
async def test_what_can_not_be_compared_is_not_recovered(events: list[bytes], reason: str) -> None:
    async with pair((*stream(*events, end=False), Cut()), FINE) as (live, other, config):
        _, body = await live.ask(config=config, **ASK)
        await expect_break(live, b"".join(events), body, recovery=reason)
        assert other.requests == []


# -- its time is over


@pytest.mark.parametrize("whose", ["config", "leaf"])
async def test_the_second_attempt_has_its_own_first_token_limit(whose: str) -> None:
    async with pair(CUT, (Hang(),)) as (live, other, config):
        (config if whose == "config" else config["targets"][1])["timeouts"] = {"first_token": 150}
        _, body = await live.ask(config=config, **ASK)
        record = await expect_break(
            live, SENT + comment(), body, ("[1]", 408, Outcome.FAILED, "first_token_timeout")
        )  # fmt: skip
        await other.left(limit=1)
        second = record.attempts[1]
        assert second.end is not None
        assert 0.13 < second.end - second.start < 0.6


async def test_the_second_attempt_has_its_own_idle_limit() -> None:
    second: Reply = (*stream(*FALLBACK.events()[:51], end=False), Hang())
    async with pair(CUT, second, timeouts={"idle": 150}) as (live, other, config):
        _, body = await live.ask(config=config, **ASK)
        at = body.rindex(b"data: ")
        assert body[:at].count(b"token-") == 50
        await expect_break(live, body[:at], body, ("[1]", 200, Outcome.TRUNCATED, "idle_timeout"))
        await other.left(limit=1)


async def test_the_whole_calls_limit_is_no_ones_fault_and_final() -> None:
    script: Reply = (*break_off(True, 40), *(chunk(b": still here\n\n"), Pause(0.03)) * 40)
    async with pair(script, FINE, timeouts={"total": 250, "idle": 400}) as (live, other, config):
        _, body = await live.ask(config=config, **ASK)
        sent = body[: body.rindex(b"data: ")]
        assert read_in_band(body, sent)["code"] == "total_timeout"
        assert b"looking for" not in body
        record = await live.recorded()
        assert (record.outcome, record.error) == (Outcome.TRUNCATED, "total_timeout")
        assert other.requests == []


async def test_the_whole_calls_limit_holds_for_the_second_attempt() -> None:
    async with pair(CUT, (Hang(),), timeouts={"total": 250}) as (live, other, config):
        _, body = await live.ask(config=config, **ASK)
        await expect_break(live, SENT + comment(), body, ("[1]", 504, Outcome.FAILED, "total_timeout"))
        await other.left(limit=1)


# -- nobody is left to hear it


@both
async def test_the_client_leaves_meanwhile(stream: bool) -> None:
    """Before the second answer, and in the middle of it. Both upstreams are closed within a second."""
    second: Reply = (*FINE[:52], Hang()) if stream else (Hang(),)
    async with pair((*CUT[:-1], Hang()), second, timeouts={"idle": 100}) as (live, other, config):
        config["targets"][1]["timeouts"] = {"idle": 9000}
        client = await live.post(config=config, **ASK)
        await client.head()
        got = b""
        async with asyncio.timeout(2):
            while not got.endswith(b'token-49 "},"finish_reason":null}]}\n\n' if stream else comment()):
                got += await client.chunk()
        await other.requested()
        client.leave()
        await other.left(limit=1)
        await live.up.left(limit=1)
        record = await live.recorded()
        assert (record.status, record.outcome) == (499, Outcome.CLIENT_LEFT)
        left = ("[1]", 200 if stream else None, Outcome.CLIENT_LEFT, None)
        assert list(map(tell, record.attempts)) == [("[0]", 200, Outcome.TRUNCATED, "idle_timeout"), left]
        assert record.attempts[1].closed_by == "client"
        assert live.gateway.pool.count_idle() == 0
