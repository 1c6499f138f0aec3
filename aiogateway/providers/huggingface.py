"""Hugging Face: the router in front of its inference providers, or an endpoint of one's own.

Wire: huggingface/hub-docs, docs/inference-providers (tasks/chat-completion.md, guides/responses-api.md), and
text-generation-inference, docs/openapi.json, which an endpoint of one's own serves. Whether the router has text
completions is unchecked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiogateway.contracts import Provider
from aiogateway.hookspecs import hookimpl
from aiogateway.providers.base import BaseProvider
from aiogateway.types import Capability, Endpoint, Option, Route, Target


class HuggingFace(BaseProvider):
    """`huggingface_base_url` is a host without ``/v1`` (one with it is taken too), `custom_host` has it."""

    name = "huggingface"
    base_url = "https://router.huggingface.co/v1"
    capabilities = frozenset(Capability) - {Capability.EMBEDDINGS, Capability.PREFILL}
    options: Mapping[str, Option] = {"huggingface_base_url": Option(host=True)}
    routes: Mapping[Endpoint, Route] = {
        Endpoint.CHAT: Route("openai_chat", "/chat/completions"),
        Endpoint.COMPLETIONS: Route("openai_completions", "/completions"),
        Endpoint.RESPONSES: Route("openai_responses", "/responses"),
    }

    def base_of(self, target: Target) -> str:
        own = target.options.get("huggingface_base_url")
        if target.host is not None or own is None:
            return super().base_of(target)
        return f"{str(own).rstrip('/').removesuffix('/v1')}/v1"


@hookimpl
def register_providers(register: Callable[[Provider], None]) -> None:
    register(HuggingFace())
