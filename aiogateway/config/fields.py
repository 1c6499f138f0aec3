"""Single values of configs and headers, read and checked alike wherever they come from.

Each reader raises ConfigError(`path`), which never holds a secret's value.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import orjson

from aiogateway.config.hosts import HOST_LABEL, parse_base_url
from aiogateway.config.mistakes import Mistakes
from aiogateway.errors import ConfigError
from aiogateway.types import GATEWAY_PREFIXES, HOP_BY_HOP, Option, Secret

CONTROL = re.compile(r"[\x00-\x1f\x7f]")
MAX_TIMEOUT = 86_400_000
"""The longest deadline, in milliseconds: a day."""

MAX_ITEMS = 400
"""Items of a list of header names or status codes; there are no more codes than that."""

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")  # RFC 9110, field names
_KEY = re.compile(r"[\x20-\x7e]+")
_SHOWN = 80
_LENGTHS_APART = 8
_HUGE = 2**64
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
    # Comparing takes long enough to be worth an attacker's while: words of another length are out from the start.
    candidates = [str(other) for other in known if abs(len(other) - len(word)) <= _LENGTHS_APART]
    near = difflib.get_close_matches(word.lower(), candidates, n=1, cutoff=0.7)
    return f"; did you mean {near[0]!r}?" if near else ""


def show(value: Any) -> str:
    """A value for an error message: escaped, and cut when it is long. What is in objects and lists may be secret."""
    if isinstance(value, str):
        text = repr(value[:_SHOWN])
        return text if len(text) <= _SHOWN and len(value) <= _SHOWN else f"{text[:_SHOWN]}…"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, int) and abs(value) >= _HUGE:  # str() of such a one may raise
        return "a number of more than 64 bits"
    if isinstance(value, int | float):
        return str(value)
    return name_kind(value)


def name_kind(value: Any) -> str:
    """What kind of JSON a value is, without anything of the value."""
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    kinds: Mapping[type, str] = {dict: "an object", str: "a string", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")


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


def read_flag(value: Any, path: str) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ConfigError(f"must be true or false, got {show(value)}", path=path)
    return value


def read_choice(value: Any, path: str, *, choices: Iterable[str]) -> str:
    """One of the words in `choices`."""
    known = list(choices)
    if not isinstance(value, str) or value not in known:
        near = suggest(value, known) if isinstance(value, str) else ""
        raise ConfigError(f"must be one of: {', '.join(known)}; got {show(value)}{near}", path=path)
    return value


def read_integer(value: Any, path: str, *, least: int, most: int, what: str = "an integer") -> int:
    """A number without a fraction, from `least` to `most`."""
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    if isinstance(number, bool) or not isinstance(number, int) or not least <= number <= most:
        raise ConfigError(f"must be {what} from {least} to {most}, got {show(value)}", path=path)
    return number


def read_number(value: Any, path: str, *, most: int, zero: bool = False) -> float:
    """A number above zero, or also zero, up to `most`."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not (0 < value <= most or (zero and value == 0)):
        least = "from 0 to" if zero else "above 0 and at most"
        raise ConfigError(f"must be a number {least} {most}, got {show(value)}", path=path)
    return float(value)


def read_milliseconds(value: Any, path: str) -> int:
    """A time of at least a millisecond and at most a day."""
    return read_integer(value, path, least=1, most=MAX_TIMEOUT, what="an integer of milliseconds")


def read_timeout(text: str, path: str) -> int:
    """Milliseconds from a header's digits."""
    return read_milliseconds(int(text) if text.isascii() and text.isdigit() and len(text) < 12 else text, path)


def read_statuses(codes: Any, path: str) -> tuple[int, ...]:
    """HTTP status codes, each once."""
    if not isinstance(codes, list):
        raise ConfigError(f"must be a list of status codes, got {show(codes)}", path=path)
    _check_length(codes, path)
    mistakes = Mistakes()
    read = [mistakes.take(_read_status, code, f"{path}[{index}]") for index, code in enumerate(codes)]
    mistakes.check()
    return tuple(dict.fromkeys(code for code in read if code is not None))


def _read_status(value: Any, path: str) -> int:
    return read_integer(value, path, least=200, most=599, what="a status code")


def read_forwarded(names: Any, path: str) -> tuple[str, ...]:
    """Names of client headers to pass on, lower case, each once."""
    if not isinstance(names, list | tuple):
        raise ConfigError(f"must be a list of header names, got {show(names)}", path=path)
    _check_length(names, path)
    mistakes = Mistakes()
    read = [mistakes.take(_read_forwarded_name, name, f"{path}[{index}]") for index, name in enumerate(names)]
    mistakes.check()
    return tuple(dict.fromkeys(name for name in read if name is not None))


def _check_length(items: Sequence[Any], path: str) -> None:
    if len(items) > MAX_ITEMS:
        raise ConfigError(f"must have at most {MAX_ITEMS} items, got {len(items)}", path=path)


def _read_forwarded_name(value: Any, path: str) -> str:
    if not isinstance(value, str) or not _TOKEN.fullmatch(value.strip()):
        raise ConfigError(f"must be a header name, got {show(value)}", path=path)
    name = value.strip().lower()
    if name in _NOT_FORWARDED or name.startswith(GATEWAY_PREFIXES):
        raise ConfigError(f"the header {name!r} is never passed on", path=path)
    return name


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
