"""plugins/README.md: its package is written, filled in and run as the page says, block by block."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from aiogateway import testing
from tests.plugin_page import PAGE, generate_sections
from tests.readme import ROOT, read_sections

FOLDER = "aiogateway-plugin-harbor"


class Block(NamedTuple):
    """A fenced block and what the comment above it says: run, printed, or the file it is, or is a part of."""

    kind: str
    path: str
    text: str


def read_blocks() -> list[Block]:
    found = re.findall(
        r"(?:^<!-- (\w+)(?:: (\S+))? -->\n)?^```\w*\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE
    )
    return [Block(*block) for block in found]


class Reader:
    """Somebody who follows the page in `home`. `site` is where pip would install to."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.site = home / "site"
        self.folder = home / FOLDER

    def run(self, *command: str, folder: Path | None = None) -> str:
        """Standard output of a Python module's command line; the package is imported from its source, as `-e` does."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIOGATEWAY_", "PYTEST_"))}
        path = os.pathsep.join(map(str, (self.folder, self.site, ROOT)))
        environ = {**kept, "PYTHONPATH": path, "UV_CACHE_DIR": str(self.home / "uv")}
        arguments = [sys.executable, "-m", *command]
        done = subprocess.run(
            arguments, cwd=folder or self.home, env=environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def install(self) -> None:
        options = ("--quiet", "--offline", "--no-deps", "--python", sys.executable, "--target", str(self.site))
        self.run("uv", "pip", "install", *options, str(self.folder))


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Reader, list[str]]:
    """The page followed to its end, and what its commands printed."""
    reader = Reader(tmp_path_factory.mktemp("reader"))
    printed: list[str] = []
    for block in read_blocks():
        if block.kind == "run":
            printed.append(reader.run(*shlex.split(block.text)))
        elif block.kind == "part":
            assert block.text in (reader.folder / block.path).read_text(), block.path
        elif block.kind == "file":
            folder = reader.home if block.path == "harbor.json" else reader.folder
            assert block.path == "harbor.json" or (folder / block.path).exists(), "the page fills in what was written"
            (folder / block.path).write_text(block.text)
        if not reader.site.exists():
            reader.install()
    return reader, printed


def test_every_block_says_what_becomes_of_it() -> None:
    assert {block.kind for block in read_blocks()} == {"run", "part", "file", "printed"}


def test_the_matrix_is_the_one_of_the_page(followed: tuple[Reader, list[str]]) -> None:
    (shown,) = [block.text for block in read_blocks() if block.kind == "printed"]
    _, battery, checked = followed[1]
    matrix, passed = battery.rstrip().rsplit("\n", 1)
    assert f"{matrix}\n" == shown
    assert re.fullmatch(r"\d\d passed, 0 failed", passed)
    assert checked == "ok: 1 target\n"


def test_its_own_tests_pass(followed: tuple[Reader, list[str]]) -> None:
    reader = followed[0]
    told = reader.run("pytest", "-q", "-p", "no:cacheprovider", folder=reader.folder)
    assert re.search(r"^\d\d passed in", told, re.MULTILINE), told


def test_the_gateway_lists_it(followed: tuple[Reader, list[str]]) -> None:
    told = followed[0].run("aiogateway", "plugins")
    assert re.search(rf"^harbor +{FOLDER} 0\.1\.0 +register_providers$", told, re.MULTILINE)


def test_its_code_is_tidy(followed: tuple[Reader, list[str]]) -> None:
    reader = followed[0]
    style = ("--isolated", "--no-cache", "--line-length", "120")
    reader.run("ruff", "check", *style, "--select", "B,E,F,I,N,PT,SIM,UP", ".", folder=reader.folder)
    reader.run("ruff", "format", *style, "--check", ".", folder=reader.folder)


def test_the_generated_sections_are_what_the_code_says() -> None:
    """If not: `make docs`."""
    assert read_sections(PAGE.read_text()) == generate_sections()


def test_what_the_page_names_is_there() -> None:
    text = PAGE.read_text()
    assert set(re.findall(r"`aiogateway\.testing\.(\w+)`", text)) <= set(testing.__all__)
    paths = re.findall(r"`(aiogateway/[\w/.]+\.py)`", text)
    assert paths
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert [name for name in re.findall(r"`([a-z-]+)/`", text) if not (ROOT / "plugins" / name).is_dir()] == []
