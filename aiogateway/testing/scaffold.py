"""Writes a provider package that installs, loads and passes its own tests: ``aiogateway plugins new``.

The folder `template` holds it, for a provider called *harbor*, which each name below then takes the place of.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath

from ..plugins import load_plugins
from ..settings import PluginSettings, Settings

SUFFIX = ".txt"
"""What each file of the template has at its end, so that nobody takes it for the gateway's own."""
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
_LONGEST = 40


class ScaffoldError(Exception):
    """The package can't be written."""


def write_package(name: str, into: Path) -> Path:
    """Makes the folder ``aiogateway-plugin-<name>`` in `into`. Raises ScaffoldError, and writes nothing then.

    `name` is what configs will call the provider: lower-case words joined by dashes.
    """
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise ScaffoldError(f"a provider's name is lower-case letters, digits and single dashes, got {name!r}")
    _, registry = load_plugins(Settings(plugins=PluginSettings(load=())))
    if name in registry.providers:
        raise ScaffoldError(f"the provider {name!r} is built in")
    folder = into / f"aiogateway-plugin-{name}"
    if folder.exists():
        raise ScaffoldError(f"{folder} is there already")
    for path, data in read_template(name).items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return folder


def read_template(name: str) -> dict[str, bytes]:
    """The files of the package for `name`, by their path in it."""
    module = f"aiogateway_plugin_{name.replace('-', '_')}"
    template = {
        path: file.read_bytes() for path, file in _walk(files("aiogateway.testing") / "template", PurePosixPath())
    }
    names = (
        (b"aiogateway_plugin_harbor", module.encode()),
        (b"Harbor", _choose_class(name, template.values())),
        (b"harbor", name.encode()),
    )
    found: dict[str, bytes] = {}
    for path, data in template.items():
        for ours, theirs in names:
            data = data.replace(ours, theirs)
        first, *rest = path.parts
        parts = (module if first == "package" else first, *rest)
        found["/".join(parts).removesuffix(SUFFIX)] = data
    return found


def _choose_class(name: str, template: Iterable[bytes]) -> bytes:
    """A class name that the template doesn't use for something else, such as Path."""
    chosen = "".join(word.capitalize() for word in name.split("-")).encode()
    if chosen != b"Harbor" and any(re.search(rb"\b%b\b" % chosen, data) for data in template):
        return chosen + b"Provider"
    return chosen


def _walk(folder: Traversable, at: PurePosixPath) -> Iterator[tuple[PurePosixPath, Traversable]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _walk(entry, at / entry.name)
        elif entry.name.endswith(SUFFIX):
            yield at / entry.name, entry
