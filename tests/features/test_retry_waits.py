"""How long a retry waits: as long as the provider asks, else ever longer; and what may happen in the meantime."""

from __future__ import annotations

import asyncio
import itertools
import time
from email.utils import formatdate
from pathlib import Path

import orjson
import pytest

from aiogateway.errors import Overloaded
from aiogateway.testing.upstream import Pause, Reply, unary
from aiogateway.types import Headers, Outcome
from tests.answers import (
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
from tests.stage import Stage, branch, leaf
from tests.views import both, read_error

WAIT = 0.02
AGAIN = ("config", 200, None)


def failed(status: int, times: int = 1) -> list[tuple[str, int | None, str | None]]:
    return [("config", status, "upstream_status")] * times


# ---------------------------------------------------------------- how long between


@both
async def test_waits_double_and_half_of_each_is_chance(stream: bool, tmp_path: Path) -> None:
    async with cast([bad(503)], tmp=tmp_path, retry_wait=WAIT) as (live, (up,)):
        live.gateway.tools.draw = iter((0.0, 0.5, 0.75)).__next__
        await call(live, leaf(up, retry={"attempts": 3}), stream=stream)
        waited = [attempt.waited for attempt in (await live.recorded()).attempts]
        assert waited == pytest.approx([0, WAIT / 2, 2 * WAIT * 0.75, 4 * WAIT * 0.875])
        for (before, after), wait in zip(itertools.pairwise(up.requests), waited[1:], strict=True):
            assert after.at - before.at >= wait - 0.002


GOOGLE = orjson.dumps(
    {
        "error": {
            "code": 429,
            "message": "quota",
            "status": "RESOURCE_EXHAUSTED",
            "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.2s"}],
        }
    }
)
ASKED: dict[str, tuple[Headers, bytes]] = {
    "retry-after-ms": ((("retry-after-ms", "200"), ("retry-after", "30")), b"{}"),
    "x-ms-retry-after-ms": ((("x-ms-retry-after-ms", "200"),), b"{}"),
    "retry-after": ((("retry-after", "0.2"),), b"{}"),
    "Google's body": ((), GOOGLE),
}


@both
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("spelling", ASKED)
async def test_a_provider_that_asks_for_a_wait_gets_it(
    spelling: str, status: int, stream: bool, tmp_path: Path
) -> None:
    headers, body = ASKED[spelling]
    script: list[Reply] = [unary(body, status=status, headers=headers), good(stream)]
    async with cast(script, tmp=tmp_path, retry_wait=WAIT) as (live, (up,)):
        client, body = await call(live, leaf(up, retry={"attempts": 2}), stream=stream)
        assert (client.status, body, count(client)) == (200, seen(stream), "1")
        first, second = up.requests
        assert 0.199 <= second.at - first.at < 0.4
        record = await expect_rescue(live, *failed(status), AGAIN)
        assert 0.2 <= record.attempts[1].waited <= 0.22, "up to a tenth longer, and never shorter"


@both
async def test_a_date_is_a_wait_too(stream: bool, tmp_path: Path) -> None:
    """A date has whole seconds, so it is too far away, or over: then the wait is ours, and no tight loop."""
    far, over = (formatdate(time.time() + seconds, usegmt=True) for seconds in (120, -120))
    script = [bad(429, (("retry-after", over),)), bad(429, (("retry-after", far),))]
    async with cast(script, tmp=tmp_path, retry_wait=WAIT) as (live, (up,)):
        client, _ = await call(live, leaf(up, retry={"attempts": 5}), stream=stream)
        assert (client.status, count(client), client.headers["retry-after"]) == (429, "-1", far)
        record = await expect_loss(live, "upstream_status", *failed(429, 2))
        assert WAIT / 2 <= record.attempts[1].waited <= WAIT


@both
async def test_a_wait_that_nobody_can_read_is_ours(stream: bool, tmp_path: Path) -> None:
    unread = [bad(429, (("retry-after", text),)) for text in ("soon", "-5", "nan", "1e9999", "")]
    async with cast([*unread, good(stream)], tmp=tmp_path, retry_wait=0.005) as (live, (up,)):
        client, _ = await call(live, leaf(up, retry={"attempts": 5}), stream=stream)
        assert (client.status, count(client)) == (200, "5")


@both
async def test_use_retry_after_header_false_means_our_own_wait(stream: bool, tmp_path: Path) -> None:
    asked = bad(429, (("retry-after", "30"), ("retry-after-ms", "30000")))
    async with cast([asked, good(stream)], tmp=tmp_path, retry_wait=WAIT) as (live, (up,)):
        config = leaf(up, retry={"attempts": 1, "use_retry_after_header": False})
        client, _ = await call(live, config, stream=stream)
        assert (client.status, count(client)) == (200, "1")
        assert (await live.recorded()).attempts[1].waited <= WAIT


TOO_LONG: dict[str, Headers] = {
    "seconds": (("retry-after", "100"),),
    "milliseconds": (("retry-after-ms", "60001"),),
    "a date": (("retry-after", "Fri, 31 Dec 2199 23:59:59 GMT"),),
}


