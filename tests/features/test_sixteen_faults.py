"""The sixteen faults of `tests.faults`, as streams and not, seen from all three sides: what the client got to the byte,
what the upstreams saw, and the one record. `tests.lab` plays the same in full time.
"""

from __future__ import annotations

import orjson

from aiogateway.testing.upstream import SeenRequest
from aiogateway.types import Attempt, Lane, Outcome, Usage
from tests.faults import FAULTS, REFUSED
from tests.lab import perform
from tests.verdicts import Play, Verdict, judge
from tests.views import both
from tests.voices import ASK, DONE, FALLBACK, PRIMARY, TEXT, TOKENS, Clock, Pace, Voice

FIRST, SECOND = "config.targets[0]", "config.targets[1]"
Told = tuple[str, int | None, str | None]


class HandClock(Clock):
    """Only moves when somebody waits."""

    def __init__(self) -> None:
        self.time = 0.0

    def now(self) -> float:
        return self.time

    async def wait(self, seconds: float) -> None:
        self.time += seconds


def shorten(limit: float = 0.2) -> Pace:
    """The lab's pace, a fiftieth of it; S15 keeps its own time."""
    return Pace(
        limit=limit,
        backoff=0.05,
        asked=0.2,
        silence=2.4,
        late=1.2,
        stall=1.2,
        at_once=0.6,
        patience=5,
        clock=HandClock(),
    )


async def play(name: str, streamed: bool, *, limit: float = 0.2) -> Play:
    """Plays a fault, which must end in a pass."""
    played = await perform(FAULTS[name], shorten(limit), streamed=streamed)
    assert judge(played) == (Verdict.PASS, [])
    return played


def tell(attempt: Attempt) -> Told:
    """An attempt in short; the ways in which outcome, error and times must fit together are the same for all."""
    assert attempt.outcome is not None
    assert attempt.end is not None
    assert attempt.end >= attempt.start
    assert (attempt.error is None) == (attempt.outcome is Outcome.OK)
    assert (attempt.first_token is None) == (attempt.outcome is Outcome.FAILED)
    return attempt.target, attempt.status, attempt.error


def failed(target: str, status: int, error: str = "upstream_status") -> Told:
    return target, status, error


OK_FIRST: Told = (FIRST, 200, None)
OK_SECOND: Told = (SECOND, 200, None)


def usage_of(voice: Voice) -> Usage:
    return Usage(input=voice.prompt, output=voice.completion)


def expect_client(played: Play, voice: Voice, target: str, *, retries: int = 0, call: int = 0) -> None:
    """The client has exactly what one voice says, and is told which target that was."""
    heard = played.heard[call]
    assert (heard.status, heard.body) == (200, voice.whole(played.streamed))
    assert heard.headers["x-portkey-last-used-option-index"] == target
    assert heard.headers["x-portkey-retry-attempt-count"] == str(retries)
    assert heard.headers["x-portkey-provider"] == "openai"


def expect_upstreams(played: Play, primary: int, fallback: int) -> None:
    """So many attempts, each the whole question, to its own model, with its own key, never the gateway's own words."""
    assert (len(played.primary), len(played.fallback)) == (primary, fallback)
    asked = [(request, PRIMARY) for request in played.primary] + [(request, FALLBACK) for request in played.fallback]
    for request, voice in asked:
        body = orjson.loads(request.body)
        assert (body["model"], body["messages"], body["stream"]) == (voice.model, ASK["messages"], played.streamed)
        assert request.header("authorization") == "Bearer sk-own"
        assert not [name for name, _ in request.headers if name.startswith("x-portkey-")]


def expect_record(
    played: Play, voice: Voice, attempts: list[Told], *, retries: int = 0, call: int = 0, recovery: str | None = None
) -> None:
    """Success, and every attempt in order; only the one that answered is charged."""
    assert len(played.records) == played.fault.calls
    record = played.records[call]
    assert (record.status, record.outcome, record.error) == (200, Outcome.OK, None)
    assert list(map(tell, record.attempts)) == attempts
    assert [attempt.usage for attempt in record.attempts] == [None] * (len(attempts) - 1) + [usage_of(voice)]
    assert (record.usage, record.retries, record.recovery) == (usage_of(voice), retries, recovery)
    assert record.sent == len(played.heard[call].body)
    assert record.lane is (Lane.CHECKED if played.streamed else Lane.UNARY)
    starts = [attempt.start for attempt in record.attempts]
    assert starts == sorted(starts)


