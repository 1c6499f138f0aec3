"""Cohere, over the second version of its API (docs.cohere.com/reference/chat and /reference/embed).

The base URL is Portkey's; Cohere answers below api.cohere.com too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiogateway.contracts import Provider
from aiogateway.dialects.cohere_chat import CohereChat
from aiogateway.dialects.cohere_embeddings import CohereEmbeddings
from aiogateway.hookspecs import hookimpl
from aiogateway.providers.base import BaseProvider, join_url, replace_headers
from aiogateway.types import Capability, Endpoint, Headers, Route, Target, UpstreamRequest


class Cohere(BaseProvider):
    """`custom_host` has no suffix: the paths begin with their version."""

    name = "cohere"
    base_url = "https://api.cohere.ai"
    # A stream's usage comes unasked, so `stream_usage`, which is about asking, is not among these.
    capabilities = frozenset(Capability) - {Capability.STREAM_USAGE, Capability.PREFILL}
    routes: Mapping[Endpoint, Route] = {
        Endpoint.CHAT: Route(CohereChat.name, "/v2/chat"),
        Endpoint.EMBEDDINGS: Route(CohereEmbeddings.name, "/v2/embed"),
    }

    def passthrough(self, method: str, raw_path: str, headers: Headers, target: Target) -> UpstreamRequest | None:
        """The path as it is, ``/v1/rerank``."""
        upstream = UpstreamRequest(method=method, url=join_url(self.base_of(target), raw_path), headers=headers)
        return replace_headers(upstream, self.headers_of(target))


@hookimpl
def register_providers(register: Callable[[Provider], None]) -> None:
    register(Cohere())
