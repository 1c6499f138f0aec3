"""Errors, however a provider dresses them: as a status, inside a 200, in mid-stream; and answers that are no stream."""

from __future__ import annotations

import orjson
import pytest

from aiogateway.testing.upstream import Hang, head, stream, unary
from aiogateway.types import Lane, Outcome, Usage
from tests.stage import DONE, event, stage
from tests.views import both, expect_failure, expect_truncation, read_error

BODY = (
    b'{"id":"c","choices":[{"index":0,"message":{"content":"hi"}}],"usage":{"prompt_tokens":3,"completion_tokens":2}}'
)
ERROR = {"message": "slow down", "type": "rate_limit_error", "param": None, "code": "rate_limit_exceeded"}


@pytest.mark.parametrize("code", ["rate_limit_exceeded", 429, "429"])
async def test_a_2xx_that_holds_only_an_error_is_that_error(code: object) -> None:
    body = orjson.dumps({"error": {**ERROR, "code": code, "type": None}})
    async with stage(unary(body, headers=(("retry-after", "7"),))) as live:
        client = await live.post(stream=False)
        assert await client.answer() == (429, body)
        record = await expect_failure(live, 429, "upstream_status")
        assert record.lane is None


async def test_an_error_beside_an_answer_is_the_answer() -> None:
    body = orjson.dumps({"choices": [{"index": 0, "message": {"content": "hi"}}], "error": ERROR})
    async with stage(unary(body)) as live:
        assert await live.ask(stream=False) == (200, body)
        assert (await live.recorded()).outcome is Outcome.OK


@both
async def test_a_providers_error_passes_as_it_came(stream: bool) -> None:
    body = b'{ "error": {"message":"no such model", "code":"model_not_found"}, "own": [1.0] }'
    reply = unary(
        body, status=404, headers=(("x-request-id", "r1"), ("x-ratelimit-remaining", "3"), ("set-cookie", "a"))
    )
    async with stage(reply) as live:
        client = await live.post(stream=stream)
        assert await client.answer() == (404, body)
        assert (client.headers["x-request-id"], client.headers["x-ratelimit-remaining"]) == ("r1", "3")
        assert client.headers["content-type"] == "application/json"
        assert "set-cookie" not in client.headers
        await expect_failure(live, 404, "upstream_status")
        assert len(live.up.requests) == 1


@pytest.mark.parametrize("status", [400, 500, 503])
@both
async def test_an_error_without_a_body(status: int, stream: bool) -> None:
    async with stage((head(status, (("content-length", "0"),)),)) as live:
        got, body = await live.ask(stream=stream)
        assert (got, read_error(body)["code"]) == (status, "upstream_status")
        await expect_failure(live, status, "upstream_status")


async def test_an_error_event_first_ends_the_upstream_too() -> None:
    error = b"data: " + orjson.dumps({"error": ERROR}) + b"\n\n"
    async with stage((*stream(b": hello\n\n" + error, end=False), Hang())) as live:
        assert await live.ask() == (429, orjson.dumps({"error": ERROR}))
        await expect_failure(live, 429, "upstream_status")
        await live.up.left(limit=1)


@pytest.mark.parametrize("last", [b"", DONE], ids=["alone", "with a terminator"])
async def test_an_error_event_after_content_is_passed_on_with_its_code(last: bytes) -> None:
    error = b"data: " + orjson.dumps({"error": ERROR}) + b"\n\n"
    async with stage(stream(event("a"), error, last or b": bye\n\n")) as live:
        status, body = await live.ask()
        assert status == 200
        assert body == event("a") + error + (last or b": bye\n\n")
        await expect_truncation(live, "upstream_status")


# -- no stream although one was asked for


@pytest.mark.parametrize("media_type", ["application/json", "text/plain"])
async def test_an_answer_that_is_no_stream_is_given_whole(media_type: str) -> None:
    async with stage(unary(BODY, media_type=media_type)) as live:
        client = await live.post()
        assert await client.answer() == (200, BODY)
        assert client.headers["content-type"] == media_type
        assert client.headers["content-length"] == str(len(BODY))
        record = await live.recorded()
        assert (record.outcome, record.lane, record.stream) == (Outcome.OK, Lane.UNARY, True)
        assert record.usage == Usage(input=3, output=2)


async def test_no_stream_and_an_error_in_it_is_that_error() -> None:
    body = orjson.dumps({"error": ERROR})
    async with stage(unary(body)) as live:
        assert await live.ask() == (429, body)
        await expect_failure(live, 429, "upstream_status")
