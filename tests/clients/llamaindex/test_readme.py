"""The README's examples for LlamaIndex."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clients.examples import KEY, OPERATORS_KEY, run_example, serving_openai, serving_readme_settings
from tests.clients.upstream import TEXT, Upstream
from tests.readme import Block, read_blocks

EXPECTED = {
    "llamaindex-openai": (serving_openai, KEY, "gpt-4o-mini"),
    "llamaindex-like": (serving_openai, "none", "llama3"),
    "llamaindex-default": (serving_readme_settings, OPERATORS_KEY, "gpt-4o-mini"),
}
"""How the gateway is served for an example, and the key and the model that reach the provider."""


@pytest.mark.parametrize("block", read_blocks("llamaindex"), ids=lambda block: block.name)
def test_example(block: Block, upstream: Upstream, tmp_path: Path) -> None:
    serve, key, model = EXPECTED[block.name]

    with serve(upstream, tmp_path) as address:
        assert run_example(block, address, upstream) == TEXT

    assert upstream.last.headers["authorization"] == f"Bearer {key}"
    assert upstream.last.json["model"] == model
    assert upstream.last.json["stream"] is True
