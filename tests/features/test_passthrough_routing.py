"""Requests that are passed on as they are go through the same strategies, until the first byte of a body has gone."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from aiogateway.testing import FakeUpstream
from aiogateway.testing.upstream import Hang, Pause, Reset, Send, Stall, head, unary
from aiogateway.types import Lane, Outcome
from tests.answers import KEYS, bad, count, expect_refusal, index, problem, tell
from tests.answers import cast as staged
from tests.network import closed_port
from tests.stage import Client, Stage, branch, leaf
from tests.views import read_error

FILES = "/v1/files/f%2F1?purpose=a%20b&"
BODY = bytes(range(256)) * 8
FOUND = unary(b'{"found":"first"}'), unary(b'{"found":"second"}')
FIRST, SECOND = b'{"found":"first"}', b'{"found":"second"}'
CHUNKED = {"Content-Length": "", "Transfer-Encoding": "chunked"}


async def send(
    live: Stage, config: Mapping[str, Any], method: str = "GET", path: str = FILES, body: bytes = b"",
    client: Client | None = None, **headers: str,
) -> Client:  # fmt: skip
    """Sends one request by `config`, and does not wait."""
    client = client or await live.connect()
    told = {"x-portkey-config": orjson.dumps(config).decode(), "Authorization": "Bearer sk-caller", **headers}
    client.send(method, path, told, body)
    return client


async def ask(live: Stage, config: Mapping[str, Any], method: str = "GET", **asked: Any) -> tuple[Client, bytes]:
    client = await send(live, config, method, **asked)
    await client.head()
    body = b"" if method == "HEAD" else await client.body()
    assert not [key for key in KEYS if key in body + repr(client.headers).encode()]
    return client, body


# ---------------------------------------------------------------- strategies


@pytest.mark.parametrize("method", ["GET", "DELETE", "POST", "OPTIONS"])
@pytest.mark.parametrize("status", [401, 404, 429, 500, 503])
async def test_a_fallback_finds_the_file_at_the_next_provider(status: int, method: str) -> None:
    async with staged([bad(status)], [FOUND[1]]) as (live, ups):
        config = branch("fallback", leaf(ups[0], api_key="sk-own-1"), leaf(ups[1], api_key="sk-own-2"))
        client, body = await ask(live, config, method)
        assert (client.status, body) == (200, SECOND)
        assert (index(client), count(client)) == ("config.targets[1]", "0")
        for up, key in zip(ups, ("Bearer sk-own-1", "Bearer sk-own-2"), strict=True):
            (seen,) = up.requests
            assert (seen.method, seen.path, seen.header("authorization")) == (method, FILES, key)
        record = await live.recorded()
        assert (record.lane, record.outcome, record.status) == (Lane.PASSTHROUGH, Outcome.OK, 200)
        assert tell(record) == [("targets[0]", status, "upstream_status"), ("targets[1]", 200, None)]


async def test_a_fallback_leaves_those_that_cannot_be_reached_or_say_nothing() -> None:
    async with staged([(Hang(),)], [(Reset(),)], [FOUND[0]]) as (live, ups):
        with closed_port() as port:
            dead = leaf(ups[0], custom_host=f"http://127.0.0.1:{port}/v1")
            config = branch("fallback", dead, *map(leaf, ups), request_timeout=100)
            client, body = await ask(live, config)
        assert (client.status, body, index(client)) == (200, FIRST, "config.targets[3]")
        assert [attempt[2] for attempt in tell(await live.recorded())] == [
            "connect_failed",
            "first_token_timeout",
            "connect_failed",
            None,
        ]
        await ups[0].left(limit=1)


async def test_a_fallback_goes_by_its_status_codes() -> None:
    async with staged([bad(404), bad(429)], [FOUND[1]]) as (live, ups):
        config = branch("fallback", *map(leaf, ups), strategy={"on_status_codes": [429]})
        client, body = await ask(live, config)
        assert (client.status, body, index(client)) == (404, problem(404), "config.targets[0]")
        client, body = await ask(live, config)
        assert (client.status, body, index(client)) == (200, SECOND, "config.targets[1]")


async def test_when_all_fail_the_last_provider_s_answer_is_passed_on() -> None:
    headers = (("x-request-id", "r-2"), ("retry-after", "7"), ("x-should-retry", "true"))
    async with staged([bad(503)], [bad(404, headers)]) as (live, ups):
        client, body = await ask(live, branch("fallback", *map(leaf, ups)))
        assert (client.status, body, index(client)) == (404, problem(404), "config.targets[1]")
        assert (client.headers["x-request-id"], client.headers["retry-after"]) == ("r-2", "7")
        assert client.headers["x-should-retry"] == "false"
        record = await live.recorded()
        assert (record.status, record.outcome, record.error) == (404, Outcome.FAILED, "upstream_status")


async def test_a_compressed_error_can_still_be_read() -> None:
    """It was held back while others were asked, and comes without the encoding it no longer has, or with it."""
    packed = unary(gzip.compress(problem(500)), status=500, headers=(("content-encoding", "gzip"),))
    async with staged([packed], [packed]) as (live, ups):
        client, body = await ask(live, branch("fallback", *map(leaf, ups)))
        assert client.status == 500
        plain = gzip.decompress(body) if client.headers.get("content-encoding") == "gzip" else body
        assert plain == problem(500)


async def test_an_error_too_large_to_be_held_keeps_its_status(tmp_path: Path) -> None:
    large = unary(b"x" * 100_000, status=503)
    async with staged([large], [large], tmp=tmp_path, unary_buffer=1000) as (live, ups):
        client, body = await ask(live, branch("fallback", *map(leaf, ups)))
        assert client.status == 503
        assert read_error(body)["message"]
    async with staged([large], [FOUND[1]], tmp=tmp_path, unary_buffer=1000) as (live, ups):
        assert (await ask(live, branch("fallback", *map(leaf, ups))))[1] == SECOND


async def test_an_error_of_the_only_target_is_passed_as_it_comes() -> None:
    large = unary(gzip.compress(b"x" * 100_000), status=503, headers=(("content-encoding", "gzip"), ("etag", '"1"')))
    async with staged([large]) as (live, (up,)):
        client, body = await ask(live, leaf(up))
        assert (client.status, gzip.decompress(body)) == (503, b"x" * 100_000)
        assert (client.headers["content-encoding"], client.headers["etag"]) == ("gzip", '"1"')


async def test_a_loadbalance_draws_for_every_request() -> None:
    async with staged([FOUND[0]], [FOUND[1]]) as (live, ups):
        live.gateway.tools.draw = iter((0.1, 0.9, 0.5, 0.2)).__next__
        config = branch("loadbalance", leaf(ups[0]), leaf(ups[1]))
        bodies = [(await ask(live, config))[1] for _ in range(4)]
        assert bodies == [FIRST, SECOND, SECOND, FIRST]


async def test_a_loadbalance_fails_over_only_when_asked_to() -> None:
    async with staged([bad(503)], [FOUND[1]]) as (live, ups):
        live.gateway.tools.draw = float
        client, body = await ask(live, branch("loadbalance", *map(leaf, ups)))
        assert (client.status, body, index(client)) == (503, problem(503), "config.targets[0]")
        client, body = await ask(live, branch("loadbalance", *map(leaf, ups), strategy={"failover": True}))
        assert (client.status, body, index(client)) == (200, SECOND, "config.targets[1]")


async def test_a_condition_may_ask_for_path_metadata_and_headers() -> None:
    async with staged([FOUND[0]], [FOUND[1]]) as (live, ups):
        conditions: list[dict[str, Any]] = [
            {"query": {"url.pathname": {"$regex": "^/v1/batches"}}, "then": "other"},
            {"query": {"metadata.team": "blue"}, "then": "other"},
            {"query": {"headers.x-team": "blue"}, "then": "other"},
            {"query": {"params.model": {"$ne": None}}, "then": "other"},
        ]
        strategy = {"conditions": conditions, "default": "files"}
        config = branch("conditional", leaf(ups[0], name="files"), leaf(ups[1], name="other"), strategy=strategy)
        assert (await ask(live, config))[1] == FIRST
        assert (await ask(live, config, path="/v1/batches/b"))[1] == SECOND
        assert (await ask(live, config, **{"x-portkey-metadata": '{"team":"blue"}'}))[1] == SECOND
        assert (await ask(live, config, **{"X-Team": "blue"}))[1] == SECOND
        body = b'{"model":"m"}'
        assert (await ask(live, config, "POST", body=body))[1] == FIRST, "a body that is passed on is not read into"


async def test_retries_and_their_count(tmp_path: Path) -> None:
    async with staged([bad(503), bad(503), FOUND[0]], [FOUND[1]], tmp=tmp_path, retry_wait=0.01) as (live, ups):
        config = branch("fallback", *map(leaf, ups), retry={"attempts": 2})
        client, body = await ask(live, config)
        assert (client.status, body, index(client), count(client)) == (200, FIRST, "config.targets[0]", "2")
        assert len((await live.recorded()).attempts) == 3


async def test_nested() -> None:
    async with staged([bad(503)], [bad(404)], [FOUND[0]]) as (live, ups):
        live.gateway.tools.draw = float
        one, two, three = map(leaf, ups)
        config = branch("fallback", branch("loadbalance", one, two), branch("fallback", two, branch("single", three)))
        client, body = await ask(live, config)
        assert (client.status, body, index(client)) == (200, FIRST, "config.targets[1].targets[1].targets[0]")


async def test_what_answers_with_a_head_alone_does_not_confuse_the_connection() -> None:
    async with staged([bad(503)], [bad(404), bad(404), FOUND[1]]) as (live, ups):
        client = await live.connect()
        config = branch("fallback", *map(leaf, ups))
        for _ in range(2):
            await send(live, config, "HEAD", client=client)
            assert await client.head() == 404
        await send(live, config, client=client)
        assert await client.answer() == (200, SECOND)


async def test_a_redirect_is_an_answer() -> None:
    """Where a file lies is what was asked for."""
    async with staged([unary(b"", status=302, headers=(("location", "https://elsewhere.example/"),))]) as (live, (up,)):
        client, _ = await ask(live, branch("fallback", leaf(up), leaf(up)))
        assert (client.status, client.headers["location"]) == (302, "https://elsewhere.example/")
        assert len(up.requests) == 1


async def test_override_params_change_nothing() -> None:
    async with staged([FOUND[0]]) as (live, (up,)):
        body = b'{ "model" : "mine" }'
        await ask(live, leaf(up, override_params={"model": "theirs"}), "POST", body=body)
        assert up.requests[0].body == body


# ---------------------------------------------------------------- bodies


@pytest.mark.parametrize("headers", [{}, CHUNKED], ids=["length", "chunked"])
async def test_a_body_goes_whole_to_the_next_when_the_first_cannot_be_reached(headers: dict[str, str]) -> None:
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY) if headers else BODY
    async with staged([FOUND[0]]) as (live, (up,)):
        with closed_port() as port:
            dead = leaf(up, custom_host=f"http://127.0.0.1:{port}/v1")
            config = branch("fallback", dead, leaf(up), retry={"attempts": 0})
            client, got = await ask(live, config, "POST", body=body, **headers)
        assert (client.status, got, index(client)) == (200, FIRST, "config.targets[1]")
        assert up.requests[0].body == BODY
        record = await live.recorded()
        assert tell(record) == [("targets[0]", 502, "connect_failed"), ("targets[1]", 200, None)]


@pytest.mark.parametrize("mode", ["fallback", "loadbalance"])
@pytest.mark.parametrize("status", [429, 500])
async def test_a_body_that_has_begun_is_not_sent_again(status: int, mode: str) -> None:
    """The provider's answer is passed on as it is."""
    async with staged([bad(status, (("x-request-id", "r-1"),))], [FOUND[1]]) as (live, ups):
        live.gateway.tools.draw = float
        strategy = {"failover": True} if mode == "loadbalance" else {}
        config = branch(mode, *map(leaf, ups), strategy=strategy, retry={"attempts": 2})
        client, body = await ask(live, config, "POST", body=BODY)
        assert (client.status, body, index(client)) == (status, problem(status), "config.targets[0]")
        assert client.headers["x-request-id"] == "r-1"
        assert ups[0].requests[0].body == BODY
        assert (len(ups[0].requests), ups[1].connections) == (1, [])
        record = await live.recorded()
        assert [attempt[:2] for attempt in tell(record)] == [("targets[0]", status)]