def left_after(played: Play, connection: int = 0) -> float:
    """Seconds that the gateway stayed on one of the primary's connections."""
    seen = played.connections[connection]
    request: SeenRequest = next(one for one in played.primary if one.connection == connection)
    assert seen.left is not None
    return seen.left - request.at


def expect_recovered(played: Play, tokens: int) -> None:
    """The client has the primary's own bytes, a comment, and the rest in the same envelope: nothing twice or twice
    told. The head had gone out, so it names the first target.
    """
    heard = played.heard[0]
    sent = b"".join(PRIMARY.events()[: 1 + tokens])
    assert heard.body.startswith(sent + b": ")
    assert heard.body.endswith(DONE)
    assert heard.headers["x-portkey-last-used-option-index"] == FIRST
    assert heard.headers["x-portkey-retry-attempt-count"] == "0"
    chat = played.chat()
    assert chat.comments == [f"the stream broke off on {FIRST}; looking for another target"]
    told = chat.chunks[1 + tokens :]
    envelope = {"id": PRIMARY.id, "created": PRIMARY.created, "model": FALLBACK.model}
    pieces = [{"content": token} for token in TOKENS[tokens:]]
    assert told[:-1] == [
        *(PRIMARY.piece(piece) | envelope for piece in pieces), PRIMARY.piece({}, "stop") | envelope
    ]  # fmt: skip
    assert (told[-1]["choices"], {**told[-1]["usage"], **FALLBACK.usage}) == ([], told[-1]["usage"])


def expect_broken_first(played: Play, error: str) -> None:
    """The record of a recovered stream: the first attempt was an answer, until it broke."""
    broken, answered = played.records[0].attempts
    assert (broken.outcome, answered.outcome) == (Outcome.TRUNCATED, Outcome.OK)
    expect_record(played, FALLBACK, [(FIRST, 200, error), OK_SECOND], recovery="recovered")


# -- S01 to S05: what a retry mends


@both
async def test_s01_waits_as_long_as_it_was_told(stream: bool) -> None:
    played = await play("S01", stream)
    expect_client(played, PRIMARY, FIRST, retries=1)
    expect_upstreams(played, 2, 0)
    assert 0.2 <= played.gaps()[0] < 0.5
    expect_record(played, PRIMARY, [failed(FIRST, 429), OK_FIRST], retries=1)
    first, second = played.records[0].attempts
    assert (first.retry, first.waited, second.retry) == (0, 0, 1)
    assert 0.2 <= second.waited <= 0.22


@both
async def test_s02_backs_off_and_falls_back(stream: bool) -> None:
    played = await play("S02", stream)
    expect_client(played, FALLBACK, SECOND)
    expect_upstreams(played, 3, 1)
    expect_record(played, FALLBACK, [*[failed(FIRST, 429)] * 3, OK_SECOND])
    one, two = played.gaps()
    assert 0.025 <= one < 0.25
    assert 0.05 <= two < 0.3
    assert [attempt.retry for attempt in played.records[0].attempts] == [0, 1, 2, 0]
    waits = [attempt.waited for attempt in played.records[0].attempts]
    assert waits[0] == waits[3] == 0
    assert 0.025 <= waits[1] <= 0.05 <= waits[2] <= 0.1


async def test_s02_has_jitter() -> None:
    """Calls that failed together do not come back together."""
    waits = [(await play("S02", False)).records[0].attempts[1].waited for _ in range(3)]
    assert len(set(waits)) == 3


@both
async def test_s03_retries_on_the_same_target(stream: bool) -> None:
    played = await play("S03", stream)
    expect_client(played, PRIMARY, FIRST, retries=1)
    expect_upstreams(played, 2, 0)
    expect_record(played, PRIMARY, [failed(FIRST, 500), OK_FIRST], retries=1)


