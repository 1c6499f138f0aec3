"""One JSON object of a config: its fields by their snake_case names, each read by a reader of its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from aiogateway.config.fields import name_kind, show, suggest
from aiogateway.config.mistakes import Mistakes

Reader = Callable[[Any, str], Any]
"""Makes a value of a field's JSON (value, path). Never returns None; raises ConfigError."""
Refusal = Callable[[str], str]
"""What to say about a field of this name, which is unknown."""

_HUMP = re.compile(r"(?<=[a-z0-9])([A-Z])")
_WORD = re.compile(r"[A-Za-z0-9_-]{1,64}")


def to_snake(key: str) -> str:
    """A field's name, however it is spelled: ``requestTimeout`` is ``request_timeout``."""
    return _HUMP.sub(r"_\1", key).lower()


def join_path(path: str, name: str) -> str:
    """The address of the field `name` of the object at `path`; names that are no plain word are escaped."""
    word = name if _WORD.fullmatch(name) else show(name)
    return f"{path}.{word}" if path else word


def read_object(
    value: Any,
    path: str,
    readers: Mapping[str, Reader],
    mistakes: Mistakes,
    *,
    required: Mapping[str, str] | None = None,
    example: str = "",
) -> dict[str, Any]:
    """The fields that could be read. `required` says what each field that must be there is for."""
    if not isinstance(value, dict):
        like = f" such as {example}" if example else ""
        got = name_kind(value) if isinstance(value, str) else show(value)  # a string may be a pasted key
        mistakes.note(f"must be an object{like}, got {got}", path)
        return {}
    fields = spell_fields(value, path, mistakes)
    title = path.rpartition(".")[2]
    read = read_fields(fields, path, readers, mistakes, lambda name: _describe_unknown(name, title, readers))
    for name, meaning in (required or {}).items():
        if name not in fields:
            mistakes.note(f"is missing: {meaning}", join_path(path, name))
    return read


def spell_fields(raw: Mapping[str, Any], path: str, mistakes: Mistakes) -> dict[str, Any]:
    """Raw values by snake_case name, in the order of the text; nulls count as absent."""
    fields: dict[str, Any] = {}
    for key, value in raw.items():
        name = to_snake(key)
        if value is None:
            continue
        if name in fields:
            mistakes.note(f"is given twice, the second time as {show(key)}", join_path(path, name))
        else:
            fields[name] = value
    return fields


def read_fields(
    fields: Mapping[str, Any], path: str, readers: Mapping[str, Reader], mistakes: Mistakes, refuse: Refusal
) -> dict[str, Any]:
    """Spelled fields to values; those that `readers` don't know are refused in the words of `refuse`."""
    read: dict[str, Any] = {}
    for name, value in fields.items():
        reader = readers.get(name)
        if reader is None:
            mistakes.note("" if mistakes.full else refuse(name), join_path(path, name))
        elif (result := mistakes.take(reader, value, join_path(path, name))) is not None:
            read[name] = result
    return read


def _describe_unknown(name: str, title: str, known: Mapping[str, Reader]) -> str:
    return f"is not a field of {title}{suggest(name, known) or ' (there are: ' + ', '.join(sorted(known)) + ')'}"
