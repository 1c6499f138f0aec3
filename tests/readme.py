"""README.md as its tests see it: fenced blocks, each with a name, and sections that are generated.

A block's name stands in a comment above it, ``<!-- test: curl-mock -->``; the word before the first dash says who runs
it (`RUNNERS`). Standard library only: the SDK environments read this too.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
ADDRESS = "127.0.0.1:8787"  # where the examples expect a gateway

RUNNERS = {
    "make": "tests/features/test_readme.py",
    "shell": "tests/features/test_readme.py",
    "curl": "tests/features/test_readme.py",
    "settings": "tests/features/test_readme.py",
    "config": "tests/features/test_readme.py",
    "answer": "tests/features/test_readme.py",
    "check": "tests/features/test_readme.py",
    "seed": "tests/features/test_seed_configs.py",
    "tree": "tests/features/test_readme_tables.py",
    "sdk": "tests/clients/sdk/test_readme.py",
    "llamaindex": "tests/clients/llamaindex/test_readme.py",
}
"""Who runs a block, by the first word of its name."""

_BLOCK = re.compile(
    r"(?:^<!-- test: (?P<name>[a-z0-9-]+) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_SECTION = re.compile(
    r"(?P<begin>^<!-- generated: (?P<name>[a-z-]+) -->\n)(?P<text>.*?)(?P<end>^<!-- end -->$)", re.MULTILINE | re.DOTALL
)


class Block(NamedTuple):
    """A fenced block; `name` is empty where the comment is missing."""

    name: str
    language: str
    text: str

    @property
    def runner(self) -> str:
        return self.name.partition("-")[0]

    def at(self, address: str) -> str:
        """The text, for a gateway that listens on `address` (host and port)."""
        return self.text.replace(ADDRESS, address)


def read_text() -> str:
    return README.read_text(encoding="utf-8")


def read_blocks(runner: str | None = None) -> list[Block]:
    """The blocks that `runner` runs, or all."""
    matches = _BLOCK.finditer(read_text())
    found = [Block(match["name"] or "", match["language"], match["text"]) for match in matches]
    return [block for block in found if runner in (None, block.runner)]


def read_block(name: str) -> Block:
    (block,) = [block for block in read_blocks() if block.name == name]
    return block


def read_sections(text: str) -> dict[str, str]:
    """The generated sections of `text`, by name."""
    return {match["name"]: match["text"] for match in _SECTION.finditer(text)}


def replace_sections(text: str, sections: dict[str, str]) -> str:
    """`text` with each of its sections as `sections` has it. Raises KeyError for one that nobody generates."""
    return _SECTION.sub(lambda match: match["begin"] + sections[match["name"]] + match["end"], text)
