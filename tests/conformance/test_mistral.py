"""What every provider has to hold to, for Mistral AI."""

from __future__ import annotations

from pathlib import Path

from aiogateway.providers.mistral import Mistral
from aiogateway.testing import ProviderConformance


class TestMistral(ProviderConformance):
    provider = Mistral()
    recordings = Path(__file__).parent / "recordings" / "mistral"
    skips = {  # noqa: RUF012
        "prefill": "asked for by `prefix` in the message, which no other provider knows",
        "stream_usage": "usage comes unasked; asking is refused",
    }
