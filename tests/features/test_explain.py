"""``x-aiogateway-explain``: an answer says which targets were considered, and why each was skipped, tried or chosen."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest

from aiogateway.testing.upstream import Hang, Pause, Reply, Reset
from aiogateway.testing.upstream import stream as streamed
from tests.answers import answer, bad, call, cast, expect_refusal, good, problem, seen
from tests.network import Names, closed_port
from tests.stage import DONE, branch, event, leaf
from tests.views import both, read_error

HEADER = "x-aiogateway-explain"
ASK = {HEADER: "1"}
TIME = re.compile(r"\d+(\.\d)? m?s\b")


def untimed(line: str) -> str:
    """An explanation with T for every time in it."""
    return TIME.sub("T", line)


def read_as_a_browser_would(body: bytes) -> list[str]:
    """The data of a stream's events, by the letter of the SSE specification (WHATWG HTML, 9.2.6)."""
    found: list[str] = []
    data: list[str] = []
    for line in body.decode().split("\n"):
        if not line:
            if data:
                found.append("\n".join(data))
            data = []
        elif not line.startswith(":"):
            field, _, value = line.partition(":")
            if field == "data":
                data.append(value.removeprefix(" "))
    return found


async def explain(live: Any, config: dict[str, Any], stream: bool, **asked: Any) -> tuple[int, str]:
    """A call's status and its explanation; a stream ends with the same as a comment."""
    client, body = await call(live, config, stream=stream, **{"headers": ASK, **asked})
    line = client.headers[HEADER]
    assert line.isascii()
    assert line.isprintable()
    if client.headers["content-type"] == "text/event-stream":
        rest, _, comment = body.rpartition(b"\n\n: ")
        assert comment.endswith(b"\n\n")
        assert comment.count(b"\n") == 2
        assert untimed(comment.decode().strip()) == untimed(line)
        assert b"\n:" not in rest
    return client.status, untimed(line)


# ---------------------------------------------------------------- where it stands


@both
async def test_an_answer_says_why_when_it_is_asked(stream: bool, tmp_path: Path) -> None:
    scripts = [bad(503)], [good(stream)]
    async with cast(*scripts, tmp=tmp_path, retry_wait=0.01) as (live, ups):
        config = branch("fallback", leaf(ups[0], retry={"attempts": 1}), leaf(ups[1]))
        assert await explain(live, config, stream) == (
            200,
            "config.targets[0] tried: 503 after T, retried after T: 503 after T; "
            "config.targets[1] tried: 200 after T",
        )  # fmt: skip


@both
@pytest.mark.parametrize("value", ["", "0", "false"])
async def test_an_answer_says_nothing_unasked(value: str, stream: bool) -> None:
    async with cast([bad(503), good(stream)]) as (live, (up,)):
        for status, expected in ((503, problem(503)), (200, seen(stream))):
            client, body = await call(live, leaf(up), stream=stream, headers={HEADER: value})
            assert (client.status, body) == (status, expected)
            assert HEADER not in client.headers


async def test_asking_is_a_word_between_us_and_the_client() -> None:
    async with cast([good(False)]) as (live, (up,)):
        for headers in (ASK, {HEADER: "true"}, {"x-portkey-explain": "1"}):
            client, body = await call(live, leaf(up), stream=False, headers=headers)
            assert untimed(client.headers[HEADER]) == "config tried: 200 after T"
            assert body == answer(), "the body is the provider's"
            assert up.requests[-1].header(HEADER) is None


async def test_a_word_that_is_neither_yes_nor_no_is_a_mistake() -> None:
    async with cast([good(False)]) as (live, (up,)):
        client, body = await call(live, leaf(up), stream=False, headers={HEADER: "perhaps"})
        assert (client.status, read_error(body)["param"]) == (400, HEADER)
        await expect_refusal(live)


async def test_a_provider_s_header_of_that_name_is_not_taken_for_ours() -> None:
    async with cast([(*streamed(event("hi") + DONE, headers=((HEADER, "lie"),)),)]) as (live, (up,)):
        client, _ = await call(live, leaf(up))
        assert HEADER not in client.headers
        client, _ = await call(live, leaf(up), headers=ASK)
        assert untimed(client.headers[HEADER]) == "config tried: 200 after T"


