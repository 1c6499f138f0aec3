"""A config with a mistake is refused at the door: at once, whole, in words that say what to write instead."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from aiogateway.testing.upstream import Hang
from aiogateway.types import Outcome
from tests.answers import KEYS, bad, call, cast, expect_refusal, good, index, seen
from tests.seeds import CURRENT
from tests.stage import Stage, branch, leaf, stage
from tests.views import both, read_error

PATHS = ["/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/files"]
UNHEARD: dict[str, str] = {"x-portkey-provider": "", "x-portkey-custom-host": ""}


def read_refusal(body: bytes) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """The OpenAI-shaped error, and Portkey's list as (path, message); the one says all that the other does."""
    error = read_error(body)
    assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_config")
    found = []
    for line in orjson.loads(body)["errors"]:
        match = re.fullmatch(r"path: ([^ ]*), message: (.+)", line, re.DOTALL)
        assert match is not None, line
        assert match[2] in error["message"]
        found.append((match[1], match[2]))
    assert found
    return error, found


async def refuse(live: Stage, config: Any, **asked: Any) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """A call that is refused: a 400, nobody is connected to, one record. The config may be any text."""
    text = config if isinstance(config, str) else orjson.dumps(config).decode()
    count = len(live.records) + 1
    headers = {**UNHEARD, "x-portkey-config": text, **asked.pop("headers", {})}
    client = await live.post(headers=headers, **asked)
    status, body = await client.answer()
    assert status == 400, body
    assert not [key for key in KEYS if key in body + repr(client.headers).encode()]
    assert client.headers["content-type"] == "application/json"
    assert client.headers["x-portkey-trace-id"]
    assert index(client) is None
    assert live.up.connections == []
    await expect_refusal(live, count=count)
    return read_refusal(body)


# ---------------------------------------------------------------- one mistake

HOST = "https://api.example/v1"
PLAIN: dict[str, Any] = {"provider": "openai", "api_key": "sk-own"}
MISTAKES: dict[str, tuple[Any, str, str, str]] = {
    "unknown field": ({**PLAIN, "weigth": 1}, "weigth", "weigth", "did you mean 'weight'"),
    "unknown field below": (branch("fallback", {**PLAIN, "modle": 1}), "targets[0].modle", "targets,0,modle", ""),
    "a field of the request": ({**PLAIN, "temperature": 1}, "temperature", "temperature", "override_params"),
    "wrong type": ({**PLAIN, "retry": {"attempts": "2"}}, "retry.attempts", "retry,attempts", "got '2'"),
    "not an object": ({**PLAIN, "retry": 3}, "retry", "retry", "must be an object"),
    "too many retries": ({**PLAIN, "retry": {"attempts": 6}}, "retry.attempts", "retry,attempts", "0 to 5, got 6"),
    "negative retries": ({**PLAIN, "retry": {"attempts": -1}}, "retry.attempts", "retry,attempts", "0 to 5, got -1"),
    "no number of retries": ({**PLAIN, "retry": {}}, "retry.attempts", "retry,attempts", "is missing"),
    "unknown mode": (branch("random", PLAIN), "strategy.mode", "strategy,mode", "single, fallback, loadbalance"),
    "no targets": (branch("fallback"), "targets", "targets", "at least one target"),
    "targets without a strategy": ({"targets": [PLAIN]}, "strategy", "strategy", "is missing"),
    "a target that is none": (branch("fallback", {"weight": 1}), "targets[0]", "targets,0", "provider"),
    "weights all zero": (branch("loadbalance", {**PLAIN, "weight": 0}), "targets", "targets", "above 0"),
    "negative weight": (branch("loadbalance", {**PLAIN, "weight": -1}), "targets[0].weight", "targets,0,weight", "-1"),
    "unknown provider": ({"provider": "opnai", "api_key": "sk-own"}, "provider", "provider", "did you mean 'openai'"),
    "unknown condition target": (
        branch(
            "conditional", {**PLAIN, "name": "a"}, strategy={"conditions": [{"query": {"params.x": 1}, "then": "b"}]}
        ),
        "strategy.conditions[0].then",
        "strategy,conditions,0,then",
        "there are: 'a'",
    ),
    "unknown default target": (
        branch(
            "conditional",
            {**PLAIN, "name": "a"},
            strategy={"conditions": [{"query": {"params.x": 1}, "then": "a"}], "default": "c"},
        ),
        "strategy.default",
        "strategy,default",
        "there are: 'a'",
    ),
    "unknown operator": (
        branch(
            "conditional",
            {**PLAIN, "name": "a"},
            strategy={"conditions": [{"query": {"params.x": {"$foo": 1}}, "then": "a"}]},
        ),
        "strategy.conditions[0].query.params.x.$foo",
        "strategy,conditions,0,query,params,x,$foo",
        "there are: $eq",
    ),
    "a status that is none": (
        branch("fallback", PLAIN, strategy={"on_status_codes": [42]}),
        "strategy.on_status_codes[0]",
        "strategy,on_status_codes,0",
        "42",
    ),
    "a host that is none": ({**PLAIN, "custom_host": "ftp://x"}, "custom_host", "custom_host", "http"),
    "a timeout of nothing": ({**PLAIN, "timeouts": {"idle": 0}}, "timeouts.idle", "timeouts,idle", "0"),
    "an unknown timeout": ({**PLAIN, "timeouts": {"idel": 5}}, "timeouts.idel", "timeouts,idel", "idle"),
    "a cache mode": ({**PLAIN, "cache": {"mode": "clever"}}, "cache.mode", "cache,mode", "simple, semantic"),
    "recovery": ({**PLAIN, "stream_recovery": {"mode": "on"}}, "stream_recovery.mode", "stream_recovery,mode", "off"),
    "not there yet": (
        {**PLAIN, "input_guardrails": ["x"]},
        "input_guardrails",
        "input_guardrails",
        "not available yet",
    ),
    "a field twice": ({**PLAIN, "weight": 5, "Weight": 6}, "weight", "weight", "given twice"),
}


