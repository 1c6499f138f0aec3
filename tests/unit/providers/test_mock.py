from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from aiogateway.contracts import Provider, Responder
from aiogateway.dialects.openai_chat import OpenAIChat
from aiogateway.dialects.openai_responses import OpenAIResponses
from aiogateway.errors import RequestError
from aiogateway.providers import mock
from aiogateway.providers.mock import Mock
from aiogateway.types import Credential, Endpoint, Headers, Host, Origin, Request, Secret, Target, UpstreamRequest
from aiogateway.wire import sse

HTTP: Any = None
ASK: dict[str, Any] = {"model": "mock", "messages": [{"role": "user", "content": "Ahoy there"}]}
STREAM = {**ASK, "stream": True}


class Client:
    """What an answer is written to."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: Headers = ()
        self.sent: list[bytes] = []
        self.pieces = asyncio.Event()

    def start(self, status: int, headers: Headers) -> None:
        self.status, self.headers = status, headers

    async def send(self, data: bytes) -> None:
        assert self.status
        self.sent.append(data)
        self.pieces.set()

    @property
    def body(self) -> bytes:
        return b"".join(self.sent)

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def chunks(self) -> list[Any]:
        frames = sse.Splitter().feed(self.body)
        return [orjson.loads(data) for frame in frames if (data := sse.data_of(frame)) != b"[DONE]"]

    @property
    def text(self) -> str:
        return "".join(
            choice["delta"].get("content") or "" for chunk in self.chunks for choice in chunk.get("choices", ())
        )


def prepare(body: Any, endpoint: Endpoint = Endpoint.CHAT, **options: Any) -> UpstreamRequest:
    request = Request(endpoint=endpoint, dialect="", raw=orjson.dumps(body), body={}, model="mock", stream=False)
    return Mock().prepare(request, Target(path="config", provider="mock", options=options))


async def ask(body: Any, endpoint: Endpoint = Endpoint.CHAT, **options: Any) -> Client:
    client = Client()
    await Mock().respond(prepare(body, endpoint, **options), client)
    return client


async def get(raw_path: str, method: str = "GET", **options: Any) -> Client:
    client = Client()
    upstream = Mock().passthrough(method, raw_path, (), Target(path="config", provider="mock", options=options))
    assert upstream is not None
    await Mock().respond(upstream, client)
    return client


def test_it_is_a_provider_that_answers_by_itself() -> None:
    provider: Provider = Mock()
    assert isinstance(provider, Responder)
    assert prepare(ASK).url == "local:mock/chat/completions"
    assert (
        prepare(ASK, mock_text="ä &", mock_tokens=3).url
        == "local:mock/chat/completions?mock_text=%C3%A4+%26&mock_tokens=3"
    )
    assert provider.options["mock_tokens"].kind is int
    assert provider.options["mock_tool"].kind is str
    found: list[Provider] = []
    mock.register_providers(found.append)
    assert [each.name for each in found] == ["mock"]


async def test_no_key_goes_anywhere() -> None:
    upstream = prepare(ASK)
    key = Credential(Secret("sk-canary"), Origin.REQUEST, "authorization")
    assert await Mock().authorize(upstream, key, HTTP) is upstream


def test_it_takes_no_host() -> None:
    target = Target(path="config", provider="mock", host=Host("http://x", Origin.REQUEST, "x-portkey-custom-host"))
    request = Request(endpoint=Endpoint.CHAT, dialect="", raw=b"{}", body={}, model="m", stream=False)
    with pytest.raises(RequestError) as caught:
        Mock().prepare(request, target)
    assert caught.value.param == "x-portkey-custom-host"


def test_options_are_checked_before_anything_is_sent() -> None:
    with pytest.raises(RequestError):
        prepare(ASK, mock_tokens="many")


async def test_a_unary_chat() -> None:
    client = await ask(ASK, mock_tokens=3)
    assert (client.status, client.headers) == (200, (("content-type", "application/json"),))
    answer = client.json
    assert answer["choices"][0]["message"]["content"] == "You said: Ahoy"
    assert answer["usage"]["completion_tokens"] == 3


async def test_a_streamed_chat() -> None:
    client = await ask(STREAM)
    assert dict(client.headers)["content-type"].startswith("text/event-stream")
    assert client.text == "You said: Ahoy there"
    assert client.body.endswith(OpenAIChat().done)
    assert "usage" not in client.chunks[-1]
    assert len(client.sent) == 4 + 2


async def test_the_same_question_has_the_same_answer() -> None:
    first, second = await ask(STREAM), await ask(STREAM)
    assert first.text == second.text
    assert first.chunks[0]["id"] == second.chunks[0]["id"]


async def test_usage_if_asked_for() -> None:
    client = await ask({**STREAM, "stream_options": {"include_usage": True}})
    assert client.chunks[-1]["choices"] == []
    assert client.chunks[-1]["usage"]["completion_tokens"] == 4


async def test_several_choices() -> None:
    client = await ask({**STREAM, "n": 3})
    assert {choice["index"] for chunk in client.chunks for choice in chunk["choices"]} == {0, 1, 2}


async def test_a_tool_call() -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"properties": {"a": {"type": "integer"}}}}}]
    client = await ask({**STREAM, "tools": tools, "tool_choice": {"type": "function", "function": {"name": "f"}}})
    assert client.chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    (call,) = (await ask({**ASK, "tools": tools}, mock_tool="f")).json["choices"][0]["message"]["tool_calls"]
    assert (call["function"]["name"], orjson.loads(call["function"]["arguments"])) == ("f", {"a": 1})


async def test_completions() -> None:
    client = await ask({"model": "m", "prompt": "x", "stream": True}, Endpoint.COMPLETIONS)
    assert "".join(chunk["choices"][0]["text"] for chunk in client.chunks) == "You said: x"
    answer = (await ask({"model": "m", "prompt": "x"}, Endpoint.COMPLETIONS)).json
    assert (answer["object"], answer["choices"][0]["text"]) == ("text_completion", "You said: x")


async def test_embeddings() -> None:
    body = {"model": "m", "input": ["a", "b"], "dimensions": 2}
    answer = (await ask(body, Endpoint.EMBEDDINGS)).json
    assert [len(row["embedding"]) for row in answer["data"]] == [2, 2]
    packed = (await ask({**body, "encoding_format": "base64"}, Endpoint.EMBEDDINGS)).json
    assert isinstance(packed["data"][0]["embedding"], str)


async def test_responses() -> None:
    answer = (await ask({"model": "m", "input": "x"}, Endpoint.RESPONSES)).json
    assert answer["output"][0]["content"][0]["text"] == "You said: x"
    client = await ask({"model": "m", "input": "x", "stream": True}, Endpoint.RESPONSES)
    assert client.chunks[-1]["response"]["output"][0]["content"] == answer["output"][0]["content"]


async def test_models() -> None:
    assert [model["id"] for model in (await get("/v1/models?limit=2")).json["data"]] == list(Mock.models)
    assert (await get("/v1/models/mock")).json["object"] == "model"
    client = await get("/v1/models/other")
    assert (client.status, client.json["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/files"), ("DELETE", "/v1/models/mock"), ("GET", "/v1/embeddings")]
)
async def test_anything_else_is_not_found(method: str, path: str) -> None:
    client = await get(path, method)
    assert (client.status, client.json["error"]["code"]) == (404, "not_found")


@pytest.mark.parametrize("body", [STREAM, ASK])
async def test_an_error_status(body: dict[str, Any]) -> None:
    client = await ask(body, mock_status=429)
    assert (client.status, client.headers) == (429, (("content-type", "application/json"),))
    error = Mock().read_error(429, client.headers, client.body)
    assert (error.message, error.error_code) == ("status 429, as asked", "mock_status")
    assert (await get("/v1/models", mock_status=503)).status == 503


@pytest.mark.parametrize("body", [[], "x", {"model": "m"}, {**ASK, "n": 0}, {**STREAM, "n": 0}, {**STREAM, "n": 2**63}])
async def test_a_bad_request_is_answered_as_one(body: Any) -> None:
    client = await ask(body)
    assert client.status == 400
    assert client.json["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("after", [0, 1, 3])
async def test_a_stream_that_is_cut(after: int) -> None:
    client = Client()
    with pytest.raises(ConnectionError):
        await Mock().respond(prepare(STREAM, mock_cut_after=after), client)
    assert client.status == 200
    assert client.text == "".join(["You", " said:", " Ahoy", " there"][:after])
    assert not any(mark in client.body for mark in (*OpenAIChat().finish_marks, b"[DONE]"))


async def test_a_unary_answer_that_is_cut() -> None:
    client = Client()
    with pytest.raises(ConnectionError):
        await Mock().respond(prepare(ASK, mock_cut_after=0), client)
    with pytest.raises(ValueError, match=r"JSON|unexpected"):
        orjson.loads(client.body)


@pytest.mark.parametrize("after", [0, 2])
async def test_an_error_in_band(after: int) -> None:
    client = await ask(STREAM, mock_error_after=after)
    assert len(client.chunks) == after + 1
    assert OpenAIChat().read_failure(client.sent[-1]) is not None
    assert b"[DONE]" not in client.body
    client = await ask({"model": "m", "input": "x", "stream": True}, Endpoint.RESPONSES, mock_error_after=after)
    *_, told, failed = sse.Splitter().feed(client.body)
    assert OpenAIResponses().read_failure(told) is not None
    assert OpenAIResponses().read_failure(failed) is not None


async def test_an_error_instead_of_a_unary_answer() -> None:
    client = await ask(ASK, mock_error_after=0)
    assert client.status == 200
    assert OpenAIChat().read_body_failure(client.body) is not None


class Clock:
    """Stands in for asyncio.sleep: notes how long, and waits not at all."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.slept: list[float] = []
        monkeypatch.setattr("aiogateway.providers.mock.asyncio.sleep", self.sleep)

    async def sleep(self, delay: float) -> None:
        self.slept.append(delay)


async def test_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    await ask(STREAM, mock_delay_ms=20, mock_first_delay_ms=300)
    assert clock.slept == [0.3, 0.02, 0.02, 0.02]
    clock.slept.clear()
    await ask(ASK, mock_delay_ms=20)
    assert clock.slept == [0.08]
    clock.slept.clear()
    await ask(STREAM)
    await ask({"model": "m", "input": "x"}, Endpoint.EMBEDDINGS, mock_delay_ms=20)
    assert clock.slept == []


async def test_what_was_said_is_sent_before_the_next_wait() -> None:
    client = Client()
    task = asyncio.create_task(Mock().respond(prepare(STREAM, mock_delay_ms=60_000), client))
    await asyncio.wait_for(client.pieces.wait(), 5)
    assert client.text == "You"
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
