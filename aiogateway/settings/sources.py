"""The three places that settings come from, each read into leaves: a file, the environment, flags."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import orjson

from aiogateway.config.fields import show, suggest
from aiogateway.errors import SettingsError
from aiogateway.settings.schema import ANY, CHILDREN, ENV_PREFIX, LEAVES, Leaf, Place

SUFFIXES = (".yaml", ".yml", ".toml", ".json")
FILE_VARIABLE = f"{ENV_PREFIX}CONFIG"

_VARIABLE = re.compile(r"\$(\$?)\{([^{}]*)\}")
_REFERENCE = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?", re.DOTALL)
# Kubernetes puts these into every container of a namespace that holds a service named "aiogateway".
_SERVICE = re.compile(rf"{ENV_PREFIX}(SERVICE_(HOST|PORT)(_\w+)?|PORT_\d+_(TCP|UDP)(_\w+)?)")


class Given(msgspec.Struct, frozen=True):
    """A raw value, the leaf it is for, and where it was found."""

    leaf: Leaf
    raw: Any
    source: str


Found = dict[Place, Given]


def read_flags(flags: Mapping[str, Any]) -> Found:
    """Settings by name; None is a flag that was not given."""
    found: Found = {}
    for name, value in flags.items():
        if value is not None:
            _flatten({name: value}, (), (), f"from --{name.replace('_', '-')}", found)
    return found


def read_environment(environ: Mapping[str, str]) -> Found:
    """``AIOGATEWAY_PORT``, ``AIOGATEWAY_DEADLINES__IDLE``; a section as a whole is a JSON object."""
    found: Found = {}
    for name in sorted(environ):  # a section comes before its parts, which beat it
        if name.startswith(ENV_PREFIX) and name != FILE_VARIABLE and not _is_service(name, environ[name]):
            _read_variable(name, environ[name], found)
    return found


def _is_service(name: str, value: str) -> bool:
    return _SERVICE.fullmatch(name) is not None or (
        name == f"{ENV_PREFIX}PORT" and value.startswith(("tcp://", "udp://"))
    )


def _read_variable(name: str, value: str, found: Found) -> None:
    pattern, place = _locate(name)
    if (leaf := LEAVES.get(pattern)) is not None:
        if value or leaf.base is tuple:  # an empty list means none; anything else empty counts as unset
            found[place] = Given(leaf, value, f"from {name}")
        return
    try:
        tree = orjson.loads(value)
    except orjson.JSONDecodeError:
        raise SettingsError("must be a JSON object", path=name) from None
    _flatten(tree, pattern, place, f"from {name}", found)


def _locate(name: str) -> tuple[Place, Place]:
    """The pattern and the place of an environment variable's setting."""
    if name == LEAVES["plugins", "load"].env_name:
        return ("plugins", "load"), ("plugins", "load")
    pattern: Place = ()
    place: Place = ()
    for part in name.removeprefix(ENV_PREFIX).lower().split("__"):
        names = CHILDREN.get(pattern, [])
        if ANY in names and part:
            pattern, place = (*pattern, ANY), (*place, part.replace("_", "-"))  # shells allow no dash in a name
        elif part in names:
            pattern, place = (*pattern, part), (*place, part)
        else:
            near = {leaf.env_name.lower(): leaf.env_name for leaf in LEAVES.values()}
            hint = suggest(name, near)
            raise SettingsError(
                f"is not a setting{hint.upper().replace('; DID YOU MEAN', '; did you mean')}", path=name
            )
    return pattern, place


def read_file(file: Path, environ: Mapping[str, str]) -> Found:
    """YAML, TOML or JSON by suffix, with ``${NAME}`` and ``${NAME:-default}`` in strings taken from `environ`."""
    if file.suffix.lower() not in SUFFIXES:
        raise SettingsError(f"must be a file ending in {', '.join(SUFFIXES)}", path=str(file))
    try:
        tree = _parse(file.read_bytes(), file.suffix.lower())
    except OSError as error:
        raise SettingsError(f"can't be read: {error.strerror}", path=str(file)) from None
    except ValueError as error:  # every parser's own error is one, as made sure in _parse
        raise SettingsError(f"is not valid {file.suffix[1:].upper()}: {error}", path=str(file)) from None
    found: Found = {}
    _flatten(_fill(tree, "", environ), (), (), f"in {file}", found)
    return found


def _parse(data: bytes, suffix: str) -> Any:
    if suffix == ".toml":
        return tomllib.loads(data.decode())
    if suffix == ".json":
        return orjson.loads(data)
    import yaml  # noqa: PLC0415  (15 ms that only users of YAML pay)

    try:
        return yaml.load(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  (both are safe loaders)
    except yaml.MarkedYAMLError as error:  # as text it may quote the line, which may hold a key
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ValueError(f"{error.problem} (line {line})") from None
    except yaml.YAMLError as error:
        raise ValueError(type(error).__name__) from None


def _fill(value: Any, path: str, environ: Mapping[str, str]) -> Any:
    """`value` with the variables in its strings replaced."""
    if isinstance(value, dict):
        return {key: _fill(item, f"{path}.{key}" if path else str(key), environ) for key, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, f"{path}[{index}]", environ) for index, item in enumerate(value)]
    return _VARIABLE.sub(lambda found: _replace(found, path, environ), value) if isinstance(value, str) else value


def _replace(found: re.Match[str], path: str, environ: Mapping[str, str]) -> str:
    if found[1]:  # $${NAME} is the text ${NAME}
        return found[0][1:]
    reference = _REFERENCE.fullmatch(found[2])
    if reference is None:
        raise SettingsError(f"{show(found[0])} must be ${{NAME}} or ${{NAME:-default}}", path=path)
    name, default = reference[1], reference[2]
    value = environ.get(name)
    if default is not None:
        return value or default
    if value is None:
        raise SettingsError(f"needs the environment variable {name}, which is not set", path=path)
    return value


def _flatten(tree: Any, pattern: Place, place: Place, source: str, found: Found) -> None:
    path = ".".join(place)
    if (leaf := LEAVES.get(pattern)) is not None:
        found[place] = Given(leaf, tree, source)
        return
    if tree is None:  # a section with nothing in it
        return
    if not isinstance(tree, dict):
        raise SettingsError(f"must be an object of settings ({source})", path=path)
    names = CHILDREN[pattern]
    for key, value in tree.items():
        step = ANY if ANY in names and isinstance(key, str) else key
        if step not in names:
            _refuse_name(key, pattern, (*place, str(key)), source)
        _flatten(value, (*pattern, step), (*place, key), source, found)


def _refuse_name(key: Any, pattern: Place, place: Place, source: str) -> None:
    if place == ("proxy",):
        raise SettingsError(f"comes from HTTPS_PROXY and NO_PROXY only ({source})", path="proxy")
    hint = suggest(str(key), CHILDREN[pattern]) or f"; there are: {', '.join(CHILDREN[pattern])}"
    raise SettingsError(f"is not a setting{hint} ({source})", path=".".join(place))
