"""A loadbalance: one target is drawn by its weight; another one only if the config asks for failover."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import orjson
import pytest

from aiogateway.testing.upstream import Hang, Reset
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
from tests.network import closed_port
from tests.stage import Stage, branch, leaf, stage
from tests.views import both

CRITICAL = {1: 10.83, 2: 13.82}
"""Chi-squared that chance exceeds once in a thousand times, by degrees of freedom."""


def draw(live: Stage, *numbers: float) -> None:
    """The next draws are these; a further one fails the call."""
    live.gateway.tools.draw = iter(numbers).__next__


def measure(counts: Counter[str], weights: dict[str, float]) -> float:
    """Chi-squared of what was drawn, against the weights."""
    total, whole = sum(weights.values()), counts.total()
    return sum(
        (counts[name] - whole * weight / total) ** 2 / (whole * weight / total) for name, weight in weights.items()
    )


# ---------------------------------------------------------------- weights


@pytest.mark.parametrize("weights", [(0.2, 0.8), (1, 1), (2, 3, 5), (100, 1)], ids=str)
@pytest.mark.parametrize("mode", ["loadbalance", "ab_test"])
async def test_calls_are_spread_by_weight(mode: str, weights: tuple[float, ...]) -> None:
    async with stage(good(False)) as live:
        live.gateway.tools.draw = random.Random(1729).random
        config = branch(mode, *[leaf(live.up, weight=weight) for weight in weights])
        drawn: Counter[str] = Counter()
        client = await live.connect()
        for _ in range(400):
            await live.post(config=config, stream=False, client=client)
            assert await client.answer() == (200, answer())
            drawn[str(index(client))] += 1
        expected = {f"config.targets[{place}]": weight for place, weight in enumerate(weights)}
        assert set(drawn) <= set(expected)
        assert measure(drawn, expected) < CRITICAL[len(weights) - 1]
        assert len(live.up.requests) == 400, "nobody is asked in vain"


async def test_a_target_without_a_weight_has_one_of_1() -> None:
    async with stage(good(False)) as live:
        draw(live, 0.0, 0.249, 0.251, 0.999)
        config = branch("loadbalance", leaf(live.up), leaf(live.up, weight=3))
        places = [index((await call(live, config, stream=False))[0]) for _ in range(4)]
        assert places == ["config.targets[0]"] * 2 + ["config.targets[1]"] * 2


@both
async def test_a_weight_of_zero_is_never_drawn(stream: bool) -> None:
    async with cast([good(stream)], [good(stream)], [good(stream)]) as (live, ups):
        first, second, third = ups
        targets = leaf(first, weight=0), leaf(second, weight=1), leaf(third, weight=0)
        draw(live, 0.0, 0.5, 1.0 - 2**-53)
        for _ in range(3):
            client, body = await call(live, branch("loadbalance", *targets), stream=stream)
            assert (client.status, body, index(client)) == (200, seen(stream), "config.targets[1]")
        assert first.connections == third.connections == []


@both
async def test_a_weight_of_zero_is_not_even_a_failover(stream: bool) -> None:
    async with cast([good(stream)], [bad(500)]) as (live, ups):
        config = branch("loadbalance", leaf(ups[0], weight=0), leaf(ups[1]), strategy={"failover": True})
        client, body = await call(live, config, stream=stream)
        assert (client.status, body, index(client)) == (500, problem(500), "config.targets[1]")
        assert ups[0].connections == []


# ---------------------------------------------------------------- failover


@both
async def test_by_itself_the_drawn_target_s_failure_is_the_answer(stream: bool) -> None:
    async with cast([bad(503)], [good(stream)]) as (live, ups):
        draw(live, 0.1)
        client, body = await call(live, branch("loadbalance", *map(leaf, ups)), stream=stream)
        assert (client.status, body) == (503, problem(503))
        assert (index(client), count(client)) == ("config.targets[0]", "0")
        assert ups[1].connections == []
        await expect_loss(live, "upstream_status", ("targets[0]", 503, "upstream_status"))


@both
async def test_by_itself_a_connection_that_fails_is_the_answer_too(stream: bool) -> None:
    async with cast([good(stream)]) as (live, (up,)):
        with closed_port() as port:
            draw(live, 0.9)
            dead = leaf(up, custom_host=f"http://127.0.0.1:{port}/v1")
            client, body = await call(live, branch("loadbalance", leaf(up), dead), stream=stream)
        assert (client.status, orjson.loads(body)["error"]["code"]) == (502, "connect_failed")
        assert up.connections == []
        await expect_loss(live, "connect_failed", ("targets[1]", 502, "connect_failed"))


@both
async def test_with_failover_it_is_drawn_again_among_the_others(stream: bool) -> None:
    """Of three weights 1, 1, 2: the second, then of 1 and 2 the third, then what is left."""
    async with cast([good(stream, "first")], [bad(500)], [(Reset(),)]) as (live, ups):
        draw(live, 0.3, 0.9, 0.99)
        config = branch("loadbalance", leaf(ups[0]), leaf(ups[1]), leaf(ups[2], weight=2), strategy={"failover": True})
        client, body = await call(live, config, stream=stream)
        assert (client.status, body, index(client)) == (200, seen(stream, "first"), "config.targets[0]")
        assert [len(up.requests) for up in ups] == [1, 1, 1]
        await expect_rescue(
            live,
            ("targets[1]", 500, "upstream_status"),
            ("targets[2]", 502, "connect_failed"),
            ("targets[0]", 200, None),
        )


@both
async def test_with_failover_every_target_is_tried_once_and_the_last_is_heard(stream: bool) -> None:
    async with cast([bad(500)], [bad(503)]) as (live, ups):
        draw(live, 0.9, 0.5)
        config = branch("loadbalance", *map(leaf, ups), strategy={"failover": True})
        client, body = await call(live, config, stream=stream)
        assert (client.status, body, index(client)) == (500, problem(500), "config.targets[0]")
        assert client.headers["x-should-retry"] == "false"
        attempts = [("targets[1]", 503, "upstream_status"), ("targets[0]", 500, "upstream_status")]
        await expect_loss(live, "upstream_status", *attempts)


@both
@pytest.mark.parametrize(("status", "goes_on"), [(429, True), (500, False)])
async def test_failover_goes_by_the_status_codes(status: int, goes_on: bool, stream: bool) -> None:
    async with cast([bad(status)], [good(stream)]) as (live, ups):
        draw(live, 0.1, 0.1)
        strategy: dict[str, Any] = {"failover": True, "on_status_codes": [429]}
        client, body = await call(live, branch("loadbalance", *map(leaf, ups), strategy=strategy), stream=stream)
        assert (client.status, body) == ((200, seen(stream)) if goes_on else (status, problem(status)))
        assert len(ups[1].requests) == (1 if goes_on else 0)


@both
async def test_failover_does_not_route_around_a_refusal_of_the_content(stream: bool) -> None:
    async with cast([bad(400, code="content_policy_violation")], [good(stream)]) as (live, ups):
        draw(live, 0.1)
        config = branch("loadbalance", *map(leaf, ups), strategy={"failover": True})
        client, _ = await call(live, config, stream=stream)
        assert (client.status, index(client)) == (400, "config.targets[0]")
        assert ups[1].connections == []


@both
async def test_failover_leaves_a_silent_target(stream: bool) -> None:
    async with cast([(Hang(),)], [good(stream)]) as (live, ups):
        draw(live, 0.1, 0.1)
        config = branch("loadbalance", *map(leaf, ups), strategy={"failover": True}, request_timeout=100)
        client, body = await call(live, config, stream=stream)
        assert (client.status, body) == (200, seen(stream))
        await ups[0].left(limit=1)
        await expect_rescue(live, ("targets[0]", 408, "first_token_timeout"), ("targets[1]", 200, None))


# ---------------------------------------------------------------- nested


@both
async def test_a_drawn_fallback_falls_back_within_itself(stream: bool) -> None:
    async with cast([bad(500)], [good(stream, "inner")], [good(stream)]) as (live, ups):
        draw(live, 0.1)
        config = branch("loadbalance", branch("fallback", leaf(ups[0]), leaf(ups[1])), leaf(ups[2]))
        client, body = await call(live, config, stream=stream)
        assert (client.status, body, index(client)) == (200, seen(stream, "inner"), "config.targets[0].targets[1]")
        assert ups[2].connections == []
        attempts = [("targets[0].targets[0]", 500, "upstream_status"), ("targets[0].targets[1]", 200, None)]
        await expect_rescue(live, *attempts)


@both
async def test_a_fallback_of_two_loadbalances_draws_once_in_each(stream: bool) -> None:
    async with cast([good(stream)], [bad(500)], [good(stream, "second")]) as (live, ups):
        draw(live, 0.9, 0.1)
        first = branch("loadbalance", leaf(ups[0]), leaf(ups[1]))
        second = branch("ab_test", leaf(ups[2]), leaf(ups[0]))
        client, body = await call(live, branch("fallback", first, second), stream=stream)
        assert (client.status, body) == (200, seen(stream, "second"))
        assert index(client) == "config.targets[1].targets[0]"
        assert ups[0].connections == [], "the first loadbalance does not draw again"
        attempts = [("targets[0].targets[1]", 500, "upstream_status"), ("targets[1].targets[0]", 200, None)]
        await expect_rescue(live, *attempts)


@both
async def test_a_weight_counts_for_a_whole_branch(stream: bool) -> None:
    async with cast([good(stream)], [good(stream, "branch")]) as (live, ups):
        draw(live, 0.95, 0.85)
        config = branch("loadbalance", leaf(ups[0], weight=9), branch("fallback", leaf(ups[1]), weight=1))
        assert [index((await call(live, config, stream=stream))[0]) for _ in range(2)] == [
            "config.targets[1].targets[0]",
            "config.targets[0]",
        ]


async def test_each_call_is_drawn_for_itself() -> None:
    """No stickiness: neither the connection nor the trace nor the same config decides."""
    async with stage(good(False)) as live:
        draw(live, 0.1, 0.9, 0.1, 0.9)
        config = branch("loadbalance", leaf(live.up), leaf(live.up))
        client = await live.connect()
        for place in (0, 1, 0, 1):
            await live.post(config=config, stream=False, client=client, headers={"x-portkey-trace-id": "same"})
            await client.answer()
            assert index(client) == f"config.targets[{place}]"
        assert [tell(record)[0][0] for record in live.records] == ["targets[0]", "targets[1]"] * 2


@both
async def test_retries_are_made_at_the_drawn_target(stream: bool, tmp_path: Any) -> None:
    async with cast([bad(503), good(stream)], [good(stream)], tmp=tmp_path, retry_wait=0.02) as (live, ups):
        draw(live, 0.1, 0.5)  # the second is the wait's
        config = branch("loadbalance", *map(leaf, ups), retry={"attempts": 1})
        client, body = await call(live, config, stream=stream)
        assert (client.status, body) == (200, seen(stream))
        assert (index(client), count(client)) == ("config.targets[0]", "1")
        assert ups[1].connections == []
        await expect_rescue(live, ("targets[0]", 503, "upstream_status"), ("targets[0]", 200, None))
