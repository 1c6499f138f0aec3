"""What every provider has to hold to, for Groq."""

from __future__ import annotations

from pathlib import Path

from aiogateway.providers.groq import Groq
from aiogateway.testing import ProviderConformance


class TestGroq(ProviderConformance):
    provider = Groq()
    recordings = Path(__file__).parent / "recordings" / "groq"
    skips = {  # noqa: RUF012
        "embeddings": "not offered",
        "prefill": "a trailing assistant message is gone on with by some models only",
    }
