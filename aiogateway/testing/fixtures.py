"""`gateway` and `FakeUpstream` as pytest fixtures, which end with the test. In a plugin's ``tests/conftest.py``::

    pytest_plugins = ["aiogateway.testing.fixtures"]

and then::

    async def test_the_answer_comes_back(start_gateway: StartGateway) -> None:
        live = await start_gateway(unary(b"{}"), provider=Harbor())

Needs the extra ``testing``: nothing else of the kit imports pytest.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any, Protocol

import pytest_asyncio

from .running import Running, gateway
from .upstream import FakeUpstream, Script


class StartGateway(Protocol):
    """`aiogateway.testing.gateway`, started; takes what that takes."""

    async def __call__(self, *script: Script, **arguments: Any) -> Running: ...


class StartUpstream(Protocol):
    """`aiogateway.testing.FakeUpstream`, started; takes what that takes."""

    async def __call__(self, *script: Script, **arguments: Any) -> FakeUpstream: ...


@pytest_asyncio.fixture
async def start_gateway() -> AsyncIterator[StartGateway]:
    """Starts gateways, each with an upstream of its own."""
    async with AsyncExitStack() as stack:

        async def start(*script: Script, **arguments: Any) -> Running:
            return await stack.enter_async_context(gateway(*script, **arguments))

        yield start


@pytest_asyncio.fixture
async def start_upstream() -> AsyncIterator[StartUpstream]:
    """Starts upstreams beside the gateway's own: a fallback, a token server."""
    async with AsyncExitStack() as stack:

        async def start(*script: Script, **arguments: Any) -> FakeUpstream:
            return await stack.enter_async_context(FakeUpstream(*script, **arguments))

        yield start
