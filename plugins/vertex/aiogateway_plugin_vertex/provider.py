"""Vertex AI: Gemini in its own wire, Claude in Anthropic's, texts to embed by ``predict`` or ``embedContent``.

What Claude's wire has otherwise there: the model stands in the path, ``anthropic_version`` in the body
("Claude on Vertex AI", docs of Anthropic; ``lib/vertex/_client.py`` in its SDK, also for counting tokens).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson

from aiogateway.dialects.gemini_failures import read_google_error
from aiogateway.dialects.payload import as_dict, parse_object
from aiogateway.errors import RequestError, UpstreamStatus
from aiogateway.providers.anthropic import VERSION, fill_limit, move_fields
from aiogateway.providers.base import JSON_HEADERS, BaseProvider, check_header, join_url, replace_headers
from aiogateway.types import (
    Capability,
    Credential,
    Endpoint,
    Headers,
    Option,
    Request,
    Route,
    Secret,
    Target,
    UpstreamRequest,
)
from aiogateway_plugin_vertex.place import (
    ROUTES,
    STREAMED,
    Model,
    path_of,
    place_of,
    read_account,
    read_host,
    read_model,
)
from aiogateway_plugin_vertex.tokens import TokenBox

if TYPE_CHECKING:
    from aiohttp import ClientSession

ANTHROPIC_VERSION = "vertex-2023-10-16"
"""What Vertex calls the version 2023-06-01; later ones have one name everywhere (Anthropic's SDK 2.12.0)."""


class VertexRequest(UpstreamRequest, frozen=True, kw_only=True):
    """Also carries whose token `authorize` is to get: a service account's, or the gateway's own."""

    account: Secret | None = None
    lent: bool = False


class VertexAI(BaseProvider):
    """`custom_host` is a host without a version.

    The credential is an access token. `lends_identity`: where there is none, the gateway's own identity (application
    default credentials) serves; never for a host that a request chose.
    """

    name = "vertex-ai"
    base_url = ""
    capabilities = frozenset(Capability) - {Capability.PREFILL}
    options: Mapping[str, Option] = {
        "vertex_project_id": Option(),
        "vertex_region": Option(host=True),
        "vertex_service_account_json": Option(kind=dict, secret=True),
        "vertex_adc": Option(kind=bool),
        "anthropic_beta": Option(),
        "anthropic_version": Option(),
        "max_tokens": Option(kind=int),
    }

    def __init__(self) -> None:
        self.lends_identity = False
        self.tokens = TokenBox()

    def route(self, endpoint: Endpoint, dialect: str, model: str) -> Route | None:
        found = read_model(model)
        if endpoint is Endpoint.EMBEDDINGS and found.publisher == "google":
            if found.takes_content:
                return Route("vertex_content_embeddings", path_of(Model("google", "{model}"), "embedContent"))
            return Route("vertex_embeddings", path_of(Model("google", "{model}"), "predict"))
        named, method = ROUTES.get((found.publisher, endpoint), ("", ""))
        return Route(named, path_of(Model(found.publisher, "{model}"), method)) if named else None

    def prepare(self, request: Request, target: Target) -> UpstreamRequest:
        model = read_model(request.model)
        account = read_account(target)
        body, headers = request.raw, JSON_HEADERS
        if model.publisher == "anthropic":
            body, said = _write_anthropic(request, model, target)
            headers += said
        path = place_of(target, account) + path_of(_find_counter(request, model), _find_method(request, model))
        return VertexRequest(
            method="POST",
            url=join_url(read_host(target), path),
            headers=headers,
            body=body,
            account=account,
            lent=self._lends(target),
        )

    def passthrough(self, method: str, raw_path: str, headers: Headers, target: Target) -> UpstreamRequest:
        """Below the region's host, as it stands: ``/v1/projects/…``; ``/v1/v1beta1/…`` is ``/v1beta1/…`` there."""
        inner = raw_path.removeprefix("/v1")
        path = inner if inner.startswith("/v1beta1/") else raw_path
        return VertexRequest(
            method=method,
            url=join_url(read_host(target), path),
            headers=headers,
            account=read_account(target),
            lent=self._lends(target),
        )

    async def authorize(
        self, upstream: UpstreamRequest, credential: Credential | None, http: ClientSession
    ) -> UpstreamRequest:
        """A service account's token, else the credential as a bearer, else the gateway's own token if it is lent."""
        account, lent = None, False
        if isinstance(upstream, VertexRequest):
            account, lent = upstream.account, upstream.lent
        if account is not None:
            token = await self.tokens.get(account, http)
        elif credential is not None:
            token = Secret(credential.secret.reveal().removeprefix("Bearer "))
        elif lent:
            token = await self.tokens.get(None, http)
        else:
            return upstream
        source = credential.source if credential is not None and account is None else "the access token"
        bearer = f"Bearer {check_header(token.reveal(), source)}"
        plain = UpstreamRequest(method=upstream.method, url=upstream.url, headers=upstream.headers, body=upstream.body)
        return replace_headers(plain, (("authorization", bearer),))

    def read_error(self, status: int, headers: Headers, body: bytes) -> UpstreamStatus:
        """Google's error object, or Anthropic's from behind it."""
        try:
            kind = as_dict(parse_object(body).get("error")).get("type")
        except ValueError:
            kind = None
        if isinstance(kind, str):
            return super().read_error(status, headers, body)
        return read_google_error(self.name, status, headers, body)

    def _lends(self, target: Target) -> bool:
        return self.lends_identity and not target.guarded


def _find_method(request: Request, model: Model) -> str:
    if request.endpoint is Endpoint.EMBEDDINGS:
        if not model.takes_content:
            return "predict"
        return "batchEmbedContents" if "requests" in request.body else "embedContent"
    try:
        _, method = ROUTES[model.publisher, request.endpoint]
    except KeyError:
        raise RequestError(f"vertex-ai does not offer {request.endpoint} for {request.model}") from None
    return STREAMED[method] if request.stream else method


def _find_counter(request: Request, model: Model) -> Model:
    """Tokens are counted by a model of its own, which finds the name in the body."""
    return Model("anthropic", "count-tokens") if request.endpoint is Endpoint.COUNT_TOKENS else model


def _write_anthropic(request: Request, model: Model, target: Target) -> tuple[bytes, Headers]:
    """Body and headers. A client's own betas go on byte for byte; those of a chat's body and of the target are for
    clients that send none.
    """
    said: dict[str, str] = {}
    if request.endpoint is Endpoint.CHAT:
        request, said = move_fields(fill_limit(request, target))
    body: dict[str, Any] = {name: value for name, value in request.body.items() if name != "model"}
    if request.endpoint is Endpoint.COUNT_TOKENS:
        body["model"] = model.name
    spoken = dict(request.headers).get("anthropic-version", VERSION)
    if spoken != VERSION:  # what a client of a later version reads
        said.setdefault("anthropic-version", check_header(spoken, "anthropic-version"))
    version = said.get("anthropic-version") or target.options.get("anthropic_version") or ANTHROPIC_VERSION
    body.setdefault("anthropic_version", version)
    betas = ",".join(value for name, value in request.headers if name == "anthropic-beta")
    betas = betas or said.get("anthropic-beta", "") or target.options.get("anthropic_beta") or ""
    headers: Headers = (("anthropic-beta", check_header(betas, "anthropic_beta")),) if betas else ()
    try:
        return orjson.dumps(body), headers
    except TypeError as error:
        raise RequestError(f"the body can't be written as JSON: {error}") from error
