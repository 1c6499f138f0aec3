"""Single values of configs and headers, read and checked alike wherever they come from.

Each reader raises ConfigError(`path`), which never holds a secret's value.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

import orjson

from aiogateway.config.hosts import HOST_LABEL, parse_base_url
from aiogateway.config.model import MAX_TIMEOUT
from aiogateway.errors import ConfigError
from aiogateway.types import GATEWAY_PREFIXES, HOP_BY_HOP, Option, Secret

CONTROL = re.compile(r"[\x00-\x1f\x7f]")

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")  # RFC 9110, field names
_KEY = re.compile(r"[\x20-\x7e]+")
_SHOWN = 80
_KINDS = {
    str: "a string",
    bool: "true or false",
    int: "an integer",
    float: "a number",
    dict: "an object",
    list: "a list",
}
# Also those that the transport writes itself.
_NOT_FORWARDED = HOP_BY_HOP | {"accept-encoding", "content-length", "cookie", "expect", "host"}


def suggest(word: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"``, or nothing when no known word is near."""
    near = difflib.get_close_matches(word.lower(), list(known), n=1, cutoff=0.7)
    return f"; did you mean {near[0]!r}?" if near else ""


def show(value: Any) -> str:
    """A value for an error message: escaped, and cut when it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def read_text(value: Any, path: str) -> str:
    """A string with something in it and no control characters."""
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"must be a string that is not empty, got {show(value)}", path=path)
    if CONTROL.search(value):
        raise ConfigError("must not hold control characters", path=path)
    return value


def read_secret(value: Any, path: str) -> Secret:
    """A credential: printable ASCII, since it travels in a header."""
    if not isinstance(value, str) or not _KEY.fullmatch(value.strip()):
        raise ConfigError("must be a string of printable ASCII characters", path=path)
    return Secret(value.strip())


def read_timeout(value: Any, path: str) -> int:
    """Milliseconds, as a number or as a header's digits."""
    number = int(value) if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 12 else value
    if isinstance(number, bool) or not isinstance(number, int) or not 0 < number <= MAX_TIMEOUT:
        raise ConfigError(
            f"must be a positive integer of milliseconds, at most {MAX_TIMEOUT}, got {show(value)}", path=path
        )
    return number


def read_forwarded(names: Any, path: str) -> tuple[str, ...]:
    """Names of client headers to pass on, lower case, each once."""
    if not isinstance(names, list | tuple):
        raise ConfigError(f"must be a list of header names, got {show(names)}", path=path)
    read = []
    for index, name in enumerate(names):
        where = f"{path}[{index}]"
        if not isinstance(name, str) or not _TOKEN.fullmatch(name.strip()):
            raise ConfigError(f"must be a header name, got {show(name)}", path=where)
        name = name.strip().lower()
        if name in _NOT_FORWARDED or name.startswith(GATEWAY_PREFIXES):
            raise ConfigError(f"the header {name!r} is never passed on", path=where)
        read.append(name)
    return tuple(dict.fromkeys(read))


def read_option(value: Any, option: Option, path: str) -> Any:
    """A provider's own field. A secret one becomes a `Secret` (of the JSON text, when its kind isn't a string)."""
    if option.kind is str:
        if option.secret:
            return read_secret(value, path)
        text = read_text(value, path)
        return _read_host_part(text, path) if option.host else text
    if not _is_kind(value, option.kind):
        got = "" if option.secret else f", got {show(value)}"
        raise ConfigError(f"must be {_KINDS.get(option.kind, option.kind.__name__)}{got}", path=path)
    return Secret(orjson.dumps(value).decode()) if option.secret else value


def _is_kind(value: Any, kind: type) -> bool:
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, kind) or (kind is float and isinstance(value, int))


def read_option_text(text: str, option: Option, path: str) -> Any:
    """The same from a header, where what is no string is JSON."""
    if option.kind is str:
        return read_option(text, option, path)
    try:
        value = orjson.loads(text.encode("utf-8", "surrogateescape"))
    except orjson.JSONDecodeError:
        raise ConfigError(f"must be {_KINDS.get(option.kind, option.kind.__name__)} as JSON", path=path) from None
    return read_option(value, option, path)


def _read_host_part(text: str, path: str) -> str:
    if path.replace("-", "_").endswith("_url"):
        return parse_base_url(text, path=path)
    if not HOST_LABEL.fullmatch(text):
        raise ConfigError(
            f"becomes part of a host, so must be 1 to 63 of a-z, 0-9 and dash, got {show(text)}", path=path
        )
    return text