@pytest.mark.parametrize("name", MISTAKES)
async def test_a_mistake_is_told_with_its_path_and_what_is_allowed(name: str) -> None:
    config, param, path, told = MISTAKES[name]
    async with stage((Hang(),)) as live:
        error, found = await refuse(live, config)
        assert error["param"] == param
        assert [where for where, _ in found] == [path]
        assert told in found[0][1]


@pytest.mark.parametrize("path", PATHS)
@both
async def test_on_every_route_and_streamed_or_not(path: str, stream: bool) -> None:
    async with cast([(Hang(),)]) as (live, _):
        _, found = await refuse(live, {**PLAIN, "retry": {"attempts": 9}}, path=path, stream=stream)
        assert found == [("retry,attempts", "must be an integer from 0 to 5, got 9")]


async def test_a_caller_s_header_is_named_when_it_is_at_fault() -> None:
    async with stage((Hang(),)) as live:
        for headers, name in (
            ({"x-portkey-request-timeout": "soon"}, "x-portkey-request-timeout"),
            ({"x-portkey-metadata": "{"}, "x-portkey-metadata"),
            ({"x-portkey-custom-host": "http://10.0.0.1@x/v1"}, "x-portkey-custom-host"),
        ):
            error, _ = await refuse(live, PLAIN, headers=headers)
            assert error["param"] == name


# ---------------------------------------------------------------- several


async def test_all_mistakes_are_told_at_once() -> None:
    config = branch(
        "fallback",
        {**PLAIN, "weigth": 1, "retry": {"attempts": 9}},
        {"provider": "nobody"},
        branch("loadbalance", {**PLAIN, "weight": 0}),
        strategy={"on_status_codes": "all"},
        request_timeout=-5,
    )
    async with stage((Hang(),)) as live:
        error, found = await refuse(live, config)
        assert error["param"] is None
        assert sorted(path for path, _ in found) == [
            "request_timeout",
            "strategy,on_status_codes",
            "targets,0,retry,attempts",
            "targets,0,weigth",
            "targets,1,provider",
            "targets,2,targets",
        ]
        assert error["message"].startswith("6 mistakes: ")


