"""Fallbacks of several targets: what each of them is sent, nested ones, many calls at once, clients that leave."""

from __future__ import annotations

import asyncio

import orjson

from aiogateway.testing.upstream import Reply, Stall
from aiogateway.types import Outcome
from tests.answers import (
    bad,
    call,
    cast,
    expect_rescue,
    good,
    index,
    seen,
    tell,
)
from tests.stage import branch, leaf
from tests.views import both

RESCUED = ("targets[1]", 200, None)


# ---------------------------------------------------------------- trees


@both
async def test_fallbacks_nest_and_the_index_names_the_leaf(stream: bool) -> None:
    async with cast([bad(500)], [bad(502)], [bad(503)], [good(stream, "last")]) as (live, ups):
        one, two, three, four = map(leaf, ups)
        config = branch("fallback", branch("fallback", one, two), branch("single", branch("fallback", three, four)))
        client, body = await call(live, config, stream=stream)
        assert (client.status, body) == (200, seen(stream, "last"))
        assert index(client) == "config.targets[1].targets[0].targets[1]"
        await expect_rescue(
            live,
            ("targets[0].targets[0]", 500, "upstream_status"),
            ("targets[0].targets[1]", 502, "upstream_status"),
            ("targets[1].targets[0].targets[0]", 503, "upstream_status"),
            ("targets[1].targets[0].targets[1]", 200, None),
        )


@both
async def test_each_level_judges_by_its_own_status_codes(stream: bool) -> None:
    """The inner one stops at a 500; the outer one goes on at it."""
    async with cast([bad(500)], [good(stream, "never")], [good(stream, "outer")]) as (live, ups):
        one, two, three = map(leaf, ups)
        config = branch("fallback", branch("fallback", one, two, strategy={"on_status_codes": [429]}), three)
        client, body = await call(live, config, stream=stream)
        assert (client.status, body, index(client)) == (200, seen(stream, "outer"), "config.targets[1]")
        assert ups[1].connections == []
        await expect_rescue(live, ("targets[0].targets[0]", 500, "upstream_status"), RESCUED)


@both
async def test_every_target_gets_the_request_with_its_own_params_and_key(stream: bool) -> None:
    async with cast([bad(500)], [good(stream)]) as (live, ups):
        config = branch(
            "fallback",
            leaf(ups[0], api_key="sk-own-1", override_params={"model": "big", "top_p": None}),
            leaf(ups[1], api_key="sk-own-2", override_params={"model": "small", "max_tokens": 64}),
            override_params={"model": "any", "temperature": 0.5},
        )
        client, _ = await call(live, config, stream=stream, top_p=0.9)
        assert client.status == 200
        first, second = (up.requests[0] for up in ups)
        shared = {"messages": [], "stream": stream, "top_p": 0.9, "temperature": 0.5}
        asked = {"stream_options": {"include_usage": True}} if stream else {}
        assert orjson.loads(first.body) == {**shared, "model": "big", **asked}
        assert orjson.loads(second.body) == {**shared, "model": "small", "max_tokens": 64, **asked}
        assert first.header("authorization") == "Bearer sk-own-1"
        assert second.header("authorization") == "Bearer sk-own-2"
        record = await live.recorded()
        assert [attempt.model for attempt in record.attempts] == ["big", "small"]


@both
async def test_a_target_may_turn_streaming_off_and_only_it_does(stream: bool) -> None:
    async with cast([bad(500)], [good(stream)]) as (live, ups):
        config = branch("fallback", leaf(ups[0], override_params={"stream": not stream}), leaf(ups[1]))
        client, body = await call(live, config, stream=stream)
        assert (client.status, body) == (200, seen(stream))
        assert [orjson.loads(up.requests[0].body)["stream"] for up in ups] == [not stream, stream]
        assert (await live.recorded()).stream is stream


@both
async def test_the_record_counts_the_usage_of_the_target_that_answered(stream: bool) -> None:
    async with cast([bad(500)], [good(stream)]) as (live, ups):
        await call(live, branch("fallback", *map(leaf, ups)), stream=stream)
        record = await live.recorded()
        lost, won = record.attempts
        assert (lost.usage, won.usage) == (None, record.usage)
        assert record.usage is not None
        assert (record.usage.input, record.usage.output) == (3, 2)
        assert lost.end is not None
        assert lost.start <= lost.end <= won.start


@both
async def test_a_client_that_leaves_ends_the_walk(stream: bool) -> None:
    silent: Reply = (Stall(),)
    async with cast([bad(500)], [silent], [good(stream)]) as (live, ups):
        client = await live.post(config=branch("fallback", *map(leaf, ups)), stream=stream)
        await ups[1].requested()
        client.leave()
        await ups[1].left(limit=1)
        record = await live.recorded()
        assert (record.status, record.outcome) == (499, Outcome.CLIENT_LEFT)
        assert [attempt.outcome for attempt in record.attempts] == [Outcome.FAILED, Outcome.CLIENT_LEFT]
        assert ups[2].connections == []


@both
async def test_many_calls_at_once_fall_back_each_for_itself(stream: bool) -> None:
    async with cast([bad(500)], [good(stream)]) as (live, ups):
        config = branch("fallback", *map(leaf, ups))
        answers = await asyncio.gather(*[call(live, config, stream=stream) for _ in range(20)])
        assert {(client.status, index(client), body) for client, body in answers} == {
            (200, "config.targets[1]", seen(stream))
        }
        assert [len(up.requests) for up in ups] == [20, 20]
        assert {tuple(tell(record)) for record in live.records} == {(("targets[0]", 500, "upstream_status"), RESCUED)}
