"""One scripted upstream and two gateways for a whole run: one bare, one with a ``default_config`` of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from tests.clients.gateway import serving
from tests.clients.upstream import Upstream

# SDKs read these; a developer's own must not leak into a test.
for _name in [name for name in os.environ if name.startswith(("ANTHROPIC_", "OPENAI_", "PORTKEY_"))]:
    del os.environ[_name]
for _name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
    os.environ.pop(_name, None)


@pytest.fixture(scope="session")
def running_upstream() -> Iterator[Upstream]:
    upstream = Upstream()
    upstream.start()
    yield upstream
    upstream.stop()


@pytest.fixture
def upstream(running_upstream: Upstream) -> Upstream:
    """The scripted upstream, with nothing seen and nothing wrong."""
    running_upstream.reset()
    return running_upstream


@pytest.fixture(scope="session")
def bare_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``http://127.0.0.1:PORT/v1`` of a gateway without settings: the caller names the target."""
    with serving(tmp_path_factory.mktemp("bare")) as url:
        yield f"{url}/v1"


@pytest.fixture(scope="session")
def default_gateway(tmp_path_factory: pytest.TempPathFactory, running_upstream: Upstream) -> Iterator[str]:
    """``http://127.0.0.1:PORT/v1`` of a gateway whose settings name the target, for callers that set no headers."""
    folder = tmp_path_factory.mktemp("default")
    settings = {
        "default_config": {"provider": "openai", "custom_host": running_upstream.url, "api_key": "sk-ours"},
    }
    file = folder / "settings.yaml"
    file.write_text(json.dumps(settings))  # JSON is YAML
    with serving(folder, "--config", str(file)) as url:
        yield f"{url}/v1"
