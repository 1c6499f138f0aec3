"""The README's config, sent through a real gateway to a provider that is down."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiogateway_plugin_retry_budget as plugin
import aiohttp
import pytest

from aiogateway import PluginError, app
from aiogateway.settings import Settings, load_settings
from aiogateway.testing import FakeUpstream, unary

README = (Path(__file__).parents[1] / "README.md").read_text()
DOWN = unary(b'{"error":{"message":"down"}}', status=503)
ANSWER = (
    b'{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"Ahoy!"}}]}'
)
BODY = {"model": "m", "messages": [{"role": "user", "content": "Ahoy?"}]}
ROWS = re.findall(r"^\| `(\w+)` \| 0 to (\d+) \| `(\d+)` \|", README, re.MULTILINE)


def read_settings() -> Settings:
    environ = {
        "HOME": "/nonexistent",
        "AIOGATEWAY_PORT": "0",
        "AIOGATEWAY_PLUGINS": "retry-budget",
        "AIOGATEWAY_RETRY_WAIT": "0.05",
    }
    return load_settings({}, environ, None)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """No calls of other tests, and no settings of this machine."""
    monkeypatch.setattr(plugin, "_ledger", plugin.Ledger())
    for name, _, _ in ROWS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def gateway(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[app.Gateway]:
    """One whose budget is a fifth of the calls."""
    monkeypatch.setenv("RETRY_BUDGET_PER_SECOND", "0")
    running = await app.start(read_settings())
    yield running
    await running.stop()


def make_config(up: FakeUpstream, **retry: Any) -> dict[str, Any]:
    """The README's, with `up` as the provider that may be down."""
    (block,) = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    config: dict[str, Any] = json.loads(block)
    config["targets"][0] |= {"custom_host": f"{up.url}/v1", "api_key": "k"}
    config["retry"] |= retry
    return config


async def post(gateway: app.Gateway, http: aiohttp.ClientSession, config: dict[str, Any]) -> tuple[int, str]:
    """Status and body."""
    headers = {"x-portkey-config": json.dumps(config)}
    async with http.post(f"{gateway.url}/v1/chat/completions", json=BODY, headers=headers) as answer:
        return answer.status, await answer.text()


async def test_a_storm_makes_no_more_retries_than_the_budget_has(gateway: app.Gateway) -> None:
    async with FakeUpstream(DOWN) as up, aiohttp.ClientSession() as http:
        config = make_config(up)
        answers = await asyncio.gather(*(post(gateway, http, config) for _ in range(200)))
        assert 200 < len(up.requests) <= 240
    assert {status for status, _ in answers} == {200}  # of the fallback


async def test_the_built_in_policy_makes_them_all(gateway: app.Gateway) -> None:
    """What the budget is there for."""
    async with FakeUpstream(DOWN) as up, aiohttp.ClientSession() as http:
        config = make_config(up, policy="exponential")
        await asyncio.gather(*(post(gateway, http, config) for _ in range(20)))
        assert len(up.requests) == 60


async def test_a_single_failure_is_retried_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = await app.start(read_settings())
    try:
        async with FakeUpstream(DOWN, unary(ANSWER)) as up, aiohttp.ClientSession() as http:
            status, body = await post(gateway, http, make_config(up))
            assert len(up.requests) == 2
    finally:
        await gateway.stop()
    assert status == 200
    assert "Ahoy!" in body


async def test_a_failure_without_a_budget_and_without_a_fallback_is_the_providers(gateway: app.Gateway) -> None:
    async with FakeUpstream(DOWN) as up, aiohttp.ClientSession() as http:
        config = make_config(up)
        del config["targets"][1]
        status, body = await post(gateway, http, config)
        assert len(up.requests) == 1
    assert status == 503
    assert "down" in body


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
async def test_a_bad_budget_stops_the_start(row: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    name, most, _ = row
    monkeypatch.setenv(name, str(int(most) + 1))
    with pytest.raises(PluginError, match=rf"retry-budget .*\(register_retry_policies\).*{name}.* from 0 up to {most}"):
        await app.start(read_settings())


def test_the_readme_names_the_variables_and_their_defaults() -> None:
    assert len(ROWS) == 2
    assert plugin.read_limits({name: default for name, _, default in ROWS}) == plugin.Limits()
    assert plugin.read_limits({name: "1" for name, _, _ in ROWS}) == plugin.Limits(share=0.01, floor=1.0)
