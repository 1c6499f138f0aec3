"""Runs the batteries of an installed provider: what ``aiogateway plugins test`` does.

They are found by convention, in ``tests/test_conformance*.py`` or ``tests/conformance/test_*.py``. The folder ``tests``
is in the plugin's package, where an installed one ships it, or beside the package in a source tree, which is known by
its pyproject.toml (what ``pip install -e`` links to).
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..registry import PluginInfo, Registry
from .case import Case
from .matrix import Matrix, read_matrix
from .recordings import Recording

if TYPE_CHECKING:
    import pytest

PATTERNS = ("test_conformance*.py", "conformance/test_*.py")
EXTRA = "aiogateway[testing]"


class BatteryError(Exception):
    """There is nothing to run, or nothing to run it with."""


@dataclass(frozen=True, slots=True)
class Report:
    """How the rules went: a matrix for each provider, by its name; `output` is pytest's own."""

    matrices: dict[str, Matrix]
    passed: int
    failed: int
    output: str


def run_battery(registry: Registry, name: str, folder: Path | None = None) -> Report:
    """Runs the rules for the providers that `name` stands for: a provider, or a plugin with all of its providers.

    `folder` holds the tests where they are not found by convention. Raises BatteryError.
    """
    if importlib.util.find_spec("pytest") is None:
        raise BatteryError(f"needs pytest: pip install '{EXTRA}'")
    plugin, providers = _choose(registry, name)
    folders = [folder] if folder is not None else list(find_folders(plugin))
    files = sorted({file for each in folders for pattern in PATTERNS for file in each.glob(pattern)})
    if not files:
        looked = ", ".join(map(str, folders)) or f"the package of {plugin.distribution}, and no source tree beside it"
        raise BatteryError(f"{name} ships no battery: no {' or '.join(PATTERNS)} in {looked}")
    return _run(files, providers)


def find_folders(plugin: PluginInfo) -> Iterator[Path]:
    """The folders ``tests`` that may hold a plugin's batteries."""
    module = sys.modules[plugin.module.partition(".")[0]]
    if module.__file__ is None or not hasattr(module, "__path__"):  # one file, which has no folder of its own
        return
    package = Path(module.__file__).parent
    if (package / "tests").is_dir():
        yield package / "tests"
    if (package.parent / "pyproject.toml").is_file() and (package.parent / "tests").is_dir():
        yield package.parent / "tests"


def _choose(registry: Registry, name: str) -> tuple[PluginInfo, tuple[str, ...]]:
    for plugin in registry.plugins:
        if name in plugin.providers:
            return plugin, (name,)
    for plugin in registry.plugins:
        if _normalize(name) in map(_normalize, (plugin.name, plugin.distribution)) and plugin.providers:
            return plugin, plugin.providers
    raise BatteryError(f"no loaded provider or plugin with providers is called {name!r}")


def _normalize(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()  # PEP 503


def _run(files: Iterable[Path], providers: Collection[str]) -> Report:
    import pytest  # noqa: PLC0415  (only in the extra)

    watch = _Watch(providers)
    options = ("-q", "--no-header", "--tb=short", "-p", "no:cacheprovider", "--import-mode=importlib")
    # neither the settings of the tree nor those of where we are: the rules need none
    own = ("-c", os.devnull, "-o", "asyncio_default_fixture_loop_scope=function")
    # modules get their names by the path from the root, so that two files of one name are two modules
    root = ("--rootdir", os.sep, "--confcutdir", os.path.commonpath([file.parent for file in files]))
    with contextlib.redirect_stdout(io.StringIO()) as output:
        status = pytest.main([*options, *own, *root, *map(str, files)], plugins=[watch])
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED):
        raise BatteryError(f"{output.getvalue()}the tests can't be run")
    if not watch.batteries:
        raise BatteryError(f"no battery for {', '.join(providers)} in {', '.join(map(str, files))}")
    matrices = {
        name: read_matrix(*batteries, failures=watch.failures) for name, batteries in sorted(watch.batteries.items())
    }
    return Report(matrices, watch.passed, len(watch.failed), output.getvalue())


@dataclass
class _Watch:
    """A pytest plugin: keeps the tests that are rules for `providers`, and notes what came of them."""

    providers: Collection[str]
    passed: int = 0
    failed: set[str] = field(default_factory=set)
    batteries: dict[str, list[type[Case]]] = field(default_factory=dict)
    failures: dict[type[Case], dict[str, list[str | None]]] = field(default_factory=dict)
    _places: dict[str, tuple[type[Case], str, str | None]] = field(default_factory=dict)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        kept: list[pytest.Item] = []
        for item in items:
            battery: Any = getattr(item, "cls", None)
            if not (isinstance(battery, type) and issubclass(battery, Case)):
                continue
            if battery.provider.name in self.providers:
                kept.append(item)
                self._note(item, battery)
        items[:] = kept

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.add(report.nodeid)
            battery, rule, recording = self._places[report.nodeid]
            self.failures.setdefault(battery, {}).setdefault(rule, []).append(recording)
        elif report.when == "call" and report.passed:
            self.passed += 1

    def _note(self, item: pytest.Item, battery: type[Case]) -> None:
        params = getattr(getattr(item, "callspec", None), "params", {})
        names = [value.name for value in params.values() if isinstance(value, Recording)]
        self._places[item.nodeid] = (battery, getattr(item, "originalname", item.name), next(iter(names), None))
        known = self.batteries.setdefault(battery.provider.name, [])
        if battery not in known:
            known.append(battery)
