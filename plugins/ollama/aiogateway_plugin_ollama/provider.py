"""Ollama: where its endpoints are.

Chats and embeddings go to the native API, which has what the OpenAI-shaped one leaves out (``num_ctx`` and the other
options, ``keep_alive``, ``think``). Text completions and responses go to the OpenAI-shaped one, byte for byte:
``docs/api/openai-compatibility.mdx`` in ollama/ollama. No key is needed locally; ollama.com takes a bearer
(``docs/api/authentication.mdx``).
"""

from __future__ import annotations

from collections.abc import Mapping

from aiogateway.providers.base import BaseProvider, join_url
from aiogateway.types import Capability, Endpoint, Headers, Route, Target, UpstreamRequest


class Ollama(BaseProvider):
    """`custom_host` is the server's address without ``/v1``."""

    name = "ollama"
    base_url = "http://127.0.0.1:11434"
    capabilities = frozenset(Capability) - {Capability.PREFILL}
    routes: Mapping[Endpoint, Route] = {
        Endpoint.CHAT: Route("ollama_chat", "/api/chat"),
        Endpoint.EMBEDDINGS: Route("ollama_embed", "/api/embed"),
        Endpoint.COMPLETIONS: Route("openai_completions", "/v1/completions"),
        Endpoint.RESPONSES: Route("openai_responses", "/v1/responses"),
    }

    def passthrough(self, method: str, raw_path: str, headers: Headers, target: Target) -> UpstreamRequest:
        """``/v1/models`` and its like are below the same host, with their ``/v1``."""
        return UpstreamRequest(method=method, url=join_url(self.base_of(target), raw_path), headers=headers)
