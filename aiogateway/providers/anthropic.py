"""Anthropic. Its own wire as it is; chats are translated into it. `custom_host` ends in ``/v1``.

Facts: platform.claude.com, API reference ("Versions", "Beta headers", "Errors"); the names of options are Portkey's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import orjson

from aiogateway.contracts import Provider
from aiogateway.dialects.payload import as_count, as_dict
from aiogateway.errors import RequestError
from aiogateway.hookspecs import hookimpl
from aiogateway.providers.base import BaseProvider, check_header, read_secret, replace_headers
from aiogateway.types import (
    Capability,
    Credential,
    Endpoint,
    Headers,
    Option,
    Request,
    Route,
    Target,
    UpstreamRequest,
)

if TYPE_CHECKING:
    from aiohttp import ClientSession

VERSION = "2023-06-01"
"""The last version that takes a chat's temperature: 2026-10-21 answers 400 to `temperature`, `top_p` and `top_k`."""

MAX_TOKENS = 4096
"""The limit of an answer whose client gave none, unless the option `max_tokens` does: Anthropic wants one. A thinking
budget comes on top, since it counts against the limit.
"""

_HEADERS = ("anthropic-version", "anthropic-beta")
_BODY_FIELDS = ("anthropic_version", "anthropic_beta")
_TOKEN = "sk-ant-oat"  # noqa: S105 - how Anthropic's OAuth access tokens begin; they go in as a bearer


class Anthropic(BaseProvider):
    """``x-api-key``, ``anthropic-version``, and ``anthropic-beta`` where someone asks for it.

    The client's own version and beta headers go on byte for byte; the options are for clients that send none.
    """

    name = "anthropic"
    base_url = "https://api.anthropic.com/v1"
    capabilities = frozenset(Capability) - {Capability.EMBEDDINGS, Capability.PREFILL}
    options: Mapping[str, Option] = {
        "anthropic_version": Option(),
        "anthropic_beta": Option(),
        "max_tokens": Option(kind=int),
    }
    option_headers: Mapping[str, str] = {
        "anthropic_version": "anthropic-version",
        "anthropic_beta": "anthropic-beta",
    }
    routes: Mapping[Endpoint, Route] = {
        Endpoint.CHAT: Route("anthropic", "/messages"),
        Endpoint.MESSAGES: Route("anthropic", "/messages"),
        Endpoint.COUNT_TOKENS: Route("anthropic_tokens", "/messages/count_tokens"),
    }

    def prepare(self, request: Request, target: Target) -> UpstreamRequest:
        said = _read_headers(request.headers)
        if request.endpoint is Endpoint.CHAT:
            request = fill_limit(request, target)
            request, fields = move_fields(request)
            said = fields | said
        return _announce(super().prepare(request, target), said)

    async def authorize(
        self, upstream: UpstreamRequest, credential: Credential | None, http: ClientSession
    ) -> UpstreamRequest:
        """An API key has its own header."""
        if credential is None:
            return upstream
        secret = read_secret(credential)
        if secret.startswith(_TOKEN):
            return replace_headers(upstream, (("authorization", f"Bearer {secret}"),))
        return replace_headers(upstream, (("x-api-key", secret),))

    def passthrough(self, method: str, raw_path: str, headers: Headers, target: Target) -> UpstreamRequest | None:
        upstream = super().passthrough(method, raw_path, headers, target)
        return upstream and _announce(upstream, _read_headers(headers))


def fill_limit(request: Request, target: Target) -> Request:
    """A translated chat with the `max_tokens` that Anthropic can't do without, on whatever platform it runs."""
    if request.body.get("max_tokens") is not None:
        return request
    limit = target.options.get("max_tokens", MAX_TOKENS)
    if limit < 1:
        raise RequestError("max_tokens must be at least 1", param="max_tokens")
    budget = as_count(as_dict(request.body.get("thinking")).get("budget_tokens"))
    return _rewrite(request, {**request.body, "max_tokens": limit + budget})


def move_fields(request: Request) -> tuple[Request, dict[str, str]]:
    """Portkey takes version and betas in a chat's body too; Anthropic takes them as headers only."""
    fields = {name: request.body[name] for name in _BODY_FIELDS if name in request.body}
    if not fields:
        return request, {}
    body = {name: value for name, value in request.body.items() if name not in fields}
    headers = {}
    for name, value in fields.items():
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        headers[name.replace("_", "-")] = check_header(text, name)
    return _rewrite(request, body), headers


def _rewrite(request: Request, body: dict[str, Any]) -> Request:
    return msgspec.structs.replace(request, body=body, raw=orjson.dumps(body))


def _read_headers(headers: Headers) -> dict[str, str]:
    return {name: value for name, value in headers if name in _HEADERS}


def _announce(upstream: UpstreamRequest, said: Mapping[str, str]) -> UpstreamRequest:
    """What the client said of version and betas over what the options say; a version in any case."""
    upstream = replace_headers(upstream, tuple(said.items()))
    if any(name == "anthropic-version" for name, _ in upstream.headers):
        return upstream
    return replace_headers(upstream, (("anthropic-version", VERSION),))


@hookimpl
def register_providers(register: Callable[[Provider], None]) -> None:
    register(Anthropic())
