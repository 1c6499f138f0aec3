from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from aiogateway.config.parse import ConfigCache
from aiogateway.errors import ConfigError, Forbidden, RequestError
from aiogateway.server.inference import Inference, make_id, parse_body, read_old_body
from aiogateway.server.sink import ClientSink
from aiogateway.server.targets import Targets
from aiogateway.settings import Settings
from aiogateway.types import Endpoint, Lane, Outcome, Record
from tests.unit.engine.kit import JSON, Books, Reply, Scripted, hang, make_pipeline, say
from tests.unit.server.requests import FakeContent, FakeRequest

HEADERS = {"x-portkey-provider": "scripted", "authorization": "Bearer sk-1", "x-kept": "1"}


class Scene:
    def __init__(self, reply: Reply = hang, **settings: Any) -> None:
        self.provider = Scripted(reply)
        self.pipeline = make_pipeline(self.provider)
        registry = self.pipeline.tools.registry
        options = {name: provider.options for name, provider in registry.providers.items()}
        known = Settings(**{"body_timeout": 0.05, **settings})
        self.inference = Inference(self.pipeline, known, Targets(registry, known, None, ConfigCache(options)))

    @property
    def record(self) -> Record:
        assert isinstance(self.pipeline.books, Books)
        assert self.pipeline.books.begun == 1
        assert self.pipeline.tools.buffers.held == 0
        return self.pipeline.books.record

    async def answer(self, request: FakeRequest, endpoint: Endpoint = Endpoint.CHAT) -> None:
        await self.inference.answer(request.web, endpoint, ClientSink(request.web))


def make_request(body: bytes = b'{"model":"m"}', *, path: str = "/v1/chat/completions", **headers: str) -> FakeRequest:
    named = {**HEADERS, **{name.replace("_", "-"): value for name, value in headers.items()}}
    named["content-length"] = str(len(body))
    return FakeRequest("POST", path, named, content=FakeContent(body, eof=True))


async def test_a_call_from_headers_and_body_to_its_answer() -> None:
    scene = Scene(say(b'{"ok":1}', headers=JSON))
    path = "/v1/chat/completions?beta=%20x&key=agw-1"
    request = make_request(path=path, x_portkey_trace_id="t", x_portkey_metadata='{"a":1}')
    await scene.answer(request)
    headers, body = request.answer
    assert (request.status, body, headers[b"x-portkey-trace-id"]) == (200, b'{"ok":1}', b"t")
    asked = scene.provider.asked[0]
    assert (asked.body, asked.url) == (b'{"model":"m"}', "local:scripted/chat/completions?beta=%20x")
    assert ("authorization", "Bearer sk-1") in asked.headers
    assert "x-kept" not in dict(asked.headers)
    record = scene.record
    assert (record.trace.id, record.metadata, record.endpoint, record.method) == ("t", {"a": 1}, Endpoint.CHAT, "POST")
    assert (record.route, record.stream, record.outcome) == ("/v1/chat/completions", False, Outcome.OK)
    assert record.attempts[0].model == "m"


async def test_a_call_with_its_config_in_the_body() -> None:
    scene = Scene(say(b'{"ok":1}', headers=JSON))
    body = b'{"config":{"provider":"scripted","api_key":"sk-2"},"params":{ "model":"m" }}'
    request = make_request(body, path="/v1/chatComplete?beta=1", x_portkey_provider="", x_portkey_trace_id="t")
    await scene.inference.answer_old(request.web, Endpoint.CHAT, ClientSink(request.web))
    assert (request.status, request.answer[1]) == (200, b'{"ok":1}')
    asked = scene.provider.asked[0]
    assert (asked.body, asked.url) == (b'{ "model":"m" }', "local:scripted/chat/completions")
    assert ("authorization", "Bearer sk-2") in asked.headers
    assert (scene.record.route, scene.record.trace.id, scene.record.outcome) == ("/v1/chatComplete", "t", Outcome.OK)


