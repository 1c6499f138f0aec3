"""What every provider has to hold to, for Cohere."""

from __future__ import annotations

from pathlib import Path

from aiogateway.providers.cohere import Cohere
from aiogateway.testing import ProviderConformance


class TestCohere(ProviderConformance):
    provider = Cohere()
    recordings = Path(__file__).parent / "recordings" / "cohere"
    skips = {  # noqa: RUF012
        "prefill": "whether a model goes on with its own last turn is not documented",
        "stream_usage": "usage comes unasked",
    }
