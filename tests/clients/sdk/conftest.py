"""OpenAI clients that name their target by header, as an application moving to the gateway would."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import openai
import pytest

from tests.clients.upstream import Upstream


@pytest.fixture
def target(upstream: Upstream) -> dict[str, str]:
    """Headers that send a call to the scripted upstream."""
    return {"x-portkey-provider": "openai", "x-portkey-custom-host": upstream.url}


@pytest.fixture
def client(bare_gateway: str, target: dict[str, str]) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=bare_gateway, api_key="sk-caller", default_headers=target, max_retries=0, timeout=20
    ) as client:
        yield client


@pytest.fixture
async def async_client(bare_gateway: str, target: dict[str, str]) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=bare_gateway, api_key="sk-caller", default_headers=target, max_retries=0, timeout=20
    ) as client:
        yield client
