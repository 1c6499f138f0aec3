from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from aiogateway.testing import unary
from aiogateway.testing.fixtures import StartGateway, StartUpstream, start_gateway, start_upstream

__all__ = ["start_gateway", "start_upstream"]

CHAT = {"model": "m", "messages": []}


async def test_a_fallback_beside_the_gateway(start_gateway: StartGateway, start_upstream: StartUpstream) -> None:
    other = await start_upstream(unary(b'{"choices":[]}'))
    live = await start_gateway(unary(b"{}", status=503))
    targets = [live.config, {**live.config, "custom_host": other.url}]
    config = {**dict.fromkeys(live.config), "strategy": {"mode": "fallback"}, "targets": targets}
    answer = await live.ask(CHAT, config=config)
    assert (answer.status, len(live.upstream.requests), len(other.requests)) == (200, 1, 1)


PLUGIN_TEST = """
from aiogateway.testing import unary

ENDED = []


async def test_starts(start_gateway):
    live = await start_gateway(unary(b'{"choices":[]}'))
    ENDED.append(live.gateway)
    assert (await live.ask({"model": "m", "messages": []})).status == 200


def test_ended():
    assert ENDED[0].http.closed
"""


def test_a_plugins_tests_find_them_without_asyncio_mode(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["aiogateway.testing.fixtures"]\n')
    (tmp_path / "test_it.py").write_text(PLUGIN_TEST.replace("async def test", "@pytest.mark.asyncio\nasync def test"))
    text = "import pytest\n" + (tmp_path / "test_it.py").read_text()
    (tmp_path / "test_it.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
