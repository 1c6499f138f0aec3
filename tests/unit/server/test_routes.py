from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from aiogateway.engine.pipeline import Pipeline
from aiogateway.errors import GatewayError, Overloaded
from aiogateway.server.door import Door
from aiogateway.server.health import STARTING, Health
from aiogateway.server.routes import INFERENCE, RESERVED, Routes
from aiogateway.server.sink import ClientSink
from aiogateway.settings import Settings
from aiogateway.telemetry.metrics import Metrics
from aiogateway.telemetry.recorder import Recorder
from aiogateway.types import Endpoint
from tests.unit.engine.kit import Scripted, hang, make_pipeline
from tests.unit.server.requests import FakeRequest

PAGE = "https://app.example"


class FakeInference:
    """Notes what it is handed, and answers at once."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.target = False

    async def answer(self, request: web.BaseRequest, endpoint: Endpoint, sink: ClientSink) -> None:
        self.calls.append(("answer", endpoint))
        self._say(sink, 200)

    async def answer_old(self, request: web.BaseRequest, endpoint: Endpoint, sink: ClientSink) -> None:
        self.calls.append(("answer old", endpoint))
        self._say(sink, 200)

    async def pass_on(self, request: web.BaseRequest, sink: ClientSink) -> None:
        self.calls.append(("pass", request.method, request.raw_path))
        self._say(sink, 200)

    def refuse(self, request: web.BaseRequest, error: GatewayError, sink: ClientSink) -> None:
        self.calls.append(("refuse", error.code, error.message))
        self._say(sink, error.status)

    def has_target(self, request: web.BaseRequest) -> bool:
        return self.target

    def _say(self, sink: ClientSink, status: int) -> None:
        sink.start(status, [], length=0)
        sink.end()


class Scene:
    def __init__(self, pipeline: Pipeline, **settings: Any) -> None:
        self.inference = FakeInference()
        self.health = Health(version="1", docs="d")
        self.health.clear(STARTING)
        self.metrics = Metrics()
        self.recorder = Recorder((), self.metrics)
        inference: Any = self.inference
        door = Door(Settings(**settings))
        self.routes = Routes(inference, door, self.health, self.metrics, self.recorder, pipeline)

    async def ask(self, method: str, path: str, **headers: str) -> FakeRequest:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = FakeRequest(method, path, named)
        self.response = await self.routes.handle(request.web)
        return request


@pytest.fixture
async def scene() -> Scene:
    return Scene(make_pipeline(Scripted(hang)), cors_origins=(PAGE,))


def test_every_endpoint_has_its_route() -> None:
    assert INFERENCE == {
        "/v1/chat/completions": Endpoint.CHAT,
        "/v1/completions": Endpoint.COMPLETIONS,
        "/v1/embeddings": Endpoint.EMBEDDINGS,
        "/v1/responses": Endpoint.RESPONSES,
        "/v1/messages": Endpoint.MESSAGES,
        "/v1/messages/count_tokens": Endpoint.COUNT_TOKENS,
    }


@pytest.mark.parametrize("path", [*INFERENCE, "/v1/chat/completions?beta=1&x=%2F"])
async def test_inference(scene: Scene, path: str) -> None:
    await scene.ask("POST", path)
    assert scene.inference.calls == [("answer", INFERENCE[path.partition("?")[0]])]


@pytest.mark.parametrize(
    ("path", "endpoint"),
    [
        ("/v1/chatComplete", Endpoint.CHAT),
        ("/v1/complete?x=1", Endpoint.COMPLETIONS),
        ("/v1/embed", Endpoint.EMBEDDINGS),
    ],
)
async def test_inference_as_it_was_before_2024(scene: Scene, path: str, endpoint: Endpoint) -> None:
    await scene.ask("POST", path)
    assert scene.inference.calls == [("answer old", endpoint)]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/chat/completions"),
        ("GET", "/v1/complete"),
        ("POST", "/v1/chatcomplete"),
        ("POST", "/v1/chat/completions/"),
        ("GET", "/v1/files?x=1"),
        ("DELETE", "/v1/files/a%2Fb"),
        ("POST", "/v1/models"),
        ("GET", "/v1/responses/r_1"),
        ("POST", "/v1/audio/speech"),
        ("GET", "/v1/configsx"),
        ("GET", "/v1/"),
    ],
)
async def test_what_else_is_under_v1_passes(scene: Scene, method: str, path: str) -> None:
    await scene.ask(method, path)
    assert scene.inference.calls == [("pass", method, path)]


@pytest.mark.parametrize("segment", RESERVED)
@pytest.mark.parametrize("tail", ["", "/x/y", "?a=1"])
async def test_what_will_be_ours_never_passes(scene: Scene, segment: str, tail: str) -> None:
    request = await scene.ask("GET", f"/v1/{segment}{tail}", x_portkey_provider="openai")
    assert request.status == 501
    assert scene.inference.calls[0][1] == "not_implemented"
    assert f"/v1/{segment} will hold {RESERVED[segment]}" in scene.inference.calls[0][2]


async def test_an_upgrade_is_refused(scene: Scene) -> None:
    request = await scene.ask("GET", "/v1/realtime", upgrade="websocket", connection="upgrade")
    assert (request.status, scene.inference.calls[0][1]) == (501, "not_implemented")


@pytest.mark.parametrize("path", ["/v2/x", "/v1", "/metrics/x", "/" + "x" * 5000, "*"])
async def test_what_is_not_there(scene: Scene, path: str) -> None:
    request = await scene.ask("GET", path)
    assert (request.status, scene.inference.calls[0][1]) == (404, "not_found")
    assert len(scene.inference.calls[0][2]) < 300


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_local_paths_are_read_only(scene: Scene, method: str) -> None:
    assert (await scene.ask(method, "/healthz")).status == 404


# --- local answers ---


async def test_what_we_say_of_ourselves(scene: Scene) -> None:
    request = await scene.ask("GET", "/?a=1")
    headers, body = request.answer
    assert (request.status, headers[b"content-type"]) == (200, b"application/json")
    assert json.loads(body)["name"] == "aiogateway"
    assert int(headers[b"content-length"]) == len(body)
    assert scene.inference.calls == []  # no record


async def test_head_of_a_local_answer(scene: Scene) -> None:
    headers, body = (await scene.ask("HEAD", "/")).answer
    assert int(headers[b"content-length"]) > 0
    assert body == b""


async def test_readiness_follows_health_and_the_connection_closes(scene: Scene) -> None:
    request = await scene.ask("GET", "/readyz")
    assert (request.status, scene.response.keep_alive) == (200, True)
    scene.health.block("draining")
    request = await scene.ask("GET", "/readyz")
    headers, body = request.answer
    assert (request.status, headers[b"connection"], scene.response.keep_alive) == (503, b"close", False)
    assert json.loads(body)["reasons"] == ["draining"]
    assert (await scene.ask("GET", "/healthz")).status == 200


async def test_a_sink_that_fails_is_a_warning(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recorder, "failing", ("json_lines",))
    request = await scene.ask("GET", "/readyz")
    assert (request.status, json.loads(request.answer[1])["warnings"]) == (200, ["log sink json_lines fails"])


async def test_metrics(scene: Scene) -> None:
    request = await scene.ask("GET", "/metrics")
    headers, body = request.answer
    assert headers[b"content-type"].startswith(b"text/plain")
    assert b"aiogateway_" in body


# --- models ---


async def test_models_that_can_be_asked_for_without_a_target(scene: Scene) -> None:
    request = await scene.ask("GET", "/v1/models")
    assert json.loads(request.answer[1]) == {
        "object": "list", "data": [{"id": "m", "object": "model", "created": 0, "owned_by": "scripted"}]
    }  # fmt: skip
    request = await scene.ask("GET", "/v1/models/m")
    assert (request.status, json.loads(request.answer[1])["id"]) == (200, "m")
    request = await scene.ask("GET", "/v1/models/other")
    assert (request.status, scene.inference.calls[0][1]) == (404, "not_found")


async def test_models_of_a_target_are_its_own(scene: Scene) -> None:
    scene.inference.target = True
    await scene.ask("GET", "/v1/models")
    assert scene.inference.calls == [("pass", "GET", "/v1/models")]


# --- the door ---


@pytest.mark.parametrize(("path", "status"), [("/", 400), ("/v1/models", 400), ("/healthz", 200), ("/readyz", 200)])
async def test_a_foreign_host_is_shown_the_door(scene: Scene, path: str, status: int) -> None:
    assert (await scene.ask("GET", path, host="evil.example")).status == status


async def test_a_foreign_page_is_shown_the_door(scene: Scene) -> None:
    request = await scene.ask("POST", "/v1/chat/completions", origin="https://evil.example")
    assert request.status == 403
    assert [call[0] for call in scene.inference.calls] == ["refuse"]
    assert b"access-control-allow-origin" not in request.answer[0]


async def test_an_allowed_page_is_told_so_with_every_answer(scene: Scene) -> None:
    for path in ("/", "/v1/chat/completions", "/nowhere"):
        headers, _ = (await scene.ask("POST" if "v1" in path else "GET", path, origin=PAGE)).answer
        assert headers[b"access-control-allow-origin"] == PAGE.encode()


async def test_a_preflight_is_answered_by_us(scene: Scene) -> None:
    request = await scene.ask(
        "OPTIONS", "/v1/chat/completions", origin=PAGE, access_control_request_method="POST",
        access_control_request_headers="authorization",
    )  # fmt: skip
    headers, body = request.answer
    assert (request.status, body, scene.inference.calls) == (204, b"", [])
    assert headers[b"access-control-allow-headers"] == b"authorization"
    assert headers[b"access-control-allow-origin"] == PAGE.encode()
    request = await scene.ask("OPTIONS", "/v1/chat/completions", origin=PAGE)
    assert scene.inference.calls == [("pass", "OPTIONS", "/v1/chat/completions")]


async def test_stop_reaches_the_pipeline() -> None:
    stopped: list[GatewayError] = []
    pipeline = make_pipeline()
    pipeline.stop = stopped.append  # type: ignore[method-assign,assignment]
    error = Overloaded("the gateway is shutting down")
    Scene(pipeline).routes.stop(error)
    assert stopped == [error]


async def test_a_handler_that_was_cancelled_stays_cancelled(scene: Scene) -> None:
    async def leave(*_: object) -> None:
        raise asyncio.CancelledError

    scene.inference.pass_on = leave  # type: ignore[method-assign,assignment]
    with pytest.raises(asyncio.CancelledError):
        await scene.ask("GET", "/v1/x")
