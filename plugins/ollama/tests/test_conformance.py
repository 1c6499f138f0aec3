"""What every provider has to hold to, for Ollama."""

from __future__ import annotations

from pathlib import Path

from aiogateway_plugin_ollama import Ollama

from aiogateway.testing import ProviderConformance


class TestOllama(ProviderConformance):
    provider = Ollama()
    recordings = Path(__file__).parent / "recordings"
    skips = {"prefill": "whether an assistant's turn can be gone on with is up to each model's template"}  # noqa: RUF012