async def test_mistakes_that_only_show_when_the_targets_are_put_together_come_all_at_once_too() -> None:
    config = branch("fallback", {"virtual_key": "vk-a"}, branch("single", {"provider": "@vk-b"}), PLAIN)
    async with stage((Hang(),)) as live:
        _, found = await refuse(live, config)
        assert [path for path, _ in found] == ["targets,0,virtual_key", "targets,1,targets,0,provider"]


async def test_so_many_that_they_are_only_counted() -> None:
    config = branch("fallback", *[{**PLAIN, f"field{number}": 1} for number in range(64)])
    async with stage((Hang(),)) as live:
        client = await live.post(config=config)
        status, body = await client.answer()
        assert (status, len(body) < 64_000) == (400, True)
        _, found = read_refusal(body)
        assert re.fullmatch(r"and \d+ more", found[-1][1])


# ---------------------------------------------------------------- what is a config at all


async def test_a_slug_is_named_as_one() -> None:
    """There are no saved configs yet; a value that is no slug either may be a key, and is not repeated."""
    async with stage((Hang(),)) as live:
        error, _ = await refuse(live, "pc-anthropic-xx")
        assert "pc-anthropic-xx" in error["message"]
        assert "saved config" in error["message"]
        error, _ = await refuse(live, "sk-proj-123456")
        assert "123456" not in error["message"]


@pytest.mark.parametrize(
    "text",
    ["{", '{"provider": openai}', '{"provider":"openai",}', "{} x", "[]", '"text"', "null", "42", "{'provider': 'a'}"],
)
async def test_what_is_no_json_object_is_refused(text: str) -> None:
    async with stage((Hang(),)) as live:
        error, found = await refuse(live, text)
        assert "x-portkey-config" in error["message"]
        assert len(found) == 1


@pytest.mark.parametrize("depth", [200, 5000])
async def test_json_that_nests_for_ever_is_refused(depth: int) -> None:
    async with stage((Hang(),)) as live:
        await refuse(live, '{"override_params":' + '{"a":' * depth + "1" + "}" * depth + "}")


async def test_a_config_that_is_too_large_is_refused(tmp_path: Path) -> None:
    async with stage((Hang(),), tmp=tmp_path, max_config_header=2000) as live:
        error, _ = await refuse(live, {**PLAIN, "override_params": {"x": "y" * 3000}})
        assert "at most 2000 bytes" in error["message"]


async def test_no_target_at_all_is_said_with_the_way_out() -> None:
    async with stage((Hang(),)) as live:
        client = await live.post(headers=UNHEARD)
        status, body = await client.answer()
        assert status == 400
        message = read_refusal(body)[0]["message"]
        assert "x-portkey-config" in message
        assert "x-portkey-provider" in message
        await expect_refusal(live)


# ---------------------------------------------------------------- bounds


def nest(levels: int) -> dict[str, Any]:
    """A config of so many levels."""
    node: dict[str, Any] = dict(PLAIN)
    for _ in range(levels - 1):
        node = dict(branch("single", node))
    return node


async def test_at_most_eight_levels() -> None:
    async with stage((Hang(),)) as live:
        error, _ = await refuse(live, nest(9))
        assert "at most 8 levels" in error["message"]
        assert error["param"] == ".".join(["targets[0]"] * 7 + ["targets"])


async def test_at_most_64_leaves() -> None:
    async with stage((Hang(),)) as live:
        error, _ = await refuse(live, branch("loadbalance", *[PLAIN] * 65))
        assert "64 targets" in error["message"]


async def test_at_most_so_many_attempts_a_call(tmp_path: Path) -> None:
    async with stage((Hang(),), tmp=tmp_path, max_attempts=6) as live:
        error, _ = await refuse(live, branch("fallback", *[PLAIN] * 3, retry={"attempts": 2}))
        assert "9 upstream attempts" in error["message"]
        assert "at most 6" in error["message"]
        error, _ = await refuse(live, branch("loadbalance", *[PLAIN] * 7, strategy={"failover": True}))
        assert "7 upstream attempts" in error["message"]


