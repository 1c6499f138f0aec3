"""What every provider has to hold to, for Anthropic: chats by translation, messages and token counts as they are."""

from __future__ import annotations

from pathlib import Path

from aiogateway.providers.anthropic import Anthropic
from aiogateway.testing import ProviderConformance


class TestAnthropic(ProviderConformance):
    provider = Anthropic()
    recordings = Path(__file__).parent / "recordings" / "anthropic"
    skips = {  # noqa: RUF012
        "embeddings": "Anthropic has none",
        "prefill": "models from Claude 4.6 on refuse a trailing assistant turn",
    }
