"""Google's Gemini API (AI Studio): generativelanguage.googleapis.com.

Paths and the key's header: ai.google.dev/api and google-genai 3.4.0. A key never goes into the URL. `custom_host` is
the host without a version (portkey.md 8.3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import quote

from aiogateway.contracts import Provider
from aiogateway.dialects.gemini_embeddings import name_model
from aiogateway.dialects.gemini_failures import read_google_error
from aiogateway.errors import RequestError, UpstreamStatus
from aiogateway.hookspecs import hookimpl
from aiogateway.providers.base import JSON_HEADERS, BaseProvider, join_url, read_secret, replace_headers
from aiogateway.types import Capability, Credential, Endpoint, Headers, Request, Route, Target, UpstreamRequest

if TYPE_CHECKING:
    from aiohttp import ClientSession

VERSION = "/v1beta"
VERSIONS = ("/v1/", "/v1beta/", "/v1alpha/", "/upload/")


class Google(BaseProvider):
    """Chats and embeddings in Gemini's own wire; the model and the method are in the path."""

    name = "google"
    base_url = "https://generativelanguage.googleapis.com"
    capabilities = frozenset(Capability) - {Capability.PREFILL}
    routes: Mapping[Endpoint, Route] = {
        Endpoint.CHAT: Route("gemini", f"{VERSION}/{{model}}:generateContent"),
        Endpoint.EMBEDDINGS: Route("gemini_embeddings", f"{VERSION}/{{model}}:batchEmbedContents"),
    }

    def prepare(self, request: Request, target: Target) -> UpstreamRequest:
        model = quote_model(name_model(request.model))
        return UpstreamRequest(
            method="POST",
            url=join_url(self.base_of(target), f"{VERSION}/{model}:{method_of(request)}"),
            headers=JSON_HEADERS,
            body=request.raw,
        )

    async def authorize(
        self, upstream: UpstreamRequest, credential: Credential | None, http: ClientSession
    ) -> UpstreamRequest:
        """The key goes as ``x-goog-api-key``, in place of whatever stood there."""
        if credential is None:
            return upstream
        return replace_headers(upstream, (("x-goog-api-key", read_secret(credential)),))

    def passthrough(self, method: str, raw_path: str, headers: Headers, target: Target) -> UpstreamRequest:
        """``/v1/models`` is ``/v1beta/models`` here; a path that names a version of Google's keeps it."""
        path = raw_path.removeprefix("/v1")
        if not path.startswith(VERSIONS):
            path = VERSION + path
        return UpstreamRequest(method=method, url=join_url(self.base_of(target), path), headers=headers)

    def read_error(self, status: int, headers: Headers, body: bytes) -> UpstreamStatus:
        return read_google_error(self.name, status, headers, body)


def method_of(request: Request) -> str:
    """What stands behind the colon, with the query that makes a stream server-sent events."""
    if request.endpoint is Endpoint.EMBEDDINGS:
        return "batchEmbedContents"
    return "streamGenerateContent?alt=sse" if request.stream else "generateContent"


def quote_model(model: str) -> str:
    """A model's name as a part of a path. Raises RequestError for one that would lead elsewhere."""
    if not model or any(part in ("", ".", "..") for part in model.split("/")):
        raise RequestError("model must be the name of a model", param="model")
    return quote(model, safe="/@", errors="replace")


@hookimpl
def register_providers(register: Callable[[Provider], None]) -> None:
    register(Google())
