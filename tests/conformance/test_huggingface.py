"""What every provider has to hold to, for Hugging Face."""

from __future__ import annotations

from pathlib import Path

from aiogateway.providers.huggingface import HuggingFace
from aiogateway.testing import ProviderConformance


class TestHuggingFace(ProviderConformance):
    provider = HuggingFace()
    recordings = Path(__file__).parent / "recordings" / "huggingface"
    skips = {  # noqa: RUF012
        "embeddings": "the router's chat endpoint has none",
        "prefill": "up to the provider behind the router",
    }
