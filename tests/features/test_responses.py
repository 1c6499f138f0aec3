"""Clients of ``/v1/responses`` with a target that speaks chat completions only, and chat clients with one that speaks
Responses only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import orjson
import pytest

from aiogateway import plugins
from aiogateway.contracts import Provider
from aiogateway.hookspecs import hookimpl
from aiogateway.providers.base import BaseProvider
from aiogateway.testing.upstream import Cut, stream, unary
from aiogateway.types import Capability, Endpoint, Lane, Outcome, Route
from aiogateway.wire import sse
from tests.stage import DONE, GOOD, Stage, event, stage

Play = Callable[..., AbstractAsyncContextManager[Stage]]

CHAT_ONLY = {"x-portkey-provider": "chat-only"}
RESPONSES_ONLY = {"x-portkey-provider": "responses-only"}
TOOL = {"type": "function", "name": "find_tide", "parameters": {"type": "object", "properties": {}}, "strict": False}


class ChatOnly(BaseProvider):
    name = "chat-only"
    base_url = "https://chat.example/v1"
    capabilities = frozenset(Capability)
    routes: Mapping[Endpoint, Route] = {Endpoint.RESPONSES: Route("openai_chat", "/chat/completions")}


class ResponsesOnly(BaseProvider):
    name = "responses-only"
    base_url = "https://responses.example/v1"
    capabilities = frozenset(Capability)
    routes: Mapping[Endpoint, Route] = {Endpoint.CHAT: Route("openai_responses", "/responses")}


@hookimpl
def register_providers(register: Callable[[Provider], None]) -> None:
    register(ChatOnly())
    register(ResponsesOnly())


@pytest.fixture
def play(monkeypatch: pytest.MonkeyPatch) -> Play:
    """A stage whose gateway knows both providers."""
    monkeypatch.setattr(plugins, "DEFAULT_PLUGINS", (*plugins.DEFAULT_PLUGINS, __name__))
    return stage


async def respond(live: Stage, **body: Any) -> tuple[int, bytes]:
    """One call of a Responses client; `Stage.ask` is a chat client's."""
    raw = orjson.dumps({"model": "m", "input": "hi", "stream": True, **body})
    return await live.ask(path="/v1/responses", headers=CHAT_ONLY, raw=raw)


def read(body: bytes) -> list[dict[str, Any]]:
    return [orjson.loads(sse.data_of(frame)) for frame in sse.Splitter().feed(body)]


async def test_a_stream(play: Play) -> None:
    async with play(stream(GOOD)) as live:
        status, body = await respond(live, instructions="be brief", max_output_tokens=5, tools=[TOOL])
        assert status == 200
        events = read(body)
        assert [each["type"].removeprefix("response.") for each in events] == [
            "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta",
            "output_text.delta", "output_text.done", "content_part.done", "output_item.done", "completed",
        ]  # fmt: skip
        response = events[-1]["response"]
        assert response["output"][0]["content"][0]["text"] == "ab"
        assert (response["usage"]["input_tokens"], response["usage"]["output_tokens"]) == (3, 2)
        sent = live.sent_body()
        assert live.seen().path == "/v1/chat/completions"
        assert sent["messages"] == [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]
        assert (sent["max_completion_tokens"], sent["stream_options"]) == (5, {"include_usage": True})
        assert sent["tools"][0]["function"]["name"] == "find_tide"
        record = await live.recorded()
        assert (record.outcome, record.lane) == (Outcome.OK, Lane.TRANSLATED)
        assert record.usage is not None
        assert (record.usage.input, record.usage.output) == (3, 2)


async def test_a_unary_answer_with_a_call(play: Play) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "find_tide", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    answer = {
        "id": "x",
        "model": "m-1",
        "created": 5,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
    }
    async with play(unary(orjson.dumps(answer))) as live:
        status, body = await respond(live, stream=False, tools=[TOOL])
        response = orjson.loads(body)
        assert (status, response["object"], response["status"], response["model"]) == (
            200,
            "response",
            "completed",
            "m-1",
        )
        (item,) = response["output"]
        assert (item["type"], item["call_id"], item["name"], item["arguments"]) == (
            "function_call", "c1", "find_tide", "{}",
        )  # fmt: skip
        assert live.sent_body().get("stream") is None


