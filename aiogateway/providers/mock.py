"""A provider that needs neither key nor network: it answers in this process, at a chosen pace, and fails on request.

For a first look, for demos, and for tests of what is around a provider. Its options are `mock_script.Wishes`; they
travel in the query of its ``local:`` URL.
"""

from __future__ import annotations

import asyncio
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from aiogateway.contracts import Answer, Dialect, Encoder, Provider
from aiogateway.dialects.failures import write_error_body
from aiogateway.dialects.openai_chat import OpenAIChat
from aiogateway.dialects.openai_completions import OpenAICompletions
from aiogateway.dialects.openai_embeddings import OpenAIEmbeddings
from aiogateway.dialects.openai_responses import OpenAIResponses
from aiogateway.dialects.payload import parse_object
from aiogateway.errors import GatewayError, RequestError, UpstreamStatus
from aiogateway.hookspecs import hookimpl
from aiogateway.neutral import EmbedRequest, Envelope, Event
from aiogateway.providers.base import BaseProvider
from aiogateway.providers.mock_responses import ResponseScript
from aiogateway.providers.mock_script import Wishes, chat_events, embed_events, is_token, make_id, read_wishes
from aiogateway.types import Capability, Credential, Endpoint, Headers, Option, Request, Route, Target, UpstreamRequest

if TYPE_CHECKING:
    from aiohttp import ClientSession

_BASE = "local:mock"
_JSON: Headers = (("content-type", "application/json"),)
_EVENTS: Headers = (("content-type", "text/event-stream; charset=utf-8"), ("cache-control", "no-cache"))
_DIALECTS: Mapping[str, Dialect] = {
    str(dialect.endpoint): dialect
    for dialect in (OpenAIChat(), OpenAICompletions(), OpenAIEmbeddings(), OpenAIResponses())
}


class Mock(BaseProvider):
    """Speaks OpenAI's four wires."""

    name = "mock"
    base_url = _BASE
    models = ("mock", "mock-embedding")
    capabilities = frozenset(Capability) - {Capability.PREFILL, Capability.REASONING, Capability.IMAGES}
    options: Mapping[str, Option] = {
        name: Option(kind=str if name in ("mock_text", "mock_tool") else int) for name in Wishes.__struct_fields__
    }
    routes: Mapping[Endpoint, Route] = {
        endpoint: Route(_DIALECTS[endpoint].name, f"/{endpoint}") for endpoint in Endpoint if endpoint in _DIALECTS
    }

    def prepare(self, request: Request, target: Target) -> UpstreamRequest:
        return self._with_wishes(super().prepare(request, target), target)

    async def authorize(
        self, upstream: UpstreamRequest, credential: Credential | None, http: ClientSession
    ) -> UpstreamRequest:
        """Whatever the caller's key is, it goes nowhere."""
        return upstream

    def passthrough(self, method: str, raw_path: str, headers: Headers, target: Target) -> UpstreamRequest | None:
        path = raw_path.partition("?")[0].removeprefix("/v1")
        return self._with_wishes(UpstreamRequest(method=method, url=_BASE + path, headers=()), target)

    def base_of(self, target: Target) -> str:
        if target.host is not None:
            raise RequestError("the mock provider answers by itself and takes no host", param=target.host.source)
        return _BASE

    def _with_wishes(self, upstream: UpstreamRequest, target: Target) -> UpstreamRequest:
        wishes = {name: target.options[name] for name in self.options if target.options.get(name) is not None}
        read_wishes(wishes)
        if not wishes:
            return upstream
        return msgspec.structs.replace(upstream, url=f"{upstream.url}?{urllib.parse.urlencode(wishes)}")

    async def respond(self, upstream: UpstreamRequest, answer: Answer) -> None:
        """Raises ConnectionError where the options ask for a cut."""
        path, _, query = upstream.url.removeprefix(_BASE + "/").partition("?")
        wishes = read_wishes(dict(urllib.parse.parse_qsl(query, keep_blank_values=True)))
        if wishes.mock_first_delay_ms:
            await asyncio.sleep(wishes.mock_first_delay_ms / 1000)
        try:
            reply = _Reply(upstream, path, wishes)
        except GatewayError as error:
            answer.start(error.status, _JSON)
            await answer.send(write_error_body(error))
            return
        if reply.stream is None:
            await _send_whole(answer, reply, wishes)
        else:
            await _send_stream(answer, reply.stream, reply.failure, wishes)