async def test_an_old_body_that_is_still_on_its_way_is_waited_for() -> None:
    scene = Scene(say(b"{}"))
    content = FakeContent(b'{"params":', b'{"a":1}}')
    request = FakeRequest(headers={**HEADERS, "content-length": "18"}, content=content)
    await scene.inference.answer_old(request.web, Endpoint.CHAT, ClientSink(request.web))
    assert scene.provider.asked[0].body == b'{"a":1}'


async def test_an_old_body_that_is_refused_keeps_the_callers_trace() -> None:
    scene = Scene()
    request = make_request(b'{"params":5}', x_portkey_trace_id="t")
    await scene.inference.answer_old(request.web, Endpoint.CHAT, ClientSink(request.web))
    assert (request.status, request.answer[0][b"x-portkey-trace-id"]) == (400, b"t")
    assert json.loads(request.answer[1])["error"]["param"] == "params"
    assert (scene.record.outcome, scene.record.trace.id) == (Outcome.REFUSED, "t")


async def test_a_body_that_is_still_on_its_way_is_waited_for() -> None:
    scene = Scene(say(b"{}"))
    content = FakeContent(b'{"model":', b'"m"}')
    await scene.answer(FakeRequest(headers={**HEADERS, "content-length": "13"}, content=content))
    assert scene.provider.asked[0].body == b'{"model":"m"}'


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (make_request(b"{nope"), 400, "invalid_request"),
        (make_request(b"[1]"), 400, "invalid_request"),
        (make_request(b""), 400, "invalid_request"),
        (make_request(x_portkey_provider="nobody"), 400, "invalid_config"),
        (make_request(b"x" * 2000), 413, "body_too_large"),
        (FakeRequest(headers={**HEADERS, "content-length": "9"}, content=FakeContent(asyncio.Event())), 408,
         "request_timeout"),
    ],
)  # fmt: skip
async def test_what_is_refused_before_any_attempt(request_: FakeRequest, status: int, code: str) -> None:
    scene = Scene(max_body=1000)
    await scene.answer(request_)
    assert request_.status == status
    assert json.loads(request_.answer[1])["error"]["code"] == code
    assert (scene.record.outcome, scene.record.error, scene.record.attempts) == (Outcome.REFUSED, code, ())


async def test_headers_that_cant_be_read_still_name_the_trace() -> None:
    scene = Scene()
    request = make_request(x_portkey_trace_id="mine", x_portkey_unheard="1")
    await scene.answer(request)
    assert request.answer[0][b"x-portkey-trace-id"] == b"mine"
    assert scene.record.trace.id == "mine"


async def test_an_upload_is_freed_when_the_client_leaves() -> None:
    scene = Scene(hang)
    answering = asyncio.create_task(scene.answer(make_request()))
    for _ in range(5):
        await asyncio.sleep(0)
    assert scene.pipeline.tools.buffers.held == 13
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering
    assert scene.record.outcome is Outcome.CLIENT_LEFT


async def test_a_request_we_dont_understand_passes_as_it_is() -> None:
    scene = Scene(say(b"bytes", headers=()))
    path = "/v1/files/%2F?a=1&key=agw-1"
    request = make_request(b"\x00raw", path=path, authorization="Bearer agw-9", x_api_key="sk-2")
    request.method = "PUT"
    await scene.inference.pass_on(request.web, ClientSink(request.web))
    asked = scene.provider.asked[0]
    assert (asked.method, asked.url, asked.body) == ("PUT", "local:scripted/v1/files/%2F?a=1", b"\x00raw")
    assert dict(asked.headers) == {"x-kept": "1", "authorization": "Bearer sk-2"}
    assert b"agw-" not in repr(asked).encode() + asked.body
    record = scene.record
    assert (record.lane, record.endpoint, record.route) == (Lane.PASSTHROUGH, None, "/v1/files/%2F")


async def test_a_refusal_has_its_record_too() -> None:
    scene = Scene()
    request = make_request(path="/v1/" + "x" * 1000)
    scene.inference.refuse(request.web, Forbidden("no"), ClientSink(request.web))
    assert request.status == 403
    assert (scene.record.outcome, scene.record.status, len(scene.record.route)) == (Outcome.REFUSED, 403, 256)
    assert scene.record.trace.id == scene.record.id