async def test_what_the_target_can_not_do_is_listed(play: Play) -> None:
    async with play(stream(GOOD)) as live:
        asked = {"input": "hi", "stream": True, "tools": [{"type": "web_search"}], "truncation": "auto"}
        raw = orjson.dumps({"model": "m", **asked})
        client = await live.post(path="/v1/responses", headers=CHAT_ONLY, raw=raw)
        status, _ = await client.answer()
        assert status == 200
        assert set(client.headers["x-aiogateway-dropped-params"].split(",")) == {"tools[0]", "truncation"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0]"),
        ({"input": [{"role": "clown", "content": "a"}]}, "input[0].role"),
    ],
)
async def test_what_would_be_another_question_is_refused(play: Play, body: dict[str, Any], param: str) -> None:
    async with play(stream(GOOD)) as live:
        status, answer = await respond(live, **body)
        assert (status, orjson.loads(answer)["error"]["param"]) == (400, param)
        assert not live.up.requests


async def test_a_broken_stream_says_so_and_nothing_is_made_up(play: Play) -> None:
    async with play((*stream(event("a"), end=False), Cut())) as live:
        status, body = await respond(live)
        *events, told, last = read(body)
        assert status == 200
        assert (told["type"], told["code"]) == ("error", "stream_truncated")
        assert (last["type"], last["response"]["error"]["code"]) == ("response.failed", "stream_truncated")
        assert not [each for each in events if each["type"].endswith((".done", ".completed"))]
        assert (await live.recorded()).outcome is Outcome.TRUNCATED


async def test_an_error_status_is_the_providers(play: Play) -> None:
    error = {"error": {"message": "slow down", "type": "rate_limit_error", "code": "rate_limited", "param": None}}
    async with play(unary(orjson.dumps(error), status=429, headers=(("retry-after", "7"),))) as live:
        client = await live.post(path="/v1/responses", headers=CHAT_ONLY, raw=b'{"model":"m","input":"hi"}')
        status, body = await client.answer()
        assert (status, client.headers["retry-after"]) == (429, "7")
        said = orjson.loads(body)["error"]
        assert (said["message"], said["type"], said["code"]) == ("slow down", "rate_limit_error", "rate_limited")


async def test_a_chat_client_with_a_target_that_speaks_responses(play: Play) -> None:
    async with play(stream(GOOD)) as live:
        _, answer = await respond(live)  # what we write ourselves is such a target's stream
    async with play(stream(answer)) as live:
        messages = [{"role": "user", "content": "hi"}]
        status, body = await live.ask(
            headers=RESPONSES_ONLY, messages=messages, stream_options={"include_usage": True}, max_tokens=5
        )
        chunks = [orjson.loads(sse.data_of(frame)) for frame in sse.Splitter().feed(body)[:-1]]
        assert (status, body.endswith(DONE)) == (200, True)
        texts = [choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"]]
        assert "".join(texts) == "ab"
        assert chunks[-2]["choices"][0]["finish_reason"] == "stop"
        assert (chunks[-1]["usage"]["prompt_tokens"], chunks[-1]["usage"]["completion_tokens"]) == (3, 2)
        sent = live.sent_body()
        assert live.seen().path == "/v1/responses"
        assert (sent["store"], sent["max_output_tokens"], sent["stream"]) == (False, 5, True)
        assert "stream_options" not in sent


async def test_a_broken_stream_in_the_clients_own_wire_is_said_to_have_failed() -> None:
    """Codex looks for nothing but ``response.failed``."""
    begun = b'event: response.created\ndata: {"type":"response.created","response":{"id":"resp_1"}}\n\n'
    async with stage((*stream(begun, end=False), Cut())) as live:
        status, body = await live.ask(path="/v1/responses", raw=b'{"model":"m","input":"hi","stream":true}')
        assert (status, body.startswith(begun)) == (200, True)
        told, failed = read(body[len(begun) :])
        assert (told["type"], told["error"]["code"]) == ("error", "stream_truncated")
        assert (failed["type"], failed["response"]["status"]) == ("response.failed", "failed")
        assert failed["response"]["error"] == {"code": "stream_truncated", "message": told["message"]}
