"""The README's Python examples as a reader would run them: pasted, against a gateway whose OpenAI is scripted."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.clients.gateway import serving
from tests.clients.upstream import Upstream
from tests.readme import ADDRESS, Block, read_block

KEY = "sk-caller"
OPERATORS_KEY = "sk-ours"
LOCAL_SERVER = "http://127.0.0.1:8000/v1"  # where the examples expect an OpenAI-compatible server of the reader's
LIMIT = 60.0


@contextlib.contextmanager
def serving_openai(upstream: Upstream, folder: Path, *, settings: str = "providers:\n  openai:\n") -> Iterator[str]:
    """``HOST:PORT`` of a gateway with `settings` (YAML) for which OpenAI is `upstream`."""
    place = "  openai:\n"
    assert place in settings
    file = folder / "settings.yaml"
    file.write_text(settings.replace(place, f"{place}    base_url: {upstream.url}\n"))
    with serving(folder, "--config", str(file)) as url:
        yield url.removeprefix("http://")


@contextlib.contextmanager
def serving_readme_settings(upstream: Upstream, folder: Path) -> Iterator[str]:
    """As `serving_openai`, with the README's settings file."""
    settings = read_block("settings-file").text.replace("${OPENAI_API_KEY}", OPERATORS_KEY)
    with serving_openai(upstream, folder, settings=settings) as address:
        yield address


def run_example(block: Block, address: str, upstream: Upstream) -> str:
    """What `block` prints when the gateway is at `address`."""
    assert ADDRESS in block.text
    done = subprocess.run(
        [sys.executable, "-c", block.at(address).replace(LOCAL_SERVER, upstream.url)],
        env={**os.environ, "OPENAI_API_KEY": KEY},
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=LIMIT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
