"""Every route we answer, in one table, and the dispatcher that all requests pass."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import orjson
from aiohttp import hdrs, web

from ..engine.pipeline import Pipeline
from ..errors import GatewayError, NotBuilt, NotFound
from ..telemetry.metrics import Metrics
from ..telemetry.recorder import Recorder
from ..types import Endpoint, Headers, RawHeaders
from .door import EXEMPT, Door
from .health import Health
from .inference import Inference
from .paths import find_segment, read_path
from .sink import ClientSink

JSON: Headers = (("content-type", "application/json"),)

RESERVED = {
    "configs": "saved configs",
    "virtual-keys": "the vault of provider credentials",
    "providers": "the vault of provider credentials",
    "integrations": "the vault of provider credentials",
    "api-keys": "keys of this gateway",
    "admin": "users, workspaces and roles",
    "prompts": "saved prompts",
    "labels": "labels of saved prompts",
    "collections": "collections of saved prompts",
    "feedback": "feedback on calls",
    "logs": "records of calls",
    "analytics": "figures over calls",
    "traces": "traces of calls",
    "guardrails": "checks on requests and answers",
    "audit-logs": "the audit trail",
    "model-configs": "model configs",
    "mcp": "MCP servers",
}
"""First path segments under ``/v1/`` that will be ours, and are never passed on."""

CLEAR_HTTP2 = "h2c"  # an offer, which a server may ignore (RFC 9110 7.8); some clients make it with every request

INFERENCE = {f"/v1/{endpoint.value}": endpoint for endpoint in Endpoint}
OLD_INFERENCE = {
    "/v1/chatComplete": Endpoint.CHAT,
    "/v1/complete": Endpoint.COMPLETIONS,
    "/v1/embed": Endpoint.EMBEDDINGS,
}
"""Routes of before 2024, with the config in the body (portkey.md 6)."""


class Routes:
    """`handle` is the server's one handler."""

    def __init__(
        self, inference: Inference, door: Door, health: Health, metrics: Metrics, recorder: Recorder, pipeline: Pipeline
    ) -> None:
        self._inference = inference
        self._door = door
        self._health = health
        self._metrics = metrics
        self._recorder = recorder
        self._pipeline = pipeline
        self._local: dict[str, Callable[[ClientSink], Awaitable[None]]] = {
            "/": self._about,
            "/healthz": self._live,
            "/readyz": self._ready,
            "/metrics": self._measure,
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers one request."""
        headers = request.headers
        path = read_path(request.raw_path).partition("?")[0]
        origin = headers.get(hdrs.ORIGIN)
        extra: RawHeaders = ()
        refusal: GatewayError | None = None
        if path not in EXEMPT:
            refusal = self._door.refuse(headers.get(hdrs.HOST), origin)
            if refusal is None and origin is not None:
                extra = _raw(self._door.cors_headers(origin))
            if refusal is None and hdrs.UPGRADE in headers and headers[hdrs.UPGRADE].lower() != CLEAR_HTTP2:
                refusal = NotBuilt("Upgrade: realtime connections are not available yet")
        sink = ClientSink(request, extra=extra, closing=not self._health.ready)
        if refusal is not None:
            self._inference.refuse(request, refusal, sink)
        elif origin is not None and self._preflight(request, origin, sink):
            pass
        elif request.method == "POST" and (endpoint := INFERENCE.get(path)) is not None:
            await self._inference.answer(request, endpoint, sink)
        elif request.method == "POST" and (endpoint := OLD_INFERENCE.get(path)) is not None:
            await self._inference.answer_old(request, endpoint, sink)
        else:
            await self._dispatch(request, path, sink)
        return sink.finish()

    def stop(self, error: GatewayError) -> None:
        """Ends all answers under way with `error`."""
        self._pipeline.stop(error)

    async def _dispatch(self, request: web.BaseRequest, path: str, sink: ClientSink) -> None:
        if request.method in ("GET", "HEAD") and path in self._local:
            await self._local[path](sink)
        elif path.startswith("/v1/"):
            await self._dispatch_v1(request, path, sink)
        else:
            self._inference.refuse(request, NotFound(f"there is no {path[:256]} here"), sink)

    async def _dispatch_v1(self, request: web.BaseRequest, path: str, sink: ClientSink) -> None:
        segment = find_segment(path)
        if segment in RESERVED:
            error: GatewayError = NotBuilt(f"/v1/{segment} will hold {RESERVED[segment]}; it is not available yet")
            self._inference.refuse(request, error, sink)
        elif segment == "models" and request.method == "GET" and not self._inference.has_target(request):
            self._list_models(request, path, sink)
        else:
            await self._inference.pass_on(request, sink)

    def _preflight(self, request: web.BaseRequest, origin: str, sink: ClientSink) -> bool:
        headers = request.headers
        allowed = self._door.preflight(
            request.method,
            origin,
            headers.get("access-control-request-method"),
            headers.get("access-control-request-headers"),
        )
        if not allowed:
            return False
        sink.extra = ()
        sink.start(204, _raw(allowed))
        sink.end()
        return True

    # -- local answers

    def _send(self, sink: ClientSink, status: int, body: bytes, headers: Headers = JSON) -> None:
        sink.start(status, _raw(headers), length=len(body))
        sink.write(body)
        sink.end()

    async def _about(self, sink: ClientSink) -> None:
        self._send(sink, 200, self._health.about())

    async def _live(self, sink: ClientSink) -> None:
        self._send(sink, 200, self._health.live())

    async def _ready(self, sink: ClientSink) -> None:
        warnings = [f"log sink {name} fails" for name in self._recorder.failing]
        status, body = self._health.readiness(warnings)
        self._send(sink, status, body)

    async def _measure(self, sink: ClientSink) -> None:
        body, content_type = await asyncio.to_thread(self._metrics.render)
        self._send(sink, 200, body, (("content-type", content_type),))

    def _list_models(self, request: web.BaseRequest, path: str, sink: ClientSink) -> None:
        """What can be asked for without naming a target: the models that providers answer by themselves."""
        models = [
            {"id": model, "object": "model", "created": 0, "owned_by": provider.name}
            for provider in self._pipeline.tools.responders.values()
            for model in provider.models
        ]
        wanted = path.removeprefix("/v1/models").strip("/")
        if not wanted:
            self._send(sink, 200, orjson.dumps({"object": "list", "data": models}))
            return
        found = [model for model in models if model["id"] == wanted]
        if found:
            self._send(sink, 200, orjson.dumps(found[0]))
        else:
            self._inference.refuse(request, NotFound(f"no model {wanted[:256]!r} is known here"), sink)


def _raw(headers: Headers) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
