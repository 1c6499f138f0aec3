"""Retries: the same target again, for what another try may mend, and never once an answer has begun."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from aiogateway.testing.upstream import Cut, Hang, Pause, Reply, Reset, head
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
from tests.network import Authority, Names, closed_port, silent_port
from tests.stage import branch, event, leaf
from tests.views import both, read_error, read_in_band

DEFAULT = [408, 429, 500, 502, 503, 504]
OTHERS = [400, 401, 403, 404, 409, 422, 424, 501, 520, 524, 529]
WAIT = 0.02
AGAIN = ("config", 200, None)


def failed(status: int, times: int = 1) -> list[tuple[str, int | None, str | None]]:
    return [("config", status, "upstream_status")] * times


# ---------------------------------------------------------------- which failures


@both
async def test_by_default_these_statuses_are_tried_again(stream: bool, tmp_path: Path) -> None:
    """A provider's own 408 too, unlike one of ours."""
    script = [reply for status in DEFAULT for reply in (bad(status), good(stream))]
    async with cast(script, tmp=tmp_path, retry_wait=WAIT) as (live, (up,)):
        for number, status in enumerate(DEFAULT, 1):
            client, body = await call(live, leaf(up, retry={"attempts": 3}), stream=stream)
            assert (client.status, body) == (200, seen(stream)), status
            assert (index(client), count(client)) == ("config", "1"), status
            assert "x-should-retry" not in client.headers
            first, second = up.requests[-2:]
            assert (first.body, first.headers) == (second.body, second.headers)
            record = await expect_rescue(live, *failed(status), AGAIN, count=number)
            assert record.retries == 1
            assert [attempt.retry for attempt in record.attempts] == [0, 1]


@both
async def test_by_default_others_are_not(stream: bool, tmp_path: Path) -> None:
    async with cast([bad(status) for status in OTHERS], tmp=tmp_path, retry_wait=WAIT) as (live, (up,)):
        for number, status in enumerate(OTHERS, 1):
            client, body = await call(live, leaf(up, retry={"attempts": 3}), stream=stream)
            assert (client.status, body, count(client)) == (status, problem(status), "0")
            await expect_loss(live, "upstream_status", *failed(status), count=number)


@both
async def test_without_a_retry_nothing_is_tried_again(stream: bool) -> None:
    async with cast([bad(503), good(stream)]) as (live, (up,)):
        client, body = await call(live, leaf(up), stream=stream)
        assert (client.status, body, count(client)) == (503, problem(503), "0")
        await expect_loss(live, "upstream_status", *failed(503))


@both
@pytest.mark.parametrize(("status", "again"), [(400, True), (529, True), (503, False), (429, False)])
async def test_a_list_of_status_codes_replaces_the_default_one(
    status: int, again: bool, stream: bool, tmp_path: Path
) -> None:
    async with cast([bad(status), good(stream)], tmp=tmp_path, retry_wait=WAIT) as (live, (up,)):
        config = leaf(up, retry={"attempts": 2, "on_status_codes": [400, 529]})
        client, body = await call(live, config, stream=stream)
        assert (client.status, body, count(client)) == (
            (200, seen(stream), "1") if again else (status, problem(status), "0")
        )
        assert len(up.requests) == (2 if again else 1)


# ---------------------------------------------------------------- how often


@both
@pytest.mark.parametrize("attempts", [0, 1, 2, 5])
async def test_a_target_is_asked_once_and_attempts_times_again(attempts: int, stream: bool, tmp_path: Path) -> None:
    async with cast([bad(503)], tmp=tmp_path, retry_wait=0.005) as (live, (up,)):
        client, body = await call(live, leaf(up, retry={"attempts": attempts}), stream=stream)
        assert (client.status, body) == (503, problem(503))
        assert count(client) == ("-1" if attempts else "0"), "as observed: -1 is used up"
        assert client.headers.get("x-should-retry") == ("false" if attempts else None)
        record = await expect_loss(live, "upstream_status", *failed(503, 1 + attempts))
        assert [attempt.retry for attempt in record.attempts] == list(range(1 + attempts))
        assert record.retries == (-1 if attempts else 0)