async def test_a_body_that_has_begun_is_not_sent_again_after_a_reset() -> None:
    async with staged([(Reset(),)], [FOUND[1]]) as (live, ups):
        config = branch("fallback", *map(leaf, ups), retry={"attempts": 2})
        client, body = await ask(live, config, "POST", body=BODY)
        assert (client.status, read_error(body)["code"]) == (502, "connect_failed")
        assert (len(ups[0].requests), ups[1].connections) == (1, [])
        record = await live.recorded()
        assert (record.outcome, tell(record)) == (Outcome.FAILED, [("targets[0]", 502, "connect_failed")])


async def test_a_body_that_has_begun_is_not_sent_again_after_a_silence() -> None:
    async with staged([(Hang(),)], [FOUND[1]]) as (live, ups):
        config = branch("fallback", *map(leaf, ups), request_timeout=100)
        client, body = await ask(live, config, "POST", body=BODY)
        assert (client.status, read_error(body)["code"]) == (408, "first_token_timeout")
        assert ups[1].connections == []
        await ups[0].left(limit=1)


async def test_a_refusal_before_the_first_byte_of_the_body_is_routed_around() -> None:
    """The client has sent its head only; nothing of the body is lost on the provider that did not want it."""
    async with (
        staged([FOUND[1]]) as (live, (second,)),
        FakeUpstream((*bad(503), Hang()), read_bodies=False) as first,
    ):
        config = branch("fallback", leaf(first), leaf(second))
        headers = {"Content-Length": str(len(BODY))}
        client = await send(live, config, "POST", **headers)  # type: ignore[arg-type]
        await first.left(limit=2)
        client.writer.write(BODY)
        assert await client.answer() == (200, SECOND)
        assert second.requests[0].body == BODY
        assert tell(await live.recorded())[0] == ("targets[0]", 503, "upstream_status")


