"""A fallback: the next target is asked when one fails, whatever the way in which it failed, and nobody sees how."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from aiogateway.testing import FakeUpstream
from aiogateway.testing.upstream import Cut, Hang, Pause, Reply, Reset, chunk, head, unary
from aiogateway.testing.upstream import stream as streamed
from aiogateway.types import Outcome
from aiogateway.wire.sse import frame
from tests.answers import (
    answer,
    bad,
    call,
    cast,
    count,
    expect_loss,
    expect_rescue,
    good,
    index,
    problem,
    seen,
    tell,
)
from tests.network import Authority, Names, closed_port, plain_port, silent_port
from tests.stage import branch, event, leaf
from tests.views import both, read_error, read_in_band

SSE = head(200, (("content-type", "text/event-stream"), ("transfer-encoding", "chunked")))
RESCUED = ("targets[1]", 200, None)
STATUSES = [301, 400, 401, 403, 404, 408, 409, 413, 418, 422, 429, 500, 501, 502, 503, 504, 529]


# ---------------------------------------------------------------- which failures


@both
async def test_any_error_status_goes_to_the_next_target(stream: bool) -> None:
    async with cast([bad(status) for status in STATUSES], [good(stream, "second")]) as (live, (first, second)):
        for number, status in enumerate(STATUSES, 1):
            client, body = await call(live, branch("fallback", leaf(first), leaf(second)), stream=stream)
            assert (client.status, body) == (200, seen(stream, "second")), status
            assert (index(client), count(client)) == ("config.targets[1]", "0"), status
            assert "x-should-retry" not in client.headers
            assert (len(first.requests), len(second.requests)) == (number, number), status
            await expect_rescue(live, ("targets[0]", status, "upstream_status"), RESCUED, count=number)


@both
async def test_a_target_that_answers_is_the_only_one_asked(stream: bool) -> None:
    async with cast([good(stream)], [good(stream, "second")]) as (live, (first, second)):
        client, body = await call(live, branch("fallback", leaf(first), leaf(second)), stream=stream)
        assert (client.status, body, index(client)) == (200, seen(stream), "config.targets[0]")
        assert second.connections == []
        await expect_rescue(live, ("targets[0]", 200, None))


@both
@pytest.mark.parametrize(("status", "goes_on"), [(429, True), (503, True), (500, False), (400, False), (408, False)])
async def test_with_status_codes_only_those_go_on(status: int, goes_on: bool, stream: bool) -> None:
    async with cast([bad(status)], [good(stream)]) as (live, (first, second)):
        config = branch("fallback", leaf(first), leaf(second), strategy={"on_status_codes": [429, 503]})
        client, body = await call(live, config, stream=stream)
        if goes_on:
            assert (client.status, body) == (200, seen(stream))
            await expect_rescue(live, ("targets[0]", status, "upstream_status"), RESCUED)
        else:
            assert (client.status, body, index(client)) == (status, problem(status), "config.targets[0]")
            assert second.connections == []
            await expect_loss(live, "upstream_status", ("targets[0]", status, "upstream_status"))


@contextlib.asynccontextmanager
async def unreachable(kind: str, port: int) -> AsyncIterator[str]:
    """A host that can't be got at; `port` is where `wrong name` finds a certificate of somebody else."""
    if kind == "refused":
        with closed_port() as closed:
            yield f"http://127.0.0.1:{closed}/v1"
    elif kind == "no such name":
        yield f"http://missing.example:{port}/v1"
    elif kind == "no handshake":
        async with silent_port() as silent:
            yield f"https://127.0.0.1:{silent}/v1"
    elif kind == "no TLS":
        async with plain_port([]) as plain:
            yield f"https://api.example:{plain}/v1"
    else:
        yield f"https://api.example:{port}/v1"


UNREACHABLE = {
    "refused": (502, "connect_failed"),
    "no such name": (502, "connect_failed"),
    "no name server": (504, "connect_timeout"),
    "no handshake": (504, "connect_timeout"),
    "no TLS": (502, "upstream_tls"),
    "wrong certificate": (502, "upstream_tls"),
}


