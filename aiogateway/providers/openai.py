"""OpenAI, and with `custom_host` every server that speaks its API (the host's URL ends in ``/v1`` or its like)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from aiogateway.contracts import Provider
from aiogateway.hookspecs import hookimpl
from aiogateway.providers.base import BaseProvider
from aiogateway.types import Capability, Endpoint, Option, Route


class OpenAI(BaseProvider):
    """Every endpoint in its own wire, so a client's bytes stay as they are."""

    name = "openai"
    base_url = "https://api.openai.com/v1"
    capabilities = frozenset(Capability) - {Capability.PREFILL}
    options: Mapping[str, Option] = {
        "openai_organization": Option(),
        "openai_project": Option(),
        "openai_beta": Option(),
    }
    option_headers: Mapping[str, str] = {
        "openai_organization": "openai-organization",
        "openai_project": "openai-project",
        "openai_beta": "openai-beta",
    }
    routes: Mapping[Endpoint, Route] = {
        Endpoint.CHAT: Route("openai_chat", "/chat/completions"),
        Endpoint.COMPLETIONS: Route("openai_completions", "/completions"),
        Endpoint.EMBEDDINGS: Route("openai_embeddings", "/embeddings"),
        Endpoint.RESPONSES: Route("openai_responses", "/responses"),
    }


@hookimpl
def register_providers(register: Callable[[Provider], None]) -> None:
    register(OpenAI())
