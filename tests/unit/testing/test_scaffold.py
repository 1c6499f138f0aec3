"""The package that ``aiogateway plugins new`` writes: it installs, loads and passes its own tests as it is."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from aiogateway import cli
from aiogateway.testing.scaffold import ScaffoldError, read_template, write_package

ROOT = Path(__file__).parents[3]


def run(folder: Path, *command: str, path: tuple[Path, ...] = ()) -> subprocess.CompletedProcess[str]:
    """A Python module's command line, without anything of this tree's but the gateway itself."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AIOGATEWAY_", "PYTEST_"))}
    environ = {**kept, "UV_CACHE_DIR": str(folder / "uv"), "PYTHONPATH": os.pathsep.join(map(str, path))}
    arguments = [sys.executable, "-m", *command]
    return subprocess.run(arguments, cwd=folder, env=environ, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two words, so that module, class and name differ in more than their case."""
    return write_package("east-pier", tmp_path_factory.mktemp("written"))


@pytest.fixture(scope="module")
def installed(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built and installed by uv, which brings the build backend along, so that no network is asked for."""
    target = tmp_path_factory.mktemp("site")
    options = ("--quiet", "--offline", "--no-deps", "--python", sys.executable, "--target", str(target))
    done = run(target, "uv", "pip", "install", *options, str(written))
    assert done.returncode == 0, done.stderr
    return target


def test_it_is_two_files_and_what_belongs_to_them(written: Path) -> None:
    assert written.name == "aiogateway-plugin-east-pier"
    assert sorted(str(path.relative_to(written)) for path in written.rglob("*") if path.is_file()) == [
        "README.md",
        "aiogateway_plugin_east_pier/__init__.py",
        "aiogateway_plugin_east_pier/provider.py",
        "aiogateway_plugin_east_pier/py.typed",
        "pyproject.toml",
        "tests/conftest.py",
        "tests/recordings/chat_stream.rec",
        "tests/recordings/chat_unary.rec",
        "tests/recordings/error_key.rec",
        "tests/test_conformance.py",
        "tests/test_provider.py",
    ]
    texts = [path.read_text() for path in written.rglob("*") if path.is_file()]
    assert not any(re.search(r"\bharbor\b|_harbor", text, re.IGNORECASE) for text in texts)


def test_it_is_listed_once_it_is_installed(installed: Path) -> None:
    done = run(installed, "aiogateway", "plugins", path=(installed, ROOT))
    assert done.returncode == 0, done.stderr
    assert re.search(r"^east-pier +aiogateway-plugin-east-pier 0\.1\.0 +register_providers$", done.stdout, re.MULTILINE)


def test_it_passes_its_own_tests(written: Path, installed: Path) -> None:
    done = run(written, "pytest", "-q", "-p", "no:cacheprovider", path=(installed, ROOT))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^\d\d passed", done.stdout, re.MULTILINE), done.stdout


def test_its_battery_runs_where_its_source_is_linked(written: Path, installed: Path) -> None:
    done = run(written, "aiogateway", "plugins", "test", "east-pier", path=(written, installed, ROOT))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("east-pier\n  unary  ")
    assert re.search(r"^  stream +unchecked +shown by OpenAI's SDK only$", done.stdout, re.MULTILINE)
    assert re.search(r"^  embeddings +not offered$", done.stdout, re.MULTILINE)
    assert re.search(r"^\d\d passed, 0 failed$", done.stdout, re.MULTILINE)


def test_recordings_of_its_own_make_the_cells_hold(written: Path, installed: Path, tmp_path: Path) -> None:
    tests = tmp_path / "tests"
    (tests / "recordings").mkdir(parents=True)
    for path in (written / "tests/recordings").iterdir():
        (tests / "recordings" / path.name).write_bytes(path.read_bytes())
    text = (written / "tests/test_conformance.py").read_text()
    (tests / "test_conformance.py").write_text(re.sub(r"^ *stand_in.*\n", "", text, flags=re.MULTILINE))
    done = run(tmp_path, "aiogateway", "plugins", "test", "east-pier", "--tests", "tests", path=(installed, ROOT))
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^  stream +holds +chat_stream\.rec$", done.stdout, re.MULTILINE)


def test_an_installed_one_without_tests_says_where_they_would_be(installed: Path) -> None:
    done = run(installed, "aiogateway", "plugins", "test", "east-pier", path=(installed, ROOT))
    assert done.returncode == 2
    assert done.stderr.startswith("Error: east-pier ships no battery: no test_conformance*.py")


def test_it_is_tidy(written: Path) -> None:
    style = ("--isolated", "--no-cache", "--line-length", "120")
    rules = ("--select", "ANN,B,E,F,I,N,PT,RUF,SIM,UP", "--ignore", "RUF012")
    checked = run(written, "ruff", "check", *style, *rules, ".")
    assert checked.returncode == 0, checked.stdout
    formatted = run(written, "ruff", "format", *style, "--check", ".")
    assert formatted.returncode == 0, formatted.stdout


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("Harbor", "lower-case"),
        ("9piers", "lower-case"),
        ("east_pier", "lower-case"),
        ("east--pier", "lower-case"),
        ("../pier", "lower-case"),
        ("", "lower-case"),
        ("p" * 41, "lower-case"),
        ("openai", "the provider 'openai' is built in"),
    ],
)
def test_a_name_that_would_not_do_is_refused(tmp_path: Path, name: str, says: str) -> None:
    with pytest.raises(ScaffoldError, match=says):
        write_package(name, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "aiogateway-plugin-pier").mkdir()
    with pytest.raises(ScaffoldError, match="is there already"):
        write_package("pier", tmp_path)
    assert list((tmp_path / "aiogateway-plugin-pier").iterdir()) == []


def test_a_class_name_that_the_tests_import_is_made_another() -> None:
    provider = read_template("path")["aiogateway_plugin_path/provider.py"].decode()
    assert "class PathProvider(BaseProvider):" in provider


def test_the_command_says_what_to_do_next(tmp_path: Path) -> None:
    runner = CliRunner()
    done = runner.invoke(cli.main, ["plugins", "new", "pier", "--into", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert f"pip install -e '{tmp_path}/aiogateway-plugin-pier[test]'" in done.output
    again = runner.invoke(cli.main, ["plugins", "new", "pier", "--into", str(tmp_path)])
    assert (again.exit_code, len(again.stderr.splitlines())) == (2, 1)
