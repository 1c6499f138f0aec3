"""Conditional routing: what a call is like decides where it goes, before anything in it is overridden."""

from __future__ import annotations

import time
from typing import Any

import orjson
import pytest

from aiogateway.types import Outcome
from tests.answers import bad, call, cast, expect_loss, expect_refusal, expect_rescue, good, index, problem, seen
from tests.stage import Stage, branch, leaf, stage
from tests.views import both, read_error

NO_MATCH = "Query router did not resolve to any valid target"


def choose(live: Stage, *queries: dict[str, Any], default: bool = True) -> dict[str, Any]:
    """A config with a target for each query, by their order, and a last one as default."""
    conditions = [{"query": query, "then": f"t{place}"} for place, query in enumerate(queries)]
    targets = [leaf(live.up, name=f"t{place}") for place in range(len(queries))]
    strategy: dict[str, Any] = {"conditions": conditions}
    if default:
        strategy["default"] = "other"
    return dict(branch("conditional", *targets, leaf(live.up, name="other"), strategy=strategy))


async def places(live: Stage, query: dict[str, Any], *asked: dict[str, Any]) -> list[bool]:
    """Whether the query matched, for each way of asking."""
    matched = []
    for way in asked:
        client, body = await call(live, choose(live, query), **{"stream": False, **way})
        assert client.status == 200, body
        matched.append(index(client) == "config.targets[0]")
    return matched


def metadata(**values: Any) -> dict[str, Any]:
    return {"headers": {"x-portkey-metadata": orjson.dumps(values).decode()}}


# ---------------------------------------------------------------- what can be asked


@both
async def test_paying_users_get_the_better_model(stream: bool) -> None:
    async with cast([good(stream, "paid")], [good(stream, "free")]) as (live, ups):
        config = branch(
            "conditional",
            leaf(ups[0], name="big", override_params={"model": "big"}),
            leaf(ups[1], name="small", override_params={"model": "small"}),
            strategy={
                "conditions": [
                    {"query": {"metadata.user_plan": {"$eq": "paid"}}, "then": "big"},
                    {"query": {"metadata.user_plan": {"$eq": "free"}}, "then": "small"},
                ],
                "default": "small",
            },
        )
        for number, (plan, place) in enumerate((("paid", 0), ("free", 1), ("unheard-of", 1)), 1):
            client, body = await call(live, config, stream=stream, **metadata(user_plan=plan))
            text = "paid" if place == 0 else "free"
            assert (client.status, body, index(client)) == (200, seen(stream, text), f"config.targets[{place}]")
            assert orjson.loads(ups[place].requests[-1].body)["model"] == ("big", "small")[place]
            await expect_rescue(live, (f"targets[{place}]", 200, None), count=number)


async def test_a_condition_may_ask_for_metadata() -> None:
    async with stage(good(False)) as live:
        ways: list[dict[str, Any]] = [metadata(plan="paid"), metadata(plan="free"), metadata(other="paid"), {}]
        assert await places(live, {"metadata.plan": "paid"}, *ways) == [True, False, False, False]


async def test_a_condition_may_ask_for_params_at_any_depth() -> None:
    async with stage(good(False)) as live:
        deep = {"response_format": {"type": "json_schema", "json_schema": {"strict": True}}}
        ways: list[dict[str, Any]] = [deep, {"response_format": {"type": "text"}}, {}]
        assert await places(live, {"params.response_format.json_schema.strict": True}, *ways) == [True, False, False]
        talk = {"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": "hello"}]}
        assert await places(live, {"params.messages.1.content": {"$regex": "^hel"}}, talk, {}) == [True, False]
        sizes: list[dict[str, Any]] = [{"max_tokens": 4000}, {"max_tokens": 10}, {}]
        assert await places(live, {"params.max_tokens": {"$gt": 1000}}, *sizes) == [True, False, False]


async def test_a_condition_may_ask_for_the_path() -> None:
    async with stage(good(False)) as live:
        query = {"url.pathname": "/v1/embeddings"}
        ways: list[dict[str, Any]] = [
            {"path": "/v1/embeddings", "input": "x"},
            {},
            {"path": "/v1/chat/completions?a=b"},
        ]
        assert await places(live, query, *ways) == [True, False, False]
        query = {"url.pathname": "/v1/chat/completions"}
        assert await places(live, query, *ways) == [False, True, True], "a query of the URL is not part of its path"


async def test_a_condition_may_ask_for_headers_in_any_case() -> None:
    async with stage(good(False)) as live:
        ways: list[dict[str, Any]] = [{"headers": {"X-Team": "blue"}}, {"headers": {"x-team": "red"}}, {}]
        assert await places(live, {"headers.x-TEAM": {"$in": ["blue", "green"]}}, *ways) == [True, False, False]


