"""The five deadlines as a config says them: in milliseconds, inherited key by key, and stronger than the settings."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from aiogateway.testing.upstream import END, Hang, Pause, Reply, chunk, head
from aiogateway.testing.upstream import stream as streamed
from aiogateway.types import Outcome
from tests.answers import answer, bad, call, cast, count, expect_loss, expect_rescue, good, index, seen, tell
from tests.network import silent_port
from tests.stage import DONE, Stage, branch, event, leaf
from tests.views import both, expect_failure, expect_truncation, read_error, read_in_band

SSE = head(200, (("content-type", "text/event-stream"), ("transfer-encoding", "chunked")))
JSON = head(200, (("content-type", "application/json"), ("transfer-encoding", "chunked")))
FLOOD = chunk(event("x" * 60_000))
HEADER = "x-portkey-request-timeout"


def on_the_target(timeouts: dict[str, int]) -> Any:
    return lambda target: {**target, "timeouts": timeouts}


def on_the_root(timeouts: dict[str, int]) -> Any:
    return lambda target: branch("single", target, timeouts=timeouts)


def in_between(timeouts: dict[str, int]) -> Any:
    """The nearest word holds, key by key."""
    said = dict.fromkeys(("connect", "first_token", "idle", "client_stall", "total"), 9000)
    return lambda target: branch("single", branch("fallback", target, timeouts=timeouts), timeouts=said)


placed = pytest.mark.parametrize("place", [on_the_target, on_the_root, in_between])
"""Where a config says its timeouts."""


class Clock:
    """How long a block took."""

    def __enter__(self) -> Clock:
        self._start = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.took = time.monotonic() - self._start


# ---------------------------------------------------------------- each of the five


@both
@placed
async def test_connect(place: Any, stream: bool) -> None:
    async with cast([good(stream)]) as (live, (up,)), silent_port() as port:
        config = place({"connect": 100})(leaf(up, custom_host=f"https://127.0.0.1:{port}/v1"))
        with Clock() as clock:
            client, body = await call(live, config, stream=stream)
        error = read_error(body)
        assert (client.status, error["code"]) == (504, "connect_timeout")
        assert error["message"] == "no connection to the provider within 0.1 s"
        assert 0.08 < clock.took < 1
        await expect_failure(live, 504, "connect_timeout")


@both
@placed
async def test_first_token(place: Any, stream: bool) -> None:
    """Of an answer that is not streamed it is the wait for its head."""
    silent: Reply = (SSE, chunk(b": wait\n\n"), Hang()) if stream else (Hang(),)
    async with cast([silent]) as (live, (up,)):
        with Clock() as clock:
            client, body = await call(live, place({"first_token": 120})(leaf(up)), stream=stream)
        error = read_error(body)
        assert (client.status, error["code"], error["type"]) == (408, "first_token_timeout", "timeout_error")
        assert error["message"] == "no answer from the provider within 0.12 s"
        assert 0.1 < clock.took < 0.8
        await up.left(limit=1)
        await expect_failure(live, 408, "first_token_timeout")


@placed
async def test_idle(place: Any) -> None:
    async with cast([(*streamed(event("a"), end=False), Hang())]) as (live, (up,)):
        with Clock() as clock:
            client, body = await call(live, place({"idle": 120})(leaf(up)))
        error = read_in_band(body, event("a"))
        assert (client.status, error["code"], error["type"]) == (200, "idle_timeout", "timeout_error")
        assert error["message"] == "the provider sent nothing for 0.12 s"
        assert 0.1 < clock.took < 0.8
        await up.left(limit=1)
        await expect_truncation(live, "idle_timeout")


@placed
async def test_idle_in_a_unary_answer(place: Any) -> None:
    async with cast([(JSON, chunk(answer()[:10]), Hang())]) as (live, (up,)):
        client, body = await call(live, place({"idle": 120})(leaf(up)), stream=False)
        error = read_error(body)
        assert (client.status, error["code"], error["type"]) == (504, "idle_timeout", "timeout_error")
        await up.left(limit=1)
        await expect_failure(live, 504, "idle_timeout")


@placed
async def test_client_stall(place: Any) -> None:
    async with cast([(SSE, *[FLOOD] * 300, Hang())]) as (live, (up,)):
        client = await live.connect(little=True)
        await live.post(client=client, config=place({"client_stall": 120, "idle": 80})(leaf(up)))
        record = await live.recorded()
        assert (record.status, record.outcome, record.error) == (499, Outcome.CLIENT_STALLED, "client_stalled")
        await up.left(limit=1)


@placed
async def test_total(place: Any) -> None:
    steps = [step for _ in range(200) for step in (chunk(event("a")), Pause(0.02))]
    async with cast([(SSE, *steps)]) as (live, (up,)):
        with Clock() as clock:
            client, body = await call(live, place({"total": 200})(leaf(up)))
        error = read_in_band(body, event("a") * body.count(event("a")))
        assert (client.status, error["code"], error["type"]) == (200, "total_timeout", "timeout_error")
        assert error["message"] == "the call took longer than 0.2 s"
        assert 0.18 < clock.took < 1.5, "a stream is looked at once a second at least"
        await up.left(limit=1)
        await expect_truncation(live, "total_timeout")


@both
@placed
async def test_total_before_anything_came(place: Any, stream: bool) -> None:
    async with cast([(Hang(),)]) as (live, (up,)):
        client, body = await call(live, place({"total": 150})(leaf(up)), stream=stream)
        error = read_error(body)
        assert (client.status, error["code"], error["type"]) == (504, "total_timeout", "timeout_error")
        await up.left(limit=1)
        await expect_failure(live, 504, "total_timeout")


# ---------------------------------------------------------------- who wins


@both
@pytest.mark.parametrize(
    "said",
    [
        {"request_timeout": 120},
        {"requestTimeout": 120},
        {"timeouts": {"first_token": 120}},
        {"timeouts": {"firstToken": 120}},
    ],
    ids=str,
)
async def test_request_timeout_is_first_token_s_older_name(said: dict[str, Any], stream: bool) -> None:
    async with cast([(Hang(),)]) as (live, (up,)):
        client, body = await call(live, leaf(up, **said), stream=stream)
        error = read_error(body)
        assert (client.status, error["type"]) == (408, "timeout_error")
        assert error["message"] == "no answer from the provider within 0.12 s"
        await expect_failure(live, 408, "first_token_timeout")


@both
@pytest.mark.parametrize("said", [{}, {"request_timeout": 9000}, {"timeouts": {"first_token": 9000}}], ids=str)
async def test_the_header_beats_the_config(said: dict[str, Any], stream: bool) -> None:
    async with cast([(Hang(),)]) as (live, (up,)):
        for config in (leaf(up, **said), branch("fallback", leaf(up, **said), request_timeout=9000)):
            with Clock() as clock:
                client, body = await call(live, config, stream=stream, headers={HEADER: "120"})
            assert (client.status, read_error(body)["code"]) == (408, "first_token_timeout")
            assert clock.took < 0.8


@both
async def test_the_header_may_also_allow_more_time(stream: bool) -> None:
    async with cast([(Pause(0.2), *good(stream))]) as (live, (up,)):
        config = leaf(up, request_timeout=60)
        client, body = await call(live, config, stream=stream, headers={HEADER: "5000"})
        assert (client.status, body) == (200, seen(stream))


@both
async def test_the_config_beats_the_settings_and_leaves_the_rest_to_them(stream: bool, tmp_path: Path) -> None:
    deadlines = {"first_token": 0.05, "unary": 0.05, "total": 0.4, "connect": 9}
    async with cast([(Pause(0.2), *good(stream)), (Hang(),)], tmp=tmp_path, deadlines=deadlines) as (live, (up,)):
        config = leaf(up, timeouts={"first_token": 5000})
        client, body = await call(live, config, stream=stream)
        assert (client.status, body) == (200, seen(stream))
        client, body = await call(live, config, stream=stream)
        assert (client.status, read_error(body)["code"]) == (504, "total_timeout")


@both
async def test_a_target_s_own_word_beats_the_inherited_one_key_by_key(stream: bool) -> None:
    slow: Reply = (Pause(0.2), *good(stream))
    async with cast([slow], [slow]) as (live, ups):
        config = branch(
            "fallback",
            leaf(ups[0]),
            leaf(ups[1], timeouts={"first_token": 5000}),
            timeouts={"first_token": 80, "connect": 5000},
        )
        client, body = await call(live, config, stream=stream)
        assert (client.status, body, index(client)) == (200, seen(stream), "config.targets[1]")
        await expect_rescue(live, ("targets[0]", 408, "first_token_timeout"), ("targets[1]", 200, None))


@both
async def test_a_target_s_word_on_one_limit_leaves_the_other_inherited_ones(stream: bool) -> None:
    async with cast([(Hang(),)]) as (live, (up,)):
        config = branch(
            "fallback", leaf(up, timeouts={"connect": 5000}), timeouts={"first_token": 100, "connect": 9000}
        )
        client, body = await call(live, config, stream=stream)
        assert (client.status, read_error(body)["code"]) == (408, "first_token_timeout")
        await expect_loss(live, "first_token_timeout", ("targets[0]", 408, "first_token_timeout"))


@both
async def test_a_target_s_request_timeout_beats_the_root_s_first_token(stream: bool) -> None:
    async with cast([(Pause(0.2), *good(stream))]) as (live, (up,)):
        config = branch("single", leaf(up, request_timeout=5000), timeouts={"first_token": 60})
        client, body = await call(live, config, stream=stream)
        assert (client.status, body) == (200, seen(stream))


async def test_two_names_with_two_values_are_a_mistake() -> None:
    async with cast([good(True)]) as (live, (up,)):
        config = leaf(up, request_timeout=100, timeouts={"first_token": 200})
        client, body = await call(live, config)
        error = read_error(body)
        assert (client.status, error["param"]) == (400, "timeouts.first_token")
        assert up.connections == []


# ---------------------------------------------------------------- what they cover


async def test_the_first_token_ends_that_deadline() -> None:
    steps = [step for _ in range(4) for step in (chunk(event("a")), Pause(0.06))]
    script: Reply = (SSE, *steps, chunk(event("", "stop") + DONE), END)
    async with cast([script]) as (live, (up,)):
        client, body = await call(live, leaf(up, request_timeout=120))
        assert (client.status, body) == (200, event("a") * 4 + event("", "stop") + DONE)


async def test_request_timeout_covers_a_unary_answer_up_to_its_head() -> None:
    async with cast([(JSON, Pause(0.3), chunk(answer()), END)]) as (live, (up,)):
        client, body = await call(live, leaf(up, request_timeout=120), stream=False)
        assert (client.status, body) == (200, answer())


@both
async def test_first_token_is_per_attempt_and_total_is_for_the_call(stream: bool) -> None:
    async with cast([(Hang(),)], [(Hang(),)], [good(stream)]) as (live, ups):
        config = branch("fallback", *map(leaf, ups), timeouts={"first_token": 100, "total": 5000})
        with Clock() as clock:
            client, body = await call(live, config, stream=stream)
        assert (client.status, body, index(client)) == (200, seen(stream), "config.targets[2]")
        assert 0.19 < clock.took < 1
        attempts = [(f"targets[{place}]", 408, "first_token_timeout") for place in (0, 1)]
        await expect_rescue(live, *attempts, ("targets[2]", 200, None))


@both
async def test_when_the_total_time_is_up_no_other_target_is_asked(stream: bool) -> None:
    async with cast([bad(503)], [(Hang(),)], [good(stream)]) as (live, ups):
        config = branch("fallback", *map(leaf, ups), timeouts={"total": 150}, retry={"attempts": 1})
        # the wait for the retry alone is longer than the call may take
        client, body = await call(live, config, stream=stream)
        assert (client.status, read_error(body)["code"]) == (504, "total_timeout")
        assert (index(client), client.headers["x-should-retry"]) == ("config.targets[1]", "false")
        assert ups[2].connections == []
        await expect_loss(
            live, "total_timeout", ("targets[0]", 503, "upstream_status"), ("targets[1]", 504, "total_timeout")
        )


@both
async def test_all_silent_is_the_last_one_s_408(stream: bool) -> None:
    async with cast([(Hang(),)], [(Hang(),)]) as (live, ups):
        config = branch("fallback", *map(leaf, ups), request_timeout=80)
        client, body = await call(live, config, stream=stream)
        error = read_error(body)
        assert (client.status, error["type"], count(client)) == (408, "timeout_error", "0")
        assert (index(client), client.headers["x-should-retry"]) == ("config.targets[1]", "false")
        attempts = [(f"targets[{place}]", 408, "first_token_timeout") for place in (0, 1)]
        await expect_loss(live, "first_token_timeout", *attempts)


@both
@pytest.mark.parametrize("mode", ["loadbalance", "conditional", "single"])
async def test_they_hold_in_every_strategy(mode: str, stream: bool) -> None:
    async with cast([(Hang(),)]) as (live, (up,)):
        strategy = {"conditions": [{"query": {"params.model": "m"}, "then": "t"}]} if mode == "conditional" else {}
        config = branch(mode, leaf(up, name="t"), strategy=strategy, timeouts={"first_token": 100})
        client, body = await call(live, config, stream=stream)
        assert (client.status, read_error(body)["code"]) == (408, "first_token_timeout")
        await expect_loss(live, "first_token_timeout", ("targets[0]", 408, "first_token_timeout"))


async def ask_both(live: Stage, slow: Any, fast: Any) -> list[tuple[int, str | None]]:
    answers = await asyncio.gather(call(live, slow), call(live, fast))
    return [(client.status, index(client)) for client, _ in answers]


async def test_two_calls_with_two_configs_have_two_limits() -> None:
    """The limits go with the call, not with the connection or the provider."""
    async with cast([(Pause(0.25), *good(True))]) as (live, (up,)):
        found = await ask_both(live, leaf(up, request_timeout=5000), leaf(up, request_timeout=60))
        assert found == [(200, "config"), (408, "config")]
        assert sorted(tell(record)[0][1] or 0 for record in live.records) == [200, 408]