async def test_a_stream_s_closing_comment_is_nothing_to_its_readers() -> None:
    """It comes after the end, and a client that skips comments sees the same events as without."""
    async with cast([good(True)]) as (live, (up,)):
        _, plain = await call(live, leaf(up))
        _, told = await call(live, leaf(up), headers=ASK)
        assert told.startswith(plain)
        assert plain.endswith(DONE)
        assert read_as_a_browser_would(told) == read_as_a_browser_would(plain)
        assert read_as_a_browser_would(plain)[-1] == "[DONE]"


async def test_a_stream_that_broke_off_says_in_its_comment_what_its_header_could_not_know() -> None:
    async with cast([(*streamed(event("half"), end=False), Pause(0.03), Reset())]) as (live, (up,)):
        client, body = await call(live, leaf(up), headers=ASK)
        assert untimed(client.headers[HEADER]) == "config tried: 200 after T"
        events = read_as_a_browser_would(body)
        assert len(events) == 2
        assert orjson.loads(events[1])["error"]["code"] == "stream_truncated"
        assert DONE not in body
        assert body.rpartition(b"\n\n: ")[2].startswith(b"config tried: 200 after ")


# ---------------------------------------------------------------- what it tells


@both
async def test_the_weight_that_was_drawn(stream: bool) -> None:
    async with cast([bad(500)], [good(stream)]) as (live, ups):
        live.gateway.tools.draw = iter((0.62, 0.5)).__next__
        config = branch("loadbalance", leaf(ups[1]), leaf(ups[0], weight=3), strategy={"failover": True})
        assert await explain(live, config, stream) == (
            200,
            "config.targets[1] chosen: weight 3 of 4, drew 0.62: 500 after T; "
            "config.targets[0] chosen: weight 1 of 1, drew 0.50: 200 after T",
        )


@both
async def test_the_condition_that_matched(stream: bool) -> None:
    async with cast([good(stream)]) as (live, (up,)):
        conditions = [
            {"query": {"params.model": "other"}, "then": "a"},
            {"query": {"params.model": "m"}, "then": "b"},
        ]
        strategy = {"conditions": conditions, "default": "a"}
        config = branch("conditional", leaf(up, name="a"), leaf(up, name="b"), strategy=strategy)
        told = "config.targets[1] chosen: conditions[1] matched: 200 after T"
        assert await explain(live, config, stream) == (200, told)
        told = "config.targets[0] chosen: default: 200 after T"
        assert await explain(live, config, stream, model="third") == (200, told)


@both
async def test_the_breaker_that_is_open(stream: bool) -> None:
    async with cast([bad(503)], [good(stream)] * 2 + [bad(500)]) as (live, ups):
        rules = {"cb_config": {"failure_threshold": 1, "cooldown_interval": 60_000}}
        config = branch("fallback", *map(leaf, ups), strategy=rules)
        await call(live, config, stream=stream)
        told = "config.targets[0] skipped: circuit open; config.targets[1] tried: 200 after T"
        assert await explain(live, config, stream) == (200, told)
        await call(live, config, stream=stream)
        status, line = await explain(live, config, stream)
        assert (status, "config bypassed: every circuit is open" in line) == (500, True)


@both
async def test_why_a_fallback_stopped(stream: bool) -> None:
    async with cast([bad(400, code="content_policy_violation"), bad(500)], [good(stream)]) as (live, ups):
        config = branch("fallback", *map(leaf, ups))
        told = "config.targets[0] tried: 400 after T; config stopped: 400 is a content-policy rejection"
        assert await explain(live, config, stream) == (400, told)
        config = branch("fallback", *map(leaf, ups), strategy={"on_status_codes": [429]})
        told = "config.targets[0] tried: 500 after T; config stopped: 500 is not in on_status_codes"
        assert await explain(live, config, stream) == (500, told)


@both
async def test_failures_of_ours_by_their_name(stream: bool) -> None:
    async with cast([(Hang(),)], [good(stream)], resolver=Names()) as (live, ups):
        with closed_port() as port:
            dead = leaf(ups[0], custom_host=f"http://127.0.0.1:{port}/v1")
            config = branch("fallback", dead, leaf(ups[0], request_timeout=80), leaf(ups[1]))
            assert await explain(live, config, stream) == (
                200,
                "config.targets[0] tried: 502 connect_failed after T; "
                "config.targets[1] tried: 408 first_token_timeout after T; "
                "config.targets[2] tried: 200 after T",
            )


