"""What every provider has to hold to, for one that is only spoken to in OpenAI's Responses wire."""

from __future__ import annotations

from pathlib import Path

from aiogateway.providers.openai import OpenAI
from aiogateway.testing import ProviderConformance
from aiogateway.types import Capability, Endpoint, Route


class Responses(OpenAI):
    """OpenAI as its models are reached that chat completions don't serve."""

    name = "openai-responses"
    capabilities = frozenset(Capability) - {Capability.PREFILL, Capability.EMBEDDINGS}
    routes = {Endpoint.CHAT: Route("openai_responses", "/responses")}  # noqa: RUF012


class TestResponses(ProviderConformance):
    provider = Responses()
    recordings = Path(__file__).parent / "recordings" / "openai_responses"
    skips = {  # noqa: RUF012
        "prefill": "a response never goes on with the last turn",
        "embeddings": "another endpoint's",
    }