async def test_credentials_are_nothing_to_ask_for() -> None:
    async with stage(good(False)) as live:
        for number, name in enumerate(("authorization", "x-api-key", "cookie", "x-portkey-api-key"), 1):
            client, body = await call(live, choose(live, {f"headers.{name}": "Bearer sk-caller"}), stream=False)
            assert (client.status, read_error(body)["code"]) == (400, "invalid_config")
            await expect_refusal(live, count=number)
        assert live.up.connections == []


QUERIES: list[tuple[dict[str, Any], list[Any], list[Any]]] = [
    ({"metadata.a": {"$ne": "x"}}, ["y", 1, None], ["x"]),
    ({"metadata.a": {"$gte": 2}}, [2, 3, "2.5"], [1, "x", None, True]),
    ({"metadata.a": {"$lt": "10"}}, [9, "9"], [10, 11, "x"]),
    ({"metadata.a": {"$lte": 10}}, [10], [10.5]),
    ({"metadata.a": {"$in": ["x", 1]}}, ["x", 1], ["1", True, "y"]),
    ({"metadata.a": {"$nin": ["x"]}}, ["y", None], ["x"]),
    ({"metadata.a": {"$regex": "^ab+$"}}, ["abb"], ["xabb", 1, None]),
    ({"metadata.a": {"$gt": 1, "$lt": 5}}, [2], [1, 5]),
    ({"$or": [{"metadata.a": "x"}, {"metadata.a": "y"}]}, ["x", "y"], ["z"]),
    ({"$and": [{"metadata.a": {"$regex": "x"}}, {"metadata.a": {"$ne": "x"}}]}, ["xx"], ["x", "y"]),
    ({"metadata.a": {"$regex": "x"}, "metadata.b": "b"}, ["x"], ["y"]),
]


@pytest.mark.parametrize(("query", "yes", "no"), QUERIES, ids=[str(query) for query, _, _ in QUERIES])
async def test_operators(query: dict[str, Any], yes: list[Any], no: list[Any]) -> None:
    async with stage(good(False)) as live:
        ways = [metadata(a=value, b="b") for value in [*yes, *no]]
        assert await places(live, query, *ways) == [True] * len(yes) + [False] * len(no)


async def test_the_first_condition_that_matches_wins() -> None:
    async with stage(good(False)) as live:
        config = choose(live, {"metadata.a": "x"}, {"metadata.b": "x"}, {"metadata.a": {"$regex": "."}})
        asked = [{"a": "x", "b": "x"}, {"a": "y", "b": "x"}, {"a": "y"}, {"c": "y"}]
        found = [index((await call(live, config, stream=False, **metadata(**values)))[0]) for values in asked]
        assert found == [f"config.targets[{place}]" for place in range(4)]


# ---------------------------------------------------------------- the original body


@both
async def test_the_body_is_asked_as_the_client_sent_it(stream: bool) -> None:
    """Neither the overrides above nor those of a target decide which target it is."""
    async with cast([good(stream, "asked")], [good(stream, "other")]) as (live, ups):
        config = branch(
            "conditional",
            leaf(ups[0], name="asked", override_params={"model": "over"}),
            leaf(ups[1], name="other"),
            strategy={
                "conditions": [
                    {"query": {"params.model": "over"}, "then": "other"},
                    {"query": {"params.model": "m"}, "then": "asked"},
                ]
            },
            override_params={"model": "over"},
        )
        client, body = await call(live, config, stream=stream)
        assert (client.status, body, index(client)) == (200, seen(stream, "asked"), "config.targets[0]")
        assert orjson.loads(ups[0].requests[0].body)["model"] == "over"


async def test_in_a_nested_tree_it_is_still_the_client_s_body() -> None:
    async with cast([bad(500)], [good(False, "inner")], [good(False)]) as (live, ups):
        inner = branch(
            "conditional",
            leaf(ups[1], name="small"),
            leaf(ups[2], name="large"),
            strategy={
                "conditions": [{"query": {"params.max_tokens": {"$lt": 100}}, "then": "small"}],
                "default": "large",
            },
        )
        config = branch("fallback", leaf(ups[0]), inner, override_params={"max_tokens": 1000})
        client, body = await call(live, config, stream=False, max_tokens=10)
        assert (client.status, body, index(client)) == (200, seen(False, "inner"), "config.targets[1].targets[0]")
        assert orjson.loads(ups[1].requests[0].body)["max_tokens"] == 1000


# ---------------------------------------------------------------- no match