@both
@pytest.mark.parametrize("codes", [None, [429]], ids=["any", "429 only"])
@pytest.mark.parametrize("kind", UNREACHABLE)
async def test_a_target_that_cannot_be_reached_goes_to_the_next(
    kind: str, codes: list[int] | None, stream: bool, tmp_path: Path
) -> None:
    """With status codes too: no provider said any."""
    status, code = UNREACHABLE[kind]
    tls = Authority(tmp_path).serve_as("other.example")
    async with (
        cast([good(stream)], resolver=Names(), tmp=tmp_path, deadlines={"connect": 0.15}) as (live, (second,)),
        FakeUpstream((Hang(),), tls=tls) as wrong,
        unreachable(kind, wrong.port) as url,
    ):
        if kind == "no name server":
            url = f"http://silent.example:{wrong.port}/v1"
        first = leaf(second, custom_host=url)
        strategy = {} if codes is None else {"on_status_codes": codes}
        client, body = await call(live, branch("fallback", first, leaf(second), strategy=strategy), stream=stream)
        assert (client.status, body, index(client)) == (200, seen(stream), "config.targets[1]")
        assert wrong.requests == []
        await expect_rescue(live, ("targets[0]", status, code), RESCUED)


@both
@pytest.mark.parametrize("ending", [Reset(), Cut()], ids=["reset", "closed"])
async def test_a_connection_that_breaks_before_the_head_goes_to_the_next(ending: Reset | Cut, stream: bool) -> None:
    async with cast([(ending,)], [good(stream)]) as (live, (first, second)):
        client, body = await call(live, branch("fallback", leaf(first), leaf(second)), stream=stream)
        assert (client.status, body) == (200, seen(stream))
        assert len(first.requests) == 1
        record = await live.recorded()
        assert tell(record)[0][:2] == ("targets[0]", 502)
        assert tell(record)[1] == RESCUED


CUT_SHORT: dict[str, Reply] = {
    "half a unary answer": (head(200, (("content-type", "application/json"), ("content-length", "999"))), Cut()),
    "a 200 that holds an error": unary(b'{"error":{"message":"overloaded","type":"server_error"}}'),
}


@pytest.mark.parametrize("kind", CUT_SHORT)
async def test_a_unary_answer_that_is_none_goes_to_the_next(kind: str) -> None:
    async with cast([CUT_SHORT[kind]], [good(False)]) as (live, (first, second)):
        client, body = await call(live, branch("fallback", leaf(first), leaf(second)), stream=False)
        assert (client.status, body) == (200, answer())
        assert tell(await live.recorded())[1] == RESCUED


IN_BAND = {
    "a number": ({"message": "slow down", "code": 429}, 429),
    "a name": ({"message": "busy", "type": "overloaded_error"}, 529),
    "nothing": ({"message": "oh"}, 502),
}


@pytest.mark.parametrize("before", [b"", b": processing\n\n"], ids=["first", "after a comment"])
@pytest.mark.parametrize("kind", IN_BAND)
async def test_an_error_as_first_event_of_a_stream_goes_to_the_next(kind: str, before: bytes) -> None:
    error, status = IN_BAND[kind]
    broken = streamed(*([before] if before else []), frame(orjson.dumps({"error": error})))
    async with cast([broken], [good(True)]) as (live, (first, second)):
        client, body = await call(live, branch("fallback", leaf(first), leaf(second)))
        assert (client.status, body) == (200, seen(True)), "nothing of the first target's stream is seen"
        await expect_rescue(live, ("targets[0]", status, "upstream_status"), RESCUED)