@both
async def test_s04_falls_back_inside_the_budget(stream: bool) -> None:
    played = await play("S04", stream)
    expect_client(played, FALLBACK, SECOND)
    expect_upstreams(played, 3, 1)
    expect_record(played, FALLBACK, [*[failed(FIRST, 503)] * 3, OK_SECOND])


@both
async def test_s05_a_reset_before_the_first_byte_is_retried(stream: bool) -> None:
    played = await play("S05", stream)
    expect_client(played, PRIMARY, FIRST, retries=1)
    expect_upstreams(played, 2, 0)
    assert len(played.connections) == 2
    expect_record(played, PRIMARY, [failed(FIRST, 502, "connect_failed"), OK_FIRST], retries=1)


# -- S06, S07: silence before the answer


@both
async def test_s06_a_silent_target_is_left_and_not_asked_again(stream: bool) -> None:
    played = await play("S06", stream)
    expect_client(played, FALLBACK, SECOND)
    expect_upstreams(played, 1, 1)
    assert 0.18 < left_after(played) < 0.7
    assert 0 <= played.fallback[0].at - played.primary[0].at - left_after(played) < 0.1  # at once
    expect_record(played, FALLBACK, [failed(FIRST, 408, "first_token_timeout"), OK_SECOND])


@both
async def test_s07_a_head_is_no_first_token(stream: bool) -> None:
    """An answer that is no stream has no tokens: there the silence after its head is limited by `idle`."""
    played = await play("S07", stream)
    expect_client(played, FALLBACK, SECOND)
    expect_upstreams(played, 1, 1)
    assert 0.18 < left_after(played) < 0.7
    fault = failed(FIRST, 408, "first_token_timeout") if stream else failed(FIRST, 504, "idle_timeout")
    expect_record(played, FALLBACK, [fault, OK_SECOND])


# -- S08, S09, S14: silence and death in the middle


async def test_s08_a_stream_that_dies_is_finished_by_the_fallback() -> None:
    played = await play("S08", True)
    expect_recovered(played, 40)
    expect_upstreams(played, 1, 1)
    expect_broken_first(played, "stream_truncated")


async def test_s08_a_body_that_is_cut_is_a_failed_attempt() -> None:
    """Not streamed: nothing had reached the client, so it is asked again."""
    played = await play("S08", False)
    expect_client(played, FALLBACK, SECOND)
    expect_upstreams(played, 3, 1)
    expect_record(played, FALLBACK, [*[failed(FIRST, 502, "stream_truncated")] * 3, OK_SECOND])


async def test_s09_a_stream_that_falls_silent_is_finished_by_the_fallback() -> None:
    played = await play("S09", True)
    expect_recovered(played, 20)
    expect_upstreams(played, 2, 1)
    assert 0.18 < left_after(played) < 0.7
    expect_broken_first(played, "idle_timeout")
    expect_client(played, PRIMARY, FIRST, call=1)
    expect_record(played, PRIMARY, [OK_FIRST], call=1)


async def test_s09_a_body_that_stalls_is_a_failed_attempt() -> None:
    """Not streamed: the client has nothing yet, and the target that fell silent is not asked again."""
    played = await play("S09", False)
    expect_client(played, FALLBACK, SECOND)
    expect_upstreams(played, 2, 1)
    assert 0.18 < left_after(played) < 0.7
    expect_record(played, FALLBACK, [failed(FIRST, 504, "idle_timeout"), OK_SECOND])
    expect_client(played, PRIMARY, FIRST, call=1)
    expect_record(played, PRIMARY, [OK_FIRST], call=1)


async def test_s14_a_fallback_that_takes_no_prefill_is_asked_the_question_itself() -> None:
    played = await play("S14", True)
    expect_recovered(played, 40)
    expect_upstreams(played, 1, 1)
    expect_broken_first(played, "stream_truncated")


async def test_s14_not_streamed() -> None:
    """There is nothing that could be handed over as a prefill: the same as S08."""
    played = await play("S14", False)
    expect_client(played, FALLBACK, SECOND)
    expect_upstreams(played, 3, 1)
    expect_record(played, FALLBACK, [*[failed(FIRST, 502, "stream_truncated")] * 3, OK_SECOND])