class _Reply:
    """What to send: a `body` worth `tokens`, or a `stream` of events of which some are tokens."""

    def __init__(self, upstream: UpstreamRequest, path: str, wishes: Wishes) -> None:
        self.failure = b""
        self.tokens = 0
        self.body = b""
        self.stream: Iterator[tuple[bytes, bool]] | None = None
        if wishes.mock_status is not None:
            raise _fail(wishes.mock_status, f"status {wishes.mock_status}, as asked", "mock_status")
        dialect = _DIALECTS.get(path)
        if upstream.method == "POST" and dialect is not None:
            self._infer(dialect, upstream.body, wishes)
        elif upstream.method == "GET" and path.partition("/")[0] == "models":
            self.body = _list_models(path.partition("/")[2])
        else:
            raise _fail(404, f"the mock provider does not serve {upstream.method} {path}", "not_found")

    def _infer(self, dialect: Dialect, raw: bytes, wishes: Wishes) -> None:
        body = _parse(raw)
        created = int(time.time())
        self.failure = dialect.write_failure(_fail(500, "the mock provider fails here, as asked", "mock_error"))
        if dialect.endpoint is Endpoint.RESPONSES:
            response = ResponseScript(body, wishes, make_id("resp", raw), created)
            if body.get("stream") is True:
                self.stream = response.events()
            else:
                self.body, self.tokens = response.whole(), response.tokens
            return
        request = dialect.read_request(body)
        if isinstance(request, EmbedRequest):
            envelope = Envelope(id="", model=request.model, created=created, encoding=request.encoding)
            self.body = dialect.write_answer(embed_events(request), envelope)
            return
        envelope = Envelope(
            id=make_id("chatcmpl" if dialect.endpoint is Endpoint.CHAT else "cmpl", raw),
            model=request.model,
            created=created,
            include_usage=request.include_usage,
        )
        script = chat_events(request, wishes, envelope.id)
        if request.stream:
            self.stream = _encode(dialect.encoder(envelope), script)
            return
        events = list(script)
        self.tokens = sum(is_token(event) for event in events)
        self.body = dialect.write_answer(events, envelope)


def _encode(encoder: Encoder, events: Iterator[Event]) -> Iterator[tuple[bytes, bool]]:
    for event in events:
        data = encoder.feed(event)
        if data:
            yield data, is_token(event)
    yield encoder.end(), False


async def _send_whole(answer: Answer, reply: _Reply, wishes: Wishes) -> None:
    if wishes.mock_delay_ms and reply.tokens:
        await asyncio.sleep(wishes.mock_delay_ms * reply.tokens / 1000)
    answer.start(200, _JSON)
    if wishes.mock_cut_after is not None:
        await answer.send(reply.body[: len(reply.body) // 2])
        raise ConnectionResetError("mock_cut_after")
    if wishes.mock_error_after is not None:
        error = _fail(500, "the mock provider fails here, as asked", "mock_error")
        await answer.send(write_error_body(error))
        return
    await answer.send(reply.body)


async def _send_stream(answer: Answer, stream: Iterator[tuple[bytes, bool]], failure: bytes, wishes: Wishes) -> None:
    answer.start(200, _EVENTS)
    sent = 0
    for data, token in stream:
        if token:
            if sent == wishes.mock_cut_after:
                raise ConnectionResetError("mock_cut_after")
            if sent == wishes.mock_error_after:
                await answer.send(failure)
                return
            if sent and wishes.mock_delay_ms:
                await asyncio.sleep(wishes.mock_delay_ms / 1000)
            sent += 1
        await answer.send(data)


def _parse(raw: bytes) -> dict[str, Any]:
    try:
        return parse_object(raw)
    except ValueError:
        raise RequestError("the body is not a JSON object") from None


def _list_models(wanted: str) -> bytes:
    models = [{"id": name, "object": "model", "created": 0, "owned_by": "aiogateway"} for name in Mock.models]
    if not wanted:
        return orjson.dumps({"object": "list", "data": models})
    for model in models:
        if model["id"] == wanted:
            return orjson.dumps(model)
    raise _fail(404, f"the mock provider has no model {wanted[:80]}", "model_not_found")


def _fail(status: int, message: str, code: str) -> UpstreamStatus:
    return UpstreamStatus(message, status=status, error_type="mock_error", error_code=code)


@hookimpl
def register_providers(register: Callable[[Provider], None]) -> None:
    register(Mock())