# ---------------------------------------------------------------- after the commit


async def test_an_answer_that_breaks_off_is_not_asked_for_again() -> None:
    half = (head(200, (("content-length", "100"),)), Send(b"part"), Pause(0.03), Reset())
    async with staged([half], [FOUND[1]]) as (live, ups):
        client = await send(live, branch("fallback", *map(leaf, ups), retry={"attempts": 2}))
        assert await client.head() == 200
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.body()
        record = await live.recorded()
        assert (record.outcome, tell(record)) == (Outcome.TRUNCATED, [("targets[0]", 200, "stream_truncated")])
        assert ups[1].connections == []


async def test_a_client_that_leaves_ends_the_walk() -> None:
    async with staged([bad(503)], [(Stall(),)], [FOUND[0]]) as (live, ups):
        client = await send(live, branch("fallback", *map(leaf, ups)))
        await ups[1].requested()
        client.leave()
        await ups[1].left(limit=1)
        record = await live.recorded()
        assert (record.status, record.outcome) == (499, Outcome.CLIENT_LEFT)
        assert [attempt.outcome for attempt in record.attempts] == [Outcome.FAILED, Outcome.CLIENT_LEFT]
        assert ups[2].connections == []


# ---------------------------------------------------------------- what is ours to refuse


@pytest.mark.parametrize("place", [0, 1])
async def test_a_private_host_is_a_400_and_not_routed_around(place: int) -> None:
    async with staged([bad(500)], [FOUND[1]]) as (live, ups):
        targets = [leaf(ups[0]), leaf(ups[1])]
        targets.insert(place, leaf(ups[1], custom_host="http://169.254.169.254/v1"))
        client, body = await ask(live, branch("fallback", *targets))
        assert (client.status, read_error(body)["code"]) == (400, "invalid_config")
        assert b"169.254" not in body
        assert (len(ups[0].requests), ups[1].connections) == (place, [])


async def test_a_config_with_a_mistake_is_refused_before_anything_is_sent() -> None:
    async with staged([FOUND[0]]) as (live, (up,)):
        client, body = await ask(live, branch("fallback", leaf(up, weigth=1)), "POST", body=BODY)
        error = read_error(body)
        assert (client.status, error["param"]) == (400, "targets[0].weigth")
        assert up.connections == []
        await expect_refusal(live)