@both
@pytest.mark.parametrize("failures", [0, 1, 2, 3])
async def test_the_answer_says_how_many_retries_it_took(failures: int, stream: bool, tmp_path: Path) -> None:
    script = [*[bad(503)] * failures, good(stream)]
    async with cast(script, tmp=tmp_path, retry_wait=0.005) as (live, (up,)):
        client, body = await call(live, leaf(up, retry={"attempts": 3}), stream=stream)
        assert (client.status, body, count(client)) == (200, seen(stream), str(failures))
        await expect_rescue(live, *failed(503, failures), AGAIN)


@both
async def test_each_target_has_its_own_retries_before_the_next_is_asked(stream: bool, tmp_path: Path) -> None:
    scripts = [bad(503)], [bad(500)], [bad(502), good(stream)]
    async with cast(*scripts, tmp=tmp_path, retry_wait=0.005) as (live, ups):
        first, second, third = ups
        config = branch(
            "fallback", leaf(first, retry={"attempts": 2}), leaf(second, retry={"attempts": 0}), leaf(third),
            retry={"attempts": 1},
        )  # fmt: skip
        client, body = await call(live, config, stream=stream)
        assert (client.status, body, index(client), count(client)) == (200, seen(stream), "config.targets[2]", "1")
        await expect_rescue(
            live,
            *[("targets[0]", 503, "upstream_status")] * 3,
            ("targets[1]", 500, "upstream_status"),
            ("targets[2]", 502, "upstream_status"),
            ("targets[2]", 200, None),
        )


@both
async def test_the_count_is_of_the_last_target_s_retries(stream: bool, tmp_path: Path) -> None:
    async with cast([bad(503)], [good(stream)], tmp=tmp_path, retry_wait=0.005) as (live, ups):
        config = branch("fallback", *map(leaf, ups), retry={"attempts": 2})
        client, _ = await call(live, config, stream=stream)
        assert (client.status, index(client), count(client)) == (200, "config.targets[1]", "0")


@both
async def test_a_target_s_own_retry_replaces_the_inherited_one_whole(stream: bool, tmp_path: Path) -> None:
    async with cast([bad(400), good(stream)], tmp=tmp_path, retry_wait=0.005) as (live, (up,)):
        config = branch("single", leaf(up, retry={"attempts": 1}), retry={"attempts": 3, "on_status_codes": [400]})
        client, _ = await call(live, config, stream=stream)
        assert (client.status, count(client)) == (400, "0"), "the list went with the object it stood in"


# ---------------------------------------------------------------- connections


@both
@pytest.mark.parametrize("ending", [Reset(), Cut()], ids=["reset", "closed"])
async def test_a_connection_that_breaks_before_the_head_is_tried_again(
    ending: Reset | Cut, stream: bool, tmp_path: Path
) -> None:
    async with cast([(ending,), (ending,), good(stream)], tmp=tmp_path, retry_wait=0.005) as (live, (up,)):
        client, body = await call(live, leaf(up, retry={"attempts": 2}), stream=stream)
        assert (client.status, body, count(client)) == (200, seen(stream), "2")
        assert [attempt[:2] for attempt in tell(await live.recorded())] == [("config", 502)] * 2 + [("config", 200)]


@both
@pytest.mark.parametrize("codes", [None, [429]], ids=["default", "429 only"])
@pytest.mark.parametrize("kind", ["refused", "no such name"])
async def test_a_host_that_cannot_be_reached_is_tried_again_whatever_the_codes(
    kind: str, codes: list[int] | None, stream: bool, tmp_path: Path
) -> None:
    async with cast([(Hang(),)], resolver=Names(), tmp=tmp_path, retry_wait=0.005) as (live, (up,)):
        with closed_port() as port:
            host = f"http://127.0.0.1:{port}" if kind == "refused" else f"http://missing.example:{port}"
            retry: dict[str, Any] = {"attempts": 2, **({} if codes is None else {"on_status_codes": codes})}
            client, body = await call(live, leaf(up, custom_host=f"{host}/v1", retry=retry), stream=stream)
        assert (client.status, read_error(body)["code"], count(client)) == (502, "connect_failed", "-1")
        assert client.headers["x-should-retry"] == "false"
        await expect_loss(live, "connect_failed", *[("config", 502, "connect_failed")] * 3)