@both
async def test_just_within_all_bounds_it_works(stream: bool, tmp_path: Path) -> None:
    """Eight levels, 20 attempts, 64 leaves."""
    async with cast([bad(500)] * 20 + [good(stream)], tmp=tmp_path, retry_wait=0.001) as (live, (up,)):
        eager, once = leaf(up, retry={"attempts": 5}), leaf(up)
        node: Any = branch("fallback", eager, eager, eager, once, once)
        for _ in range(6):
            node = branch("single", node)
        assert (await call(live, node, stream=stream))[0].status == 500
        assert len(up.requests) == 20
        client, body = await call(live, branch("loadbalance", *[once] * 64), stream=stream)
        assert (client.status, body) == (200, seen(stream))


# ---------------------------------------------------------------- virtual keys

KEYED = [name for name, config in CURRENT.items() if "virtual_key" in orjson.dumps(config).decode()]


@pytest.mark.parametrize("name", KEYED)
async def test_a_virtual_key_is_named_as_long_as_there_is_no_vault(name: str) -> None:
    config = CURRENT[name]
    keys = [target["virtual_key"] for target in config.get("targets", [config])]
    async with stage((Hang(),)) as live:
        _, found = await refuse(live, config)
        assert len(found) == len(keys)
        for (path, message), key in zip(found, keys, strict=True):
            assert path.endswith("virtual_key")
            assert repr(key) in message
            assert "no vault yet" in message


@pytest.mark.parametrize("said", [{"provider": "@slug"}, {"virtual_key": "slug"}], ids=str)
async def test_both_ways_to_name_one(said: dict[str, str]) -> None:
    async with stage((Hang(),)) as live:
        _, found = await refuse(live, said)
        assert "slug" in found[0][1]


async def test_a_key_that_was_pasted_for_a_slug_is_not_repeated() -> None:
    async with stage((Hang(),)) as live:
        for field in ("virtual_key", "provider"):
            value = "sk-canary-123" if field == "virtual_key" else "@sk-canary-123"
            error, _ = await refuse(live, {field: value})
            assert "canary" not in error["message"]


# ---------------------------------------------------------------- the body, and what is no mistake


@both
@pytest.mark.parametrize("raw", [b"", b"{", b"not json", b'{"a":1}x', b"[]", b'"text"', b"\xff\xfe"])
async def test_a_body_that_is_no_json_object_is_a_400_and_asks_nobody(raw: bytes, stream: bool) -> None:
    async with cast([good(stream)]) as (live, (up,)):
        client, body = await call(live, branch("fallback", leaf(up), leaf(up)), raw=raw)
        error = read_error(body)
        assert (client.status, error["type"], error["code"]) == (400, "invalid_request_error", "invalid_request")
        assert "JSON" in error["message"]
        assert up.connections == []
        await expect_refusal(live, "invalid_request")


@both
async def test_camel_case_and_nulls_are_no_mistakes(stream: bool) -> None:
    async with cast([bad(500)], [good(stream)]) as (live, (first, second)):
        config = {
            "strategy": {"mode": "fallback", "onStatusCodes": [500], "default": None},
            "requestTimeout": 9000,
            "targets": [
                {"provider": "openai", "apiKey": "sk-own", "customHost": f"{up.url}/v1", "overrideParams": {"topP": 1}}
                for up in (first, second)
            ],
        }
        client, body = await call(live, config, stream=stream)
        assert (client.status, body, index(client)) == (200, seen(stream), "config.targets[1]")
        assert orjson.loads(second.requests[0].body)["topP"] == 1, "what is the provider's is left alone"


async def test_a_refused_config_is_read_again_and_a_good_one_after_it_works() -> None:
    """A refusal is nothing to remember: neither for the same config nor for the next."""
    async with cast([good(False)]) as (live, (up,)):
        for _ in range(2):
            await refuse(live, {**PLAIN, "retry": {"attempts": 9}})
        client, _ = await call(live, leaf(up), stream=False)
        assert client.status == 200
        assert [record.outcome for record in live.records] == [Outcome.REFUSED] * 2 + [Outcome.OK]