# -- S10, S11: small faults


async def test_s10_an_event_that_is_no_json_is_dropped_and_counted() -> None:
    played = await play("S10", True)
    expect_upstreams(played, 2, 0)
    for call, malformed in enumerate((1, 0)):
        expect_client(played, PRIMARY, FIRST, call=call)
        expect_record(played, PRIMARY, [OK_FIRST], call=call)
        assert played.records[call].malformed == malformed


async def test_s10_a_body_that_is_no_json_is_a_failed_attempt() -> None:
    """Not streamed: there is no event that could be left out, so the body as a whole is as good as none."""
    played = await play("S10", False)
    expect_client(played, PRIMARY, FIRST, retries=1)
    expect_upstreams(played, 3, 0)
    expect_record(played, PRIMARY, [failed(FIRST, 502, "stream_truncated"), OK_FIRST], retries=1)
    expect_client(played, PRIMARY, FIRST, call=1)


@both
async def test_s11_a_complete_answer_is_not_waited_for(stream: bool) -> None:
    """Not streamed: the body's length says that it is complete, and the connection stays open."""
    played = await play("S11", stream, limit=0.8)
    expect_client(played, PRIMARY, FIRST)
    expect_upstreams(played, 1, 0)
    assert played.chat().usage == PRIMARY.usage
    expect_record(played, PRIMARY, [OK_FIRST])


# -- S12, S13: what no retry mends


@both
async def test_s12_too_long_for_one_model_goes_to_the_next(stream: bool) -> None:
    played = await play("S12", stream)
    expect_client(played, FALLBACK, SECOND)
    expect_upstreams(played, 1, 1)
    expect_record(played, FALLBACK, [failed(FIRST, 400), OK_SECOND])


@both
async def test_s13_a_refusal_is_passed_on_and_not_routed_around(stream: bool) -> None:
    played = await play("S13", stream)
    heard = played.heard[0]
    assert heard.status == 400
    assert heard.body == REFUSED[0].data.partition(b"\r\n\r\n")[2]  # type: ignore[union-attr]  # it is a Send
    assert heard.headers["x-request-id"] == "req-13"
    assert heard.headers["x-portkey-last-used-option-index"] == FIRST
    expect_upstreams(played, 1, 0)
    (record,) = played.records
    assert (record.status, record.outcome, record.error, record.usage) == (400, Outcome.FAILED, "upstream_status", None)
    assert list(map(tell, record.attempts)) == [failed(FIRST, 400)]


# -- S15, S16: who answers


@both
async def test_s15_the_circuit_opens_and_closes_again(stream: bool) -> None:
    """20 calls 4 s apart; the circuit opens at the third failure, and every 10 s one call is the probe."""
    played = await play("S15", stream)
    dead = [number for number, heard in enumerate(played.heard) if heard.begun < 60]
    probes = {3: 12, 6: 24, 9: 36, 12: 48}
    assert [played.heard[number].begun for number in probes] == list(probes.values())
    for call in dead:
        tries = 3 if call == 0 else 1 if call in probes else 0
        expect_client(played, FALLBACK, SECOND, call=call)
        expect_record(played, FALLBACK, [*[failed(FIRST, 503)] * tries, OK_SECOND], call=call)
    for call in range(len(dead), 20):
        expect_client(played, PRIMARY, FIRST, call=call)
        expect_record(played, PRIMARY, [OK_FIRST], call=call)
    expect_upstreams(played, 3 + len(probes) + 5, 15)


@both
async def test_s16_the_caller_sees_who_answered(stream: bool) -> None:
    """Its model, its usage; `expect_record` sees that failed attempts cost nothing."""
    played = await play("S16", stream)
    expect_client(played, FALLBACK, SECOND)
    assert {chunk["model"] for chunk in played.chat().chunks} == {FALLBACK.model}
    assert played.chat().text == TEXT
    assert played.chat().usage == FALLBACK.usage
    expect_upstreams(played, 3, 1)
    expect_record(played, FALLBACK, [*[failed(FIRST, 503)] * 3, OK_SECOND])