@both
async def test_a_connect_timeout_is_tried_again(stream: bool, tmp_path: Path) -> None:
    async with cast([(Hang(),)], tmp=tmp_path, retry_wait=0.005) as (live, (up,)), silent_port() as port:
        host = f"https://127.0.0.1:{port}/v1"
        config = leaf(up, custom_host=host, retry={"attempts": 1}, timeouts={"connect": 60})
        client, body = await call(live, config, stream=stream)
        assert (client.status, read_error(body)["code"], count(client)) == (504, "connect_timeout", "-1")
        await expect_loss(live, "connect_timeout", *[("config", 504, "connect_timeout")] * 2)


@both
async def test_a_certificate_does_not_get_better_by_asking_again(stream: bool, tmp_path: Path) -> None:
    tls = Authority(tmp_path).serve_as("other.example")
    async with cast([(Hang(),)], tls=tls, resolver=Names(), tmp=tmp_path, retry_wait=0.005) as (live, (up,)):
        host = f"https://api.example:{up.port}/v1"
        client, body = await call(live, leaf(up, custom_host=host, retry={"attempts": 3}), stream=stream)
        assert (client.status, read_error(body)["code"]) == (502, "upstream_tls")
        await expect_loss(live, "upstream_tls", ("config", 502, "upstream_tls"))


# ---------------------------------------------------------------- our own limits


@both
async def test_our_own_408_is_not_tried_again(stream: bool) -> None:
    async with cast([(Hang(),), good(stream)]) as (live, (up,)):
        config = leaf(up, retry={"attempts": 3, "on_status_codes": [408]}, request_timeout=100)
        client, body = await call(live, config, stream=stream)
        assert (client.status, read_error(body)["type"], count(client)) == (408, "timeout_error", "0")
        await up.left(limit=1)
        await expect_loss(live, "first_token_timeout", ("config", 408, "first_token_timeout"))


async def test_a_unary_answer_that_falls_silent_is_not_tried_again() -> None:
    half: Reply = (head(200, (("content-type", "application/json"), ("content-length", "99"))), Hang())
    async with cast([half, good(False)]) as (live, (up,)):
        config = leaf(up, retry={"attempts": 3}, timeouts={"idle": 100})
        client, body = await call(live, config, stream=False)
        assert (client.status, read_error(body)["code"]) == (504, "idle_timeout")
        await expect_loss(live, "idle_timeout", ("config", 504, "idle_timeout"))


# ---------------------------------------------------------------- until the commit


async def test_an_error_as_first_event_is_tried_again(tmp_path: Path) -> None:
    broken = streamed(b": wait\n\n", frame(orjson.dumps({"error": {"message": "busy", "code": 503}})))
    async with cast([broken, good(True)], tmp=tmp_path, retry_wait=WAIT) as (live, (up,)):
        client, body = await call(live, leaf(up, retry={"attempts": 1}))
        assert (client.status, body, count(client)) == (200, seen(True), "1")
        await expect_rescue(live, *failed(503), AGAIN)


@pytest.mark.parametrize("ending", [Reset(), Cut()], ids=["reset", "closed"])
async def test_a_stream_that_has_begun_is_never_tried_again(ending: Reset | Cut) -> None:
    async with cast([(*streamed(event("half"), end=False), Pause(0.03), ending), good(True)]) as (live, (up,)):
        client, body = await call(live, leaf(up, retry={"attempts": 3}))
        assert (client.status, count(client)) == (200, "0")
        assert read_in_band(body, event("half"))["code"] == "stream_truncated"
        record = await live.recorded()
        assert (record.outcome, tell(record)) == (Outcome.TRUNCATED, [("config", 200, "stream_truncated")])
        assert len(up.requests) == 1


@pytest.mark.parametrize("ending", [Reset(), Cut()], ids=["reset", "closed"])
async def test_a_unary_answer_cut_short_is_tried_again(ending: Reset | Cut, tmp_path: Path) -> None:
    """Nothing of it has reached the client."""
    first = head(200, (("content-type", "application/json"), ("content-length", "999")))
    half: Reply = (first, Pause(0.03), ending)
    async with cast([half, good(False)], tmp=tmp_path, retry_wait=0.005) as (live, (up,)):
        client, body = await call(live, leaf(up, retry={"attempts": 1}), stream=False)
        assert (client.status, body, count(client)) == (200, answer(), "1")