@both
@pytest.mark.parametrize("spelling", TOO_LONG)
async def test_a_wait_that_is_too_long_gives_the_target_up_at_once(spelling: str, stream: bool, tmp_path: Path) -> None:
    start = time.monotonic()
    async with cast([bad(429, TOO_LONG[spelling])], tmp=tmp_path, retry_wait=WAIT) as (live, (up,)):
        client, body = await call(live, leaf(up, retry={"attempts": 3}), stream=stream)
        assert (client.status, body, count(client)) == (429, problem(429), "-1")
        assert client.headers["retry-after" if spelling != "milliseconds" else "retry-after-ms"]
        assert client.headers["x-should-retry"] == "false"
        await expect_loss(live, "upstream_status", *failed(429))
    assert time.monotonic() - start < 2


@both
@pytest.mark.parametrize("spelling", TOO_LONG)
async def test_and_goes_to_the_next_target_if_there_is_one(spelling: str, stream: bool, tmp_path: Path) -> None:
    async with cast([bad(429, TOO_LONG[spelling])], [good(stream)], tmp=tmp_path) as (live, ups):
        client, body = await call(live, branch("fallback", *map(leaf, ups), retry={"attempts": 3}), stream=stream)
        assert (client.status, body, index(client), count(client)) == (200, seen(stream), "config.targets[1]", "0")
        await expect_rescue(live, ("targets[0]", 429, "upstream_status"), ("targets[1]", 200, None))


@both
async def test_a_wait_beyond_the_call_s_total_time_is_not_begun(stream: bool) -> None:
    start = time.monotonic()
    async with cast([bad(429, (("retry-after", "5"),))]) as (live, (up,)):
        config = leaf(up, retry={"attempts": 3}, timeouts={"total": 2000})
        client, body = await call(live, config, stream=stream)
        assert (client.status, body, count(client)) == (429, problem(429), "-1"), "what was said, not a timeout"
        await expect_loss(live, "upstream_status", *failed(429))
    assert time.monotonic() - start < 1.5


@both
async def test_the_total_time_counts_all_attempts_and_waits(stream: bool, tmp_path: Path) -> None:
    """A slow 503 each time: there is time for some, and not for all."""
    slow: Reply = (Pause(0.2), *bad(503))
    async with cast([slow], tmp=tmp_path, retry_wait=0.01) as (live, (up,)):
        config = leaf(up, retry={"attempts": 5}, timeouts={"total": 350})
        start = time.monotonic()
        client, body = await call(live, config, stream=stream)
        assert time.monotonic() - start < 1
        assert (client.status, read_error(body)["code"]) == (504, "total_timeout")
        record = await live.recorded()
        assert len(record.attempts) == 2
        assert tell(record)[-1] == ("config", 504, "total_timeout")
        assert (record.status, record.error) == (504, "total_timeout")


# ---------------------------------------------------------------- during a wait


def note_draw(live: Stage) -> asyncio.Event:
    """Set when a wait begins: its jitter is the first draw."""
    drawn = asyncio.Event()

    def draw() -> float:
        drawn.set()
        return 0.5

    live.gateway.tools.draw = draw
    return drawn


@both
async def test_a_client_that_leaves_during_a_wait_ends_the_call(stream: bool) -> None:
    async with cast([bad(429, (("retry-after", "20"),))]) as (live, (up,)):
        begun = note_draw(live)
        client = await live.post(config=leaf(up, retry={"attempts": 3}), stream=stream)
        await asyncio.wait_for(begun.wait(), 2)
        client.leave()
        record = await live.recorded()
        assert (record.status, record.outcome) == (499, Outcome.CLIENT_LEFT)
        assert tell(record) == failed(429)
        assert len(up.requests) == 1


@both
async def test_a_gateway_that_stops_does_not_wait_to_try_again(stream: bool) -> None:
    async with cast([bad(429, (("retry-after", "20"),))]) as (live, (up,)):
        begun = note_draw(live)
        client = await live.post(config=leaf(up, retry={"attempts": 3}), stream=stream)
        await asyncio.wait_for(begun.wait(), 2)
        live.gateway.pipeline.stop(Overloaded("the gateway is going away"))
        status, body = await client.answer()
        assert (status, read_error(body)["code"]) == (503, "overloaded")
        assert (await live.recorded()).outcome is Outcome.FAILED
        assert len(up.requests) == 1


@both
async def test_a_storm_of_429s_is_answered_within_the_budget(stream: bool, tmp_path: Path) -> None:
    """Twenty calls at once, each with its two retries and one fallback: no more, and jittered."""
    script = [bad(429, (("retry-after-ms", "50"),))]
    async with cast(script, [good(stream)], tmp=tmp_path, retry_wait=WAIT) as (live, ups):
        config = branch("fallback", leaf(ups[0], retry={"attempts": 2}), leaf(ups[1]))
        answers = await asyncio.gather(*[call(live, config, stream=stream) for _ in range(20)])
        assert {(client.status, body) for client, body in answers} == {(200, seen(stream))}
        assert [len(up.requests) for up in ups] == [60, 20]
        waits = [attempt.waited for record in live.records for attempt in record.attempts if attempt.retry]
        assert len(waits) == 40
        assert 0.05 <= min(waits) < max(waits) <= 0.055
        assert len(set(waits)) > 30
