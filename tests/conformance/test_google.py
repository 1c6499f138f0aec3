"""What every provider has to hold to, for Google's Gemini API."""

from __future__ import annotations

from pathlib import Path

from aiogateway.providers.google import Google
from aiogateway.testing import ProviderConformance


class TestGoogle(ProviderConformance):
    provider = Google()
    recordings = Path(__file__).parent / "recordings" / "google"
    skips = {"prefill": "whether a model goes on with its own last turn is not documented"}  # noqa: RUF012
