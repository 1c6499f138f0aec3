"""Mistral AI: near to OpenAI's wire, and strict: a field it doesn't know is its 422 (openapi.yaml of its documentation,
``ChatCompletionRequest``, ``EmbeddingRequest``, ``FIMCompletionRequest``).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from aiogateway.contracts import Provider
from aiogateway.hookspecs import hookimpl
from aiogateway.providers.base import BaseProvider, join_url
from aiogateway.providers.quirks import Quirks, omit, rename, rename_role, reword
from aiogateway.types import Capability, Endpoint, Option, Request, Route, Target, UpstreamRequest

THINKERS = ("magistral", "mistral-small-latest", "mistral-small-2603", "mistral-medium-3-5")
"""What the names of models begin with that think, always or when asked to (its page "Reasoning")."""

EFFORTS = {"minimal": "none", "low": "high", "medium": "high", "xhigh": "high", "max": "high"}
"""Mistral knows none and high."""

_CHAT = Route("openai_chat", "/chat/completions")
_THINKING = Route("mistral_chat", _CHAT.path)
_FIM = "/fim/completions"


class Mistral(BaseProvider):
    """Chats in the client's own bytes, but for models that think: their content is a list no OpenAI client reads.

    `mistral_fim_completion` ("true") sends a chat route's body to the fill-in-the-middle endpoint, as in Portkey.
    """

    name = "mistral-ai"
    base_url = "https://api.mistral.ai/v1"
    # A stream's usage comes unasked, so `stream_usage`, which is about asking, is not among these.
    capabilities = frozenset(Capability) - {Capability.STREAM_USAGE, Capability.PREFILL}
    options: Mapping[str, Option] = {"mistral_fim_completion": Option()}
    routes: Mapping[Endpoint, Route] = {
        Endpoint.CHAT: _CHAT,
        Endpoint.EMBEDDINGS: Route("openai_embeddings", "/embeddings"),
    }
    quirks: Mapping[Endpoint, Quirks] = {
        Endpoint.CHAT: {
            "seed": rename("random_seed"),
            "safe_mode": rename("safe_prompt"),  # its name before 2024, which Portkey's clients still send
            "max_completion_tokens": rename("max_tokens"),
            "reasoning_effort": reword("reasoning_effort", EFFORTS),
            "tool_choice": reword("tool_choice", {"required": "any"}),
            "messages": rename_role("developer", "system"),
            "stream_options": omit,
        },
        Endpoint.EMBEDDINGS: {"dimensions": rename("output_dimension")},
    }

    def route(self, endpoint: Endpoint, dialect: str, model: str) -> Route | None:
        if endpoint is Endpoint.CHAT and model.startswith(THINKERS):
            return _THINKING
        return super().route(endpoint, dialect, model)

    def prepare(self, request: Request, target: Target) -> UpstreamRequest:
        upstream = super().prepare(request, target)
        if request.endpoint is Endpoint.CHAT and target.options.get("mistral_fim_completion") == "true":
            return msgspec.structs.replace(upstream, url=join_url(self.base_of(target), _FIM))
        return upstream


@hookimpl
def register_providers(register: Callable[[Provider], None]) -> None:
    register(Mistral())
