"""What every provider has to hold to, for OpenAI: chats, embeddings, and its thoughts as Responses tell them."""

from __future__ import annotations

from pathlib import Path

from aiogateway.providers.openai import OpenAI
from aiogateway.testing import ProviderConformance


class TestOpenAI(ProviderConformance):
    provider = OpenAI()
    recordings = Path(__file__).parent / "recordings" / "openai"
    skips = {  # noqa: RUF012
        "prefill": "OpenAI's models answer a trailing assistant message instead of going on from it",
    }