@both
async def test_times_are_each_attempt_s_own(stream: bool, tmp_path: Path) -> None:
    slow: Reply = (Pause(0.15), *bad(429, (("retry-after-ms", "100"),)))
    async with cast([slow, good(stream)], tmp=tmp_path, retry_wait=0.01) as (live, (up,)):
        client, _ = await call(live, leaf(up, retry={"attempts": 1}), stream=stream, headers=ASK)
        times = [float(found[1]) for found in re.finditer(r"([0-9.]+) ms", client.headers[HEADER])]
        assert len(times) == 3, client.headers[HEADER]
        first, waited, second = times
        assert 145 < first < 300
        assert 100 <= waited <= 111
        assert second < 100


@both
async def test_paths_of_nested_targets(stream: bool) -> None:
    async with cast([bad(500)], [bad(502)], [good(stream)]) as (live, ups):
        one, two, three = map(leaf, ups)
        config = branch("fallback", branch("fallback", one, two), branch("single", three))
        assert await explain(live, config, stream) == (
            200,
            "config.targets[0].targets[0] tried: 500 after T; config.targets[0].targets[1] tried: 502 after T; "
            "config.targets[1].targets[0] tried: 200 after T",
        )


# ---------------------------------------------------------------- errors


@both
async def test_a_provider_s_error_is_explained_beside_its_own_body(stream: bool) -> None:
    async with cast([bad(503)], [bad(500)]) as (live, ups):
        client, body = await call(live, branch("fallback", *map(leaf, ups)), stream=stream, headers=ASK)
        assert (client.status, body) == (500, problem(500))
        told = "config.targets[0] tried: 503 after T; config.targets[1] tried: 500 after T"
        assert untimed(client.headers[HEADER]) == told


@both
async def test_an_error_of_ours_is_explained_too(stream: bool) -> None:
    async with cast([(Hang(),)]) as (live, (up,)):
        config = leaf(up, request_timeout=80)
        assert await explain(live, config, stream) == (408, "config tried: 408 first_token_timeout after T")


@both
async def test_nothing_tried_is_said_as_well(stream: bool) -> None:
    async with cast([good(stream)]) as (live, (up,)):
        strategy = {"conditions": [{"query": {"params.model": "x"}, "then": "a"}]}
        config = branch("conditional", leaf(up, name="a"), strategy=strategy)
        assert await explain(live, config, stream) == (400, "no target was tried")
        await expect_refusal(live)


async def test_requests_that_are_passed_on_are_explained_in_the_header() -> None:
    async with cast([bad(500)], [good(False)]) as (live, ups):
        config = branch("fallback", *map(leaf, ups))
        client, body = await call(live, config, raw=b"", path="/v1/files/f/cancel", headers=ASK)
        assert (client.status, body) == (200, answer())
        told = "config.targets[0] tried: 500 after T; config.targets[1] tried: 200 after T"
        assert untimed(client.headers[HEADER]) == told


# ---------------------------------------------------------------- what it never tells


@both
async def test_no_key_no_host_and_no_word_of_anybody_s_is_in_it(stream: bool) -> None:
    """`call` looks for keys and addresses in every header; what people wrote is not in it either."""
    told = bad(500, (("x-note", "hunter2-less"),), code="canary-code")
    async with cast([told], [good(stream)]) as (live, ups):
        config = branch(
            "fallback",
            leaf(ups[0], name="canary-name", override_params={"model": "canary-model", "user": "canary-user"}),
            leaf(ups[1], api_key="sk-own-canary"),
        )
        headers = {**ASK, "x-portkey-metadata": '{"a":"canary-metadata"}'}
        client, _ = await call(live, config, stream=stream, headers=headers)
        assert "canary" not in client.headers[HEADER]


@both
async def test_a_long_story_is_cut_between_two_sentences(stream: bool) -> None:
    """Servers and proxies refuse long headers."""
    async with cast([bad(503)]) as (live, (up,)):
        node: Any = branch("fallback", *[leaf(up)] * 20)
        for _ in range(6):
            node = branch("single", node)
        client, _ = await call(live, node, stream=stream, headers=ASK)
        line = client.headers[HEADER]
        assert len(line) <= 4096
        assert untimed(line).startswith("config" + ".targets[0]" * 7 + " tried: 503 after T; ")
