"""Groq: OpenAI's wire below ``/openai/v1`` (groq-python, ``resources/chat/completions.py``).

A stream's last chunk has its usage in ``x_groq.usage`` too (there, ``ChatCompletionChunk``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiogateway.contracts import Provider
from aiogateway.hookspecs import hookimpl
from aiogateway.providers.base import BaseProvider
from aiogateway.types import Capability, Endpoint, Route


class Groq(BaseProvider):
    """Chats in their own bytes; embeddings are not offered."""

    name = "groq"
    base_url = "https://api.groq.com/openai/v1"
    capabilities = frozenset(Capability) - {Capability.EMBEDDINGS, Capability.PREFILL}
    routes: Mapping[Endpoint, Route] = {Endpoint.CHAT: Route("openai_chat", "/chat/completions")}


@hookimpl
def register_providers(register: Callable[[Provider], None]) -> None:
    register(Groq())
