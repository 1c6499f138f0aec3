"""Reading a client's request field by field: the right type, or a RequestError that names the field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiogateway.errors import RequestError


def take_text(body: Mapping[str, Any], name: str, path: str = "") -> str:
    """A string that has to be there."""
    value = body.get(name)
    if not isinstance(value, str):
        raise wrong(name, path, "a string")
    return value


def take_optional_text(body: Mapping[str, Any], name: str, path: str = "") -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise wrong(name, path, "a string")
    return value


def take_number(body: Mapping[str, Any], name: str) -> float | None:
    value = body.get(name)
    if value is not None and (not isinstance(value, (int, float)) or isinstance(value, bool)):
        raise wrong(name, "", "a number")
    return value


def take_count(body: Mapping[str, Any], name: str, path: str = "") -> int | None:
    value = body.get(name)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool)):
        raise wrong(name, path, "a whole number")
    return value


def take_flag(body: Mapping[str, Any], name: str, path: str = "") -> bool | None:
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise wrong(name, path, "true or false")
    return value


def take_object(body: Mapping[str, Any], name: str, path: str = "") -> Mapping[str, Any] | None:
    value = body.get(name)
    if value is not None and not isinstance(value, Mapping):
        raise wrong(name, path, "an object")
    return value


def take_objects(body: Mapping[str, Any], name: str, path: str = "") -> Sequence[Mapping[str, Any]]:
    """A list of objects; absent and null are an empty one."""
    value = body.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, Mapping) for item in value):
        raise wrong(name, path, "a list of objects")
    return value


def take_texts(body: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A string, or a list of them."""
    value = body.get(name)
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise wrong(name, "", "a string or a list of strings")
    return tuple(value)


def wrong(name: str, path: str, wanted: str) -> RequestError:
    """`path` ends in a dot where there is one."""
    return RequestError(f"{path}{name} must be {wanted}", param=path + name)