async def test_a_refusal_keeps_the_callers_trace() -> None:
    scene = Scene()
    request = make_request(path="/v1/configs", x_aiogateway_trace_id="theirs")
    scene.inference.refuse(request.web, Forbidden("no"), ClientSink(request.web))
    assert request.answer[0][b"x-portkey-trace-id"] == b"theirs"
    assert scene.record.trace.id == "theirs"


async def test_has_target() -> None:
    scene = Scene()
    assert scene.inference.has_target(make_request().web)
    assert not scene.inference.has_target(FakeRequest().web)


def test_ids_are_128_random_bits() -> None:
    made = {make_id() for _ in range(1000)}
    assert len(made) == 1000
    assert all(len(one) == 32 and int(one, 16) >= 0 for one in made)


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b'{"a": 1}', {"a": 1}),
        (b' \n{"a": [1.5, null, "\\u00e9"]}\n', {"a": [1.5, None, "é"]}),
        (b'{"a": 123456789012345678901234567890}', {"a": 1.2345678901234568e29}),
        (b'{"a": "\xff"}', {"a": "�"}),
        (b'{"a": Infinity}', {"a": float("inf")}),
    ],
)
def test_parse_body(raw: bytes, body: object) -> None:
    assert parse_body(raw) == body


def test_half_a_surrogate_pair_can_be_written_again() -> None:
    parsed = parse_body(b'{"a": "x\\ud83d"}')
    json.dumps(parsed, ensure_ascii=False).encode()


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"nope", b"[]", b"null", b'"x"', b"1", b'{"a":1}x', b"[" * 100_000, b'{"a":' * 100_000]
)
def test_what_is_no_object(raw: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        parse_body(raw)
    assert (caught.value.status, caught.value.code) == (400, "invalid_request")


@pytest.mark.parametrize(
    ("raw", "config", "params"),
    [
        (b'{"params":{}}', None, b"{}"),
        (b'{"config":null,"params":{"a":1}}', None, b'{"a":1}'),
        (b'{"params" : { "a" :1 } , "config": {"b":2 }, "c":3}', '{"b":2 }', b'{ "a" :1 }'),
        (b'{"config":"pc-a","params":{}}', "pc-a", b"{}"),
        (b'{"config":"{\\"b\\":2}","params":{}}', '{"b":2}', b"{}"),
        ('{"config":{"b":"é"},"params":{"a":"ü"}}'.encode(), '{"b":"é"}', '{"a":"ü"}'.encode()),
        (b'{"config":"\xff","params":{"a":"\xff"}}', "�", b'{"a":"\xff"}'),
        (b'{"config":{"b":2},"params":{"a":NaN}}', '{"b": 2}', b'{"a": NaN}'),
        (b'{"params":{"a":"x\\ud83d"}}', None, b'{"a": "x\\ufffd"}'),
    ],
)
def test_read_old_body(raw: bytes, config: str | None, params: bytes) -> None:
    assert read_old_body(raw) == (config, params)


@pytest.mark.parametrize(
    ("raw", "error", "param"),
    [
        (b"", RequestError, None),
        (b"[]", RequestError, None),
        (b"{}", RequestError, "params"),
        (b'{"params":[]}', RequestError, "params"),
        (b'{"params":"{}"}', RequestError, "params"),
        (b'{"params":NaN}', RequestError, "params"),
        (b'{"config":5,"params":{}}', ConfigError, "config"),
        (b'{"config":true,"params":{}}', ConfigError, "config"),
        (b'{"config":[{}],"params":{}}', ConfigError, "config"),
        (b'{"params":{"a":' + b"[" * 100_000, RequestError, None),
        (b'{"params":{"a":' + b"[" * 1005 + b"]" * 1005 + b"}}", RequestError, None),
    ],
)
def test_old_bodies_that_are_refused(raw: bytes, error: type[RequestError], param: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        read_old_body(raw)
    assert (type(caught.value), caught.value.param) == (error, param)
