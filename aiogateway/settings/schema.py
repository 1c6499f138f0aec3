"""The settings as a table of leaves, and how one raw value becomes a leaf's value."""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NoReturn, get_args, get_origin, get_type_hints

import msgspec
import orjson
from msgspec import Meta

from aiogateway.config.fields import read_secret, show
from aiogateway.errors import ConfigError, SettingsError
from aiogateway.settings.model import DEADLINES, ProxySettings, Settings
from aiogateway.types import Deadlines, Secret

Place = tuple[str, ...]

ENV_PREFIX = "AIOGATEWAY_"
ANY = "*"
"""Stands for a key that the operator chooses, such as a provider's name."""

_SIZE = re.compile(r"([0-9]+)\s*([KMGT]?I?B)", re.IGNORECASE)
_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}
# Short names where the long one would read oddly.
_ENV_NAMES: Mapping[Place, str] = {("plugins", "load"): f"{ENV_PREFIX}PLUGINS"}


class Leaf(msgspec.Struct, frozen=True):
    """One setting. `hint` is its annotated type, `base` the type without None and bounds."""

    place: Place
    hint: Any
    base: Any
    default: Any
    text: str
    optional: bool
    meta: tuple[Meta, ...]

    @property
    def secret(self) -> bool:
        """Whether its value may not be shown (an object may hold anything)."""
        return self.base in (Secret, dict)

    @property
    def is_size(self) -> bool:
        return any((meta.extra or {}).get("size") for meta in self.meta)

    @property
    def allowed(self) -> str:
        """What may be put there."""
        if get_origin(self.base) is Literal:
            return f"one of {', '.join(get_args(self.base))}"
        if self.is_size:
            return "a size: bytes, or a number with KiB, MiB, GiB, kB, MB or GB"
        words = _WORDS[self.base]
        low = next((f" above {meta.gt:g}" for meta in self.meta if meta.gt is not None), "")
        low = next((f" from {meta.ge:g}" for meta in self.meta if meta.ge is not None), low)
        high = next((f" up to {meta.le:g}" for meta in self.meta if meta.le is not None), "")
        return words + low + high

    @property
    def env_name(self) -> str:
        if self.place in _ENV_NAMES:
            return _ENV_NAMES[self.place]
        return ENV_PREFIX + "__".join("<NAME>" if part == ANY else part.upper() for part in self.place)


_WORDS: Mapping[Any, str] = {
    str: "a string that is not empty",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    Path: "a path",
    Secret: "a string of printable ASCII characters",
    tuple: "a list of strings",
    dict: "an object",
}


class SettingRow(msgspec.Struct, frozen=True):
    """A setting as a settings page shows it."""

    name: str
    env: str
    kind: str
    default: str
    text: str


def describe_settings() -> list[SettingRow]:
    """Every setting, in the order of the model."""
    return [
        SettingRow(
            ".".join("<name>" if part == ANY else part for part in leaf.place),
            leaf.env_name,
            leaf.allowed,
            _show_default(leaf.default),
            leaf.text,
        )
        for leaf in LEAVES.values()
    ]


def _show_default(value: Any) -> str:
    if value is None or value in ((), {}):
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _list_leaves(struct: type[msgspec.Struct], place: Place) -> dict[Place, Leaf]:
    hints = DEADLINES if struct is Deadlines else get_type_hints(struct, include_extras=True)
    leaves: dict[Place, Leaf] = {}
    for field in msgspec.structs.fields(struct):
        here = (*place, field.name)
        base, meta, optional = _take_apart(hints[field.name])
        if base is ProxySettings:
            continue
        if isinstance(base, type) and issubclass(base, msgspec.Struct):
            leaves |= _list_leaves(base, here)
        elif get_origin(base) is dict and issubclass(kind := get_args(base)[1], msgspec.Struct):
            leaves |= _list_leaves(kind, (*here, ANY))
        else:
            base = get_origin(base) if get_origin(base) in (tuple, dict) else base
            text = next(meta.description for meta in reversed(meta) if meta.description)
            # A default that a function makes depends on the machine, so it has no one value to show.
            default = None if field.default is msgspec.NODEFAULT else field.default
            leaves[here] = Leaf(here, hints[field.name], base, default, text, optional, meta)
    return leaves


def _take_apart(hint: Any) -> tuple[Any, tuple[Meta, ...], bool]:
    """A hint's type without None, its metas, and whether it may be None."""
    meta: tuple[Meta, ...] = ()
    if get_origin(hint) is Annotated:
        meta = tuple(item for item in hint.__metadata__ if isinstance(item, Meta))
        hint = get_args(hint)[0]
    if get_origin(hint) in (UnionType, typing.Union):
        kept = [kind for kind in get_args(hint) if kind is not NoneType]
        return kept[0], meta, True
    return hint, meta, False


LEAVES: Mapping[Place, Leaf] = _list_leaves(Settings, ())
"""Every setting by its place."""

_Children = dict[Place, list[str]]


def _list_children() -> _Children:
    children: _Children = {}
    for place in LEAVES:
        for depth in range(len(place)):
            names = children.setdefault(place[:depth], [])
            if place[depth] not in names:
                names.append(place[depth])
    return children


CHILDREN: Mapping[Place, list[str]] = _list_children()
"""The names below each section."""


def read_leaf(leaf: Leaf, raw: Any, path: str, source: str) -> Any:
    """A leaf's value from what a file, the environment or a flag said. Raises SettingsError."""
    if leaf.optional and (raw is None or (raw == "" and leaf.base is not tuple)):  # an empty list is a choice
        return None
    try:
        return msgspec.convert(_prepare(leaf, raw), leaf.hint, strict=False, dec_hook=_decode)
    except (ValueError, ConfigError):  # msgspec.ValidationError is a ValueError
        _refuse(leaf, raw, path, source)


def _refuse(leaf: Leaf, raw: Any, path: str, source: str) -> NoReturn:
    got = "" if leaf.secret else f", got {show(raw)}"
    raise SettingsError(f"must be {leaf.allowed}{got} ({source})", path=path) from None


def _prepare(leaf: Leaf, raw: Any) -> Any:
    """The raw value in the shape that msgspec reads; ValueError when it can't be."""
    if leaf.base in (str, Path, Secret) and not (isinstance(raw, str | Path) and str(raw)):
        raise ValueError(raw)
    if leaf.base is dict:
        return orjson.loads(raw) if isinstance(raw, str) else _to_json(raw)
    if not isinstance(raw, str):
        return str(raw) if isinstance(raw, Path) else raw
    if leaf.base is tuple:
        return [item.strip() for item in raw.split(",") if item.strip()]
    if leaf.is_size and (size := _SIZE.fullmatch(raw.strip())):
        return int(size[1]) * _UNITS[size[2].upper()]
    return raw.lower() if get_origin(leaf.base) is Literal else raw


def _to_json(value: Any) -> Any:
    """As JSON would hold it: a date, which YAML and TOML know, is a string there."""
    try:
        return orjson.loads(orjson.dumps(value))
    except orjson.JSONEncodeError as error:  # a TypeError
        raise ValueError(str(error)) from None


def _decode(kind: type, value: str) -> Secret | Path:
    return read_secret(value, "") if kind is Secret else Path(value).expanduser()
