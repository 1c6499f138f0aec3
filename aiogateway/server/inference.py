"""The calls we understand: headers, keys and body in, a `Request` and its config out. The pipeline does the rest."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import orjson
from aiohttp import web

from ..config.tree import Tree
from ..engine.passthrough import Passed, pass_on
from ..engine.pipeline import Account, Pipeline
from ..errors import ConfigError, GatewayError, RequestError
from ..settings import Settings
from ..types import Call, Endpoint, Request, Trace
from .auth import Caller, read_caller
from .paths import check_dots, read_path, strip_key
from .sink import ClientSink
from .targets import Targets, trace_of
from .upload import ClientUpload

log = logging.getLogger(__name__)


def make_id() -> str:
    """A call's id: 128 random bits, in hex. It is no secret, so it need not cost a system call."""
    return f"{random.getrandbits(128):032x}"


class Inference:
    """Handlers of ``/v1/*``. One per worker."""

    def __init__(self, pipeline: Pipeline, settings: Settings, targets: Targets) -> None:
        self._pipeline = pipeline
        self._settings = settings
        self._targets = targets

    async def answer(self, request: web.BaseRequest, endpoint: Endpoint, sink: ClientSink) -> None:
        """One call to a model."""
        call = self._begin(request, endpoint)
        upload = self._upload(request)

        async def resolve() -> tuple[Request, Tree]:
            caller, tree = self._resolve(request, call)
            body = upload.take()
            if body is None:
                body = await upload.read_all()
            query = strip_key(read_path(request.raw_path)).partition("?")[2]
            return self._read_body(call, endpoint, body, query, caller), tree

        try:
            await self._pipeline.run(call, sink, resolve)
        finally:
            upload.free()

    async def answer_old(self, request: web.BaseRequest, endpoint: Endpoint, sink: ClientSink) -> None:
        """The same as SDKs of before 2024 ask for it, with the config beside the parameters (portkey.md 6)."""
        call = self._begin(request, endpoint)
        upload = self._upload(request)

        async def resolve() -> tuple[Request, Tree]:
            call.trace = trace_of(call.id, read_caller(request.raw_headers).gateway)  # the body may be refused
            body = upload.take()
            if body is None:
                body = await upload.read_all()
            config, params = read_old_body(body)
            caller, tree = self._resolve(request, call, config)
            return self._read_body(call, endpoint, params, "", caller), tree

        try:
            await self._pipeline.run(call, sink, resolve)
        finally:
            upload.free()

    async def pass_on(self, request: web.BaseRequest, sink: ClientSink) -> None:
        """A request we don't understand, as it is."""
        call = self._begin(request, None)
        upload = self._upload(request)

        async def resolve() -> Passed:
            caller, tree = self._resolve(request, call)
            path = strip_key(read_path(request.raw_path))
            check_dots(path)
            return Passed(request.method, path, caller.headers, tree)

        try:
            await pass_on(self._pipeline, call, sink, resolve, upload)
        finally:
            upload.free()

    def refuse(self, request: web.BaseRequest, error: GatewayError, sink: ClientSink) -> None:
        """A request that gets no further; it has its record all the same."""
        call = self._begin(request, None)
        call.trace = trace_of(call.id, read_caller(request.raw_headers).gateway)
        with Account(self._pipeline, call, sink):
            raise error

    def has_target(self, request: web.BaseRequest) -> bool:
        """Whether a request says, or the settings say, where it goes."""
        return self._targets.has_target(read_caller(request.raw_headers))

    def _begin(self, request: web.BaseRequest, endpoint: Endpoint | None) -> Call:
        self._pipeline.books.begin_call()
        identity = make_id()
        return Call(
            id=identity,
            trace=Trace(id=identity),
            received=time.time(),
            clock=time.monotonic(),
            method=request.method,
            route=read_path(request.raw_path).partition("?")[0][:256],
            endpoint=endpoint,
        )

    def _upload(self, request: web.BaseRequest) -> ClientUpload:
        settings = self._settings
        return ClientUpload(
            request, self._pipeline.tools.buffers, max_body=settings.max_body, patience=settings.body_timeout
        )

    def _resolve(self, request: web.BaseRequest, call: Call, config: str | None = None) -> tuple[Caller, Tree]:
        caller = read_caller(request.raw_headers)
        try:
            headers, tree = self._targets.find(caller, lambda: call.id, config=config)
        except ConfigError:
            call.trace = trace_of(call.id, caller.gateway)
            raise
        call.trace, call.metadata, call.explain = headers.trace, headers.metadata, headers.explain
        return caller, tree

    def _read_body(self, call: Call, endpoint: Endpoint, raw: bytes, query: str, caller: Caller) -> Request:
        body = parse_body(raw)
        model = body.get("model")
        call.stream = body.get("stream") is True
        return Request(
            endpoint=endpoint,
            dialect=self._pipeline.tools.registry.client_dialect(endpoint).name,
            raw=raw,
            body=body,
            model=model if isinstance(model, str) else "",
            stream=call.stream,
            query=query,
            headers=caller.headers,
        )


class _OldBody(msgspec.Struct):
    """What is in a body of the old routes, each as its own bytes."""

    config: msgspec.Raw = msgspec.Raw(b"null")
    params: msgspec.Raw = msgspec.Raw(b"null")


def read_old_body(raw: bytes) -> tuple[str | None, bytes]:
    """The config of ``{"config": {…} | "slug", "params": {…}}`` as text, if there is one, and the parameters' JSON."""
    try:
        body = msgspec.json.decode(raw, type=_OldBody)
        config, params = bytes(body.config), bytes(body.params)
    except (msgspec.MsgspecError, RecursionError):
        config, params = _mend_old_body(raw)
    if not params.startswith(b"{"):
        what = "is missing" if params == b"null" else "must be an object"
        raise RequestError(f'params {what}: send {{"config": {{…}}, "params": {{"messages": […]}}}}', param="params")
    if config == b"null":
        return None, params
    text = config.decode("utf-8", "replace")
    if text.startswith('"'):
        return orjson.loads(text), params
    if not text.startswith("{"):
        raise ConfigError("must be a config as an object, or the slug of a saved one", path="config")
    return text, params


def _mend_old_body(raw: bytes) -> tuple[bytes, bytes]:
    """The same of what is no strict JSON. Raises RequestError when it is no JSON at all."""
    body = parse_body(raw)
    try:
        return json.dumps(body.get("config")).encode(), json.dumps(body.get("params")).encode()
    except RecursionError:
        raise RequestError("the body is nested too deep") from None


def parse_body(raw: bytes) -> Mapping[str, Any]:
    """A JSON object. What only orjson refuses (no Unicode, NaN) is read with replacements; `raw` stays as it is."""
    try:
        body = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        try:
            body = json.loads(_mend(raw))
        except (ValueError, RecursionError):
            raise RequestError(f"the body is not JSON: {error.msg} at character {error.pos}") from None
        log.warning("a request body is not strict JSON (%s); read with replacements", error.msg)
    if not isinstance(body, dict):
        raise RequestError(f"the body must be a JSON object, got {type(body).__name__}")
    return body


def _mend(raw: bytes) -> str:
    """JSON with U+FFFD for bytes that are no UTF-8 and for halves of surrogate pairs: no body of ours can hold them."""
    text = json.dumps(json.loads(raw.decode("utf-8", "replace")), ensure_ascii=False)
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
