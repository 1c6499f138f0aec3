from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from aiogateway import cli, plugins
from aiogateway.registry import PluginInfo, Registry
from aiogateway.testing.battery import BatteryError, find_folders, run_battery
from tests.unit.testing.toy import FILES, SKIPS, ToyProvider, write_recordings

TEST = f"""
from pathlib import Path

from aiogateway.testing import ProviderConformance
from tests.unit.testing.toy import ToyDialect, ToyProvider


class TestToy(ProviderConformance):
    provider = ToyProvider()
    dialects = (ToyDialect(),)
    recordings = Path(__file__).parent
    skips = {SKIPS!r}


def test_of_something_else():
    assert False, "no rule, so not run"
"""
OTHER = TEST.replace("provider = ToyProvider()", "provider = type('Other', (ToyProvider,), {'name': 'other'})()")


def make_registry(module: str = "tests.unit.testing.toy") -> Registry:
    toy = PluginInfo(
        name="toys", distribution="toy-box", version="1", hooks=(), builtin=False, providers=("toy",), module=module
    )
    return Registry(providers={"toy": ToyProvider()}, plugins=(toy,))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "test_conformance.py").write_text(TEST)
    return write_recordings(tmp_path)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy's plugin, as if it were installed."""
    monkeypatch.setattr(plugins, "load_plugins", lambda *_, **__: (None, make_registry()))


@pytest.mark.parametrize("name", ["toy", "toys", "Toy_Box"])
def test_the_rules_run_for_a_provider_or_all_of_a_plugin(folder: Path, name: str) -> None:
    report = run_battery(make_registry(), name, folder)
    assert (list(report.matrices), report.failed) == (["toy"], 0), report.output
    assert report.passed > 50
    assert {str(cell.state) for cell in report.matrices["toy"]} == {"holds", "not offered"}


def test_a_rule_that_fails_shows_in_the_matrix(folder: Path) -> None:
    (folder / "vectors.rec").write_text((folder / "vectors.rec").read_text().replace("[1.0]", "[1.0],[2.0]"))
    report = run_battery(make_registry(), "toy", folder)
    cells = {str(cell.feature): cell for cell in report.matrices["toy"]}
    assert report.failed == 1
    assert (str(cells["embeddings"].state), cells["embeddings"].text) == ("failed", "test_content_arrives")
    assert str(cells["tools"].state) == "holds"
    assert "3 vectors for 2 inputs" in report.output


def test_batteries_are_found_by_their_files_names(tmp_path: Path) -> None:
    (tmp_path / "conformance").mkdir()
    (tmp_path / "conformance/test_toy.py").write_text(TEST)
    (tmp_path / "test_elsewhere.py").write_text("assert False, 'never imported'")
    write_recordings(tmp_path / "conformance", FILES)
    assert run_battery(make_registry(), "toy", tmp_path).failed == 0


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (OTHER, r"no battery for toy in .*test_conformance\.py$"),
        ("import no_such_module_anywhere", r"(?s)No module named 'no_such_module_anywhere'.*the tests can't be run$"),
        (None, r"^toy ships no battery: no test_conformance\*\.py or conformance/test_\*\.py in "),
    ],
)
def test_what_can_not_run_is_told(tmp_path: Path, text: str | None, says: str) -> None:
    if text is not None:
        (write_recordings(tmp_path) / "test_conformance.py").write_text(text)
    with pytest.raises(BatteryError, match=says):
        run_battery(make_registry(), "toy", tmp_path)


def test_a_name_that_nobody_has_is_told(folder: Path) -> None:
    with pytest.raises(BatteryError, match="no loaded provider or plugin with providers is called 'tyo'"):
        run_battery(make_registry(), "tyo", folder)


def test_without_pytest_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, toy: None) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    done = CliRunner().invoke(cli.main, ["plugins", "test", "toy"])
    assert (done.exit_code, done.stderr) == (2, "Error: needs pytest: pip install 'aiogateway[testing]'\n")


def test_the_command_prints_the_matrix(folder: Path, toy: None) -> None:
    done = CliRunner().invoke(cli.main, ["plugins", "test", "toy", "--tests", str(folder)])
    assert done.exit_code == 0, done.output
    first, unary, *_, last = done.stdout.splitlines()
    assert (first, unary.split()) == ("toy", ["unary", "holds", "tools.rec", "and", "1", "more"])
    assert last.endswith(" passed, 0 failed")


def test_the_command_shows_what_failed(folder: Path, toy: None) -> None:
    (folder / "stream.rec").write_text((folder / "stream.rec").read_text().replace('text: "', 'text: "x'))
    done = CliRunner().invoke(cli.main, ["plugins", "test", "toy", "--tests", str(folder)])
    assert done.exit_code == 1
    assert "stream.rec: text 'hé!', not 'xhé!'" in done.stdout
    assert done.stdout.splitlines()[-1].endswith(" passed, 1 failed")


def make_module(monkeypatch: pytest.MonkeyPatch, package: Path | None) -> PluginInfo:
    module = ModuleType("toybox")
    module.__file__ = str(package / "__init__.py" if package else "/nowhere/toybox.py")
    if package:
        package.mkdir()
        module.__path__ = [str(package)]
    monkeypatch.setitem(sys.modules, "toybox", module)
    return make_registry("toybox.plugin").plugins[0]


def test_the_tests_are_in_the_package_or_beside_it_in_a_source_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin = make_module(monkeypatch, tmp_path / "toybox")
    (tmp_path / "tests").mkdir()  # of another distribution, as long as no pyproject.toml is beside it
    assert list(find_folders(plugin)) == []
    (tmp_path / "toybox/tests").mkdir()
    assert list(find_folders(plugin)) == [tmp_path / "toybox/tests"]
    (tmp_path / "pyproject.toml").touch()
    assert list(find_folders(plugin)) == [tmp_path / "toybox/tests", tmp_path / "tests"]


def test_a_plugin_of_one_file_has_no_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(find_folders(make_module(monkeypatch, None))) == []
    with pytest.raises(BatteryError, match="in the package of toy-box, and no source tree beside it"):
        run_battery(make_registry("toybox"), "toy")