@pytest.mark.parametrize(("listed", "goes_on"), [([429], True), ([500], False)])
async def test_an_error_as_first_event_has_a_status_for_on_status_codes(listed: list[int], goes_on: bool) -> None:
    broken = streamed(frame(orjson.dumps({"error": {"message": "slow down", "code": 429}})))
    async with cast([broken], [good(True)]) as (live, (first, second)):
        config = branch("fallback", leaf(first), leaf(second), strategy={"on_status_codes": listed})
        client, body = await call(live, config)
        assert (client.status, index(client)) == ((200, "config.targets[1]") if goes_on else (429, "config.targets[0]"))
        assert body == seen(True) if goes_on else orjson.loads(body)["error"]["message"] == "slow down"
        assert len(second.requests) == (1 if goes_on else 0)


async def test_a_stream_without_any_event_goes_to_the_next() -> None:
    async with cast([streamed()], [good(True)]) as (live, (first, second)):
        client, body = await call(live, branch("fallback", leaf(first), leaf(second)))
        assert (client.status, body) == (200, seen(True))
        await expect_rescue(live, ("targets[0]", 502, "stream_truncated"), RESCUED)


@both
@pytest.mark.parametrize("codes", [None, [429]], ids=["any", "429 only"])
async def test_a_target_that_stays_silent_goes_to_the_next_and_is_left_at_once(
    codes: list[int] | None, stream: bool
) -> None:
    silent: Reply = (SSE, chunk(b": wait\n\n"), Hang()) if stream else (Hang(),)
    async with cast([silent], [good(stream)]) as (live, (first, second)):
        strategy = {} if codes is None else {"on_status_codes": codes}
        targets = leaf(first), leaf(second)
        config = branch("fallback", *targets, strategy=strategy, request_timeout=100, retry={"attempts": 3})
        client, body = await call(live, config, stream=stream)
        assert (client.status, body, index(client)) == (200, seen(stream), "config.targets[1]")
        await first.left(limit=1)
        assert len(first.requests) == 1, "our own limit is no reason to ask the same target again"
        await expect_rescue(live, ("targets[0]", 408, "first_token_timeout"), RESCUED)


async def test_a_stream_that_breaks_after_its_first_token_is_not_asked_for_again() -> None:
    """Unless the config wants it recovered: then see test_recovery."""
    async with cast([(*streamed(event("half"), end=False), Pause(0.03), Reset())], [good(True)]) as (live, ups):
        client, body = await call(live, branch("fallback", *map(leaf, ups)))
        assert (client.status, index(client)) == (200, "config.targets[0]")
        assert read_in_band(body, event("half"))["code"] == "stream_truncated"
        assert ups[1].connections == []
        record = await live.recorded()
        assert (record.outcome, tell(record)) == (Outcome.TRUNCATED, [("targets[0]", 200, "stream_truncated")])


# ---------------------------------------------------------------- content policy

REFUSED: dict[str, dict[str, Any]] = {
    "OpenAI": {"code": "content_policy_violation", "type": "invalid_request_error"},
    "Azure": {"code": "content_filter"},
    "OpenAI's images": {"code": "moderation_blocked"},
}


@both
@pytest.mark.parametrize("who", REFUSED)
async def test_a_refusal_of_the_content_is_not_routed_around(who: str, stream: bool) -> None:
    """One attempt, and the provider's own reason."""
    refusal = bad(400, **REFUSED[who])
    async with cast([refusal], [good(stream)]) as (live, ups):
        config = branch("fallback", *map(leaf, ups), retry={"attempts": 2})
        client, body = await call(live, config, stream=stream)
        assert (client.status, body) == (400, problem(400, **REFUSED[who]))
        assert (index(client), count(client)) == ("config.targets[0]", "0")
        assert ups[1].connections == []
        await expect_loss(live, "upstream_status", ("targets[0]", 400, "upstream_status"))


@both
async def test_a_refusal_of_the_content_is_routed_around_when_400_is_listed(stream: bool) -> None:
    async with cast([bad(400, code="content_policy_violation")], [good(stream)]) as (live, ups):
        config = branch("fallback", *map(leaf, ups), strategy={"on_status_codes": [400, 429]})
        client, body = await call(live, config, stream=stream)
        assert (client.status, body, index(client)) == (200, seen(stream), "config.targets[1]")
        await expect_rescue(live, ("targets[0]", 400, "upstream_status"), RESCUED)