@both
async def test_no_match_and_no_default_is_a_400_that_says_so(stream: bool) -> None:
    async with stage(good(stream)) as live:
        config = choose(live, {"metadata.plan": "paid"}, default=False)
        client, body = await call(live, config, stream=stream)
        error = read_error(body)
        assert (client.status, error["code"], error["type"]) == (400, "invalid_config", "invalid_request_error")
        assert NO_MATCH in error["message"]
        assert index(client) is None
        assert live.up.connections == []
        await expect_refusal(live)


@both
async def test_no_match_below_a_fallback_is_no_failure_to_route_around(stream: bool) -> None:
    async with cast([good(stream)]) as (live, (up,)):
        inner = choose(live, {"metadata.plan": "paid"}, default=False)
        client, body = await call(live, branch("fallback", inner, leaf(up)), stream=stream)
        assert client.status == 400
        assert NO_MATCH in read_error(body)["message"]
        await expect_refusal(live)


@both
async def test_no_match_after_a_failure_still_says_so(stream: bool) -> None:
    async with cast([bad(503)]) as (live, (up,)):
        inner = choose(live, {"metadata.plan": "paid"}, default=False)
        client, body = await call(live, branch("fallback", leaf(up), inner), stream=stream)
        assert client.status == 400
        assert NO_MATCH in read_error(body)["message"]
        record = await live.recorded()
        assert (record.status, record.outcome, len(record.attempts)) == (400, Outcome.FAILED, 1)


# ---------------------------------------------------------------- what fails


@both
async def test_the_chosen_target_s_failure_is_the_answer(stream: bool) -> None:
    """A condition says where a call belongs; who wants another target then nests a fallback."""
    async with cast([bad(503)], [good(stream)]) as (live, ups):
        strategy = {"conditions": [{"query": {"params.model": "m"}, "then": "a"}], "default": "b"}
        config = branch("conditional", leaf(ups[0], name="a"), leaf(ups[1], name="b"), strategy=strategy)
        client, body = await call(live, config, stream=stream)
        assert (client.status, body, index(client)) == (503, problem(503), "config.targets[0]")
        assert ups[1].connections == []
        await expect_loss(live, "upstream_status", ("targets[0]", 503, "upstream_status"))


@both
async def test_a_chosen_fallback_falls_back(stream: bool) -> None:
    async with cast([bad(503)], [good(stream)]) as (live, ups):
        safe = branch("fallback", leaf(ups[0]), leaf(ups[1]), name="safe")
        strategy = {"conditions": [{"query": {"params.model": "m"}, "then": "safe"}]}
        client, body = await call(live, branch("conditional", safe, strategy=strategy), stream=stream)
        assert (client.status, body, index(client)) == (200, seen(stream), "config.targets[0].targets[1]")
        attempts = [("targets[0].targets[0]", 503, "upstream_status"), ("targets[0].targets[1]", 200, None)]
        await expect_rescue(live, *attempts)


# ---------------------------------------------------------------- patterns are strangers'


@pytest.mark.parametrize(
    ("pattern", "text"), [("(a+)+$", "a" * 26 + "!"), ("(a|aa)+$", "a" * 60 + "!"), ("(.*?,){20}P", "1," * 60)]
)
async def test_a_pattern_that_would_run_for_ever_does_not_hold_up_anybody(pattern: str, text: str) -> None:
    async with stage(good(False)) as live:
        config = choose(live, {"params.user": {"$regex": pattern}})
        start = time.monotonic()
        client, _ = await call(live, config, stream=False, user=text)
        assert (client.status, index(client)) == (200, "config.targets[1]"), "too long a search is no match"
        assert time.monotonic() - start < 0.5


async def test_many_such_patterns_share_one_call_s_patience() -> None:
    async with stage(good(False)) as live:
        config = choose(live, *[{"params.user": {"$regex": f"(a|aa)+{number}$"}} for number in range(16)])
        start = time.monotonic()
        client, _ = await call(live, config, stream=False, user="a" * 60 + "!")
        assert (client.status, index(client)) == (200, "config.targets[16]")
        assert time.monotonic() - start < 0.5


async def test_a_text_that_is_too_long_matches_no_pattern() -> None:
    async with stage(good(False)) as live:
        ways = [{"user": "x" * 4096}, {"user": "x" * 4097}]
        assert await places(live, {"params.user": {"$regex": "x"}}, *ways) == [True, False]


async def test_a_pattern_that_is_too_long_or_none_is_refused() -> None:
    async with stage(good(False)) as live:
        for number, pattern in enumerate(("x" * 257, "(", "(((a{1000}){1000}){1000})"), 1):
            client, body = await call(live, choose(live, {"params.user": {"$regex": pattern}}), stream=False)
            assert (client.status, read_error(body)["code"]) == (400, "invalid_config")
            assert read_error(body)["param"] == "strategy.conditions[0].query.params.user.$regex"
            await expect_refusal(live, count=number)
