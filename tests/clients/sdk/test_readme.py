"""The README's examples for OpenAI's and Portkey's SDKs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.clients.examples import KEY, run_example, serving_openai
from tests.clients.upstream import TEXT, Upstream
from tests.readme import Block, read_blocks


@pytest.fixture(scope="module")
def address(running_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving_openai(running_upstream, tmp_path_factory.mktemp("readme")) as address:
        yield address


@pytest.mark.parametrize("block", read_blocks("sdk"), ids=lambda block: block.name)
def test_example(block: Block, address: str, upstream: Upstream) -> None:
    assert run_example(block, address, upstream) == TEXT
    assert upstream.last.headers["authorization"] == f"Bearer {KEY}"
    assert upstream.last.json["messages"] == [{"role": "user", "content": "Ahoy"}]
