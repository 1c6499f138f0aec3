"""The sections of plugins/README.md that come out of the code: ``make docs`` writes them, its test compares."""

from __future__ import annotations

import importlib.util
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path

from aiogateway import hookspecs
from aiogateway.plugins import load_plugins
from aiogateway.settings import Settings
from aiogateway.testing import Matrix, ProviderConformance, State, read_matrix, tell_states
from tests.readme import ROOT, replace_sections

PAGE = ROOT / "plugins" / "README.md"
BATTERIES = ("tests/conformance/test_*.py", "plugins/*/tests/test_conformance*.py")
_MARKS = {State.HOLDS: "✓", State.NOT_OFFERED: "–", State.UNCHECKED: "?"}


def generate_sections() -> dict[str, str]:
    """Every generated section, by name."""
    return {"hooks": write_hooks(), "known": write_known()}


def write_hooks() -> str:
    """Every hook: how it is called, and what it is for."""
    entries = []
    for name, hook in vars(hookspecs).items():
        if hasattr(hook, f"{hookspecs.PROJECT}_spec"):
            text = re.sub("``+", "`", " ".join((inspect.getdoc(hook) or "").split()))
            entries.append(f"`{_write_signature(name, hook)}`\n" + textwrap.fill(text, 118, break_on_hyphens=False))
    return "".join(f"- {textwrap.indent(entry, '  ').lstrip()}\n" for entry in entries)


def write_known() -> str:
    """What recordings show of each registered provider, but for those of which none is the provider's own."""
    _, registry = load_plugins(Settings())
    matrices = {name: cells for name, cells in read_known().items() if name in registry.providers}
    known = {name: cells for name, cells in matrices.items() if any(cell.state is State.HOLDS for cell in cells)}
    head, *rows = tell_states(known)
    marked = [(f"`{name}`", *(_MARKS[State(state)] for state in states)) for name, *states in rows]
    lines = [head, ("---", *(":-:",) * (len(head) - 1)), *marked]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def read_known() -> Mapping[str, Matrix]:
    """The matrix of each provider that has a battery in this tree, by its name."""
    batteries: dict[str, list[type[ProviderConformance]]] = {}
    for pattern in BATTERIES:
        for file in sorted(ROOT.glob(pattern)):
            for battery in _import_batteries(file):
                batteries.setdefault(battery.provider.name, []).append(battery)
    return {name: read_matrix(*found) for name, found in sorted(batteries.items())}


def _import_batteries(file: Path) -> Iterator[type[ProviderConformance]]:
    name = "_".join(file.relative_to(ROOT).with_suffix("").parts)
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for title, value in vars(module).items():
        if title.startswith("Test") and isinstance(value, type) and issubclass(value, ProviderConformance):
            yield value


def _write_signature(name: str, hook: object) -> str:
    assert callable(hook)
    signature = inspect.signature(hook)
    taken = ", ".join(f"{parameter.name}: {parameter.annotation}" for parameter in signature.parameters.values())
    return f"{'async ' if inspect.iscoroutinefunction(hook) else ''}{name}({taken}) -> {signature.return_annotation}"


def main() -> None:
    """Rewrites the page."""
    PAGE.write_text(replace_sections(PAGE.read_text(encoding="utf-8"), generate_sections()), encoding="utf-8")


if __name__ == "__main__":
    main()
