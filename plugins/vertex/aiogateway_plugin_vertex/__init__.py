"""Google Vertex AI for aiogateway: Gemini and Claude, with service accounts, default credentials or access tokens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiogateway.contracts import Dialect, Provider
from aiogateway.hookspecs import hookimpl
from aiogateway_plugin_vertex.embeddings import VertexContentEmbeddings, VertexEmbeddings
from aiogateway_plugin_vertex.provider import VertexAI

__all__ = ["VertexAI", "VertexContentEmbeddings", "VertexEmbeddings"]


@hookimpl
def register_providers(register: Callable[[Provider], None]) -> None:
    register(VertexAI())


@hookimpl
def register_dialects(register: Callable[[Dialect], None]) -> None:
    register(VertexEmbeddings())
    register(VertexContentEmbeddings())


@hookimpl
async def startup(gateway: Any) -> None:
    """Only the settings may lend the gateway's own identity: a request that says `vertex_adc` is not heard."""
    provider = gateway.registry.providers.get(VertexAI.name)
    own = gateway.settings.providers.get(VertexAI.name)
    if isinstance(provider, VertexAI):
        provider.lends_identity = own is not None and own.options.get("vertex_adc") is True