@both
async def test_a_prompt_that_is_too_long_goes_to_a_larger_model_after_one_attempt(stream: bool) -> None:
    small = bad(400, code="context_length_exceeded")
    async with cast([small], [good(stream)]) as (live, ups):
        config = branch("fallback", *map(leaf, ups), retry={"attempts": 2})
        client, body = await call(live, config, stream=stream)
        assert (client.status, body) == (200, seen(stream))
        assert len(ups[0].requests) == 1
        await expect_rescue(live, ("targets[0]", 400, "upstream_status"), RESCUED)


# ---------------------------------------------------------------- when all fail


@both
async def test_when_all_fail_the_last_provider_is_heard(stream: bool) -> None:
    last = bad(418, (("retry-after", "7"), ("x-request-id", "r-last"), ("x-should-retry", "true")), code="teapot")
    async with cast([bad(503)], [bad(500)], [last]) as (live, ups):
        client, body = await call(live, branch("fallback", *map(leaf, ups)), stream=stream)
        assert (client.status, body) == (418, problem(418, code="teapot"))
        assert (index(client), count(client)) == ("config.targets[2]", "0")
        assert (client.headers["retry-after"], client.headers["x-request-id"]) == ("7", "r-last")
        assert client.headers["x-should-retry"] == "false", "ours, and only once"
        attempts = [(f"targets[{place}]", status, "upstream_status") for place, status in enumerate((503, 500, 418))]
        await expect_loss(live, "upstream_status", *attempts)
        assert [len(up.requests) for up in ups] == [1, 1, 1]


@both
async def test_when_the_last_cannot_be_reached_that_is_what_is_said(stream: bool) -> None:
    async with cast([bad(503)]) as (live, (first,)):
        with closed_port() as port:
            dead = leaf(first, custom_host=f"http://127.0.0.1:{port}/v1")
            client, body = await call(live, branch("fallback", leaf(first), dead), stream=stream)
        error = read_error(body)
        assert (client.status, error["code"]) == (502, "connect_failed")
        assert error["message"] == "the provider refused the connection"
        assert (index(client), client.headers["x-should-retry"]) == ("config.targets[1]", "false")
        attempts = [("targets[0]", 503, "upstream_status"), ("targets[1]", 502, "connect_failed")]
        await expect_loss(live, "connect_failed", *attempts)


@both
async def test_one_target_that_fails_once_leaves_it_to_the_client_to_try_again(stream: bool) -> None:
    async with cast([bad(503, (("x-should-retry", "true"),))]) as (live, (only,)):
        client, body = await call(live, branch("fallback", leaf(only)), stream=stream)
        assert (client.status, body, client.headers["x-should-retry"]) == (503, problem(503), "true")
        await expect_loss(live, "upstream_status", ("targets[0]", 503, "upstream_status"))


# ---------------------------------------------------------------- what is ours to refuse


@both
@pytest.mark.parametrize("host", ["http://169.254.169.254/v1", "http://inner.example/v1"])
@pytest.mark.parametrize("place", [0, 1])
async def test_a_private_host_is_a_400_and_not_routed_around(host: str, place: int, stream: bool) -> None:
    """A config that asks for it is wrong, whatever its other targets are."""

    class Inside(Names):
        async def resolve(self, *args: Any, **kwargs: Any) -> Any:
            return [{**found, "host": "10.0.0.1"} for found in await super().resolve(*args, **kwargs)]

    async with cast([bad(500)], [good(stream)], resolver=Inside()) as (live, ups):
        targets = [leaf(ups[0]), leaf(ups[1])]
        targets.insert(place, leaf(ups[0], custom_host=host))
        client, body = await call(live, branch("fallback", *targets), stream=stream)
        assert (client.status, read_error(body)["code"]) == (400, "invalid_config")
        assert b"10.0.0.1" not in body
        assert (len(ups[0].requests), len(ups[1].requests)) == (place, 0)
        record = await live.recorded()
        assert (record.status, record.error) == (400, "invalid_config")
