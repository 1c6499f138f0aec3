"""Patterns of ``$regex``: written by one stranger, run on another's text, on the loop that serves everybody.

Python's own engine can't be stopped: ``(a+)+$`` on 26 letters takes it five seconds. The `regex` package takes a time
limit for a search, but none for compiling, and it copies what is repeated: ``((a{1000}){1000}){1000}`` is gigabytes.
So the copies are counted before, and what is compiled is held in one place and not in the configs.
"""

from __future__ import annotations

import logging
import re
import time
from functools import lru_cache

import regex

from aiogateway.config.fields import show
from aiogateway.errors import ConfigError

log = logging.getLogger(__name__)

MAX_PATTERN = 256
"""Characters of a pattern."""
MAX_INPUT = 4096
"""Characters of a text; no pattern matches a longer one."""
MAX_COPIES = 4000
"""Nodes that a compiled pattern may come to, at 270 bytes and some microseconds each."""
MAX_PATTERNS = 16
"""Patterns that one config may have: compiling them knows no time limit."""
CALL_TIME = 0.02
"""Seconds that all searches of one call may take together."""

_HELD = 128  # compiled patterns
_QUIET = 60.0  # seconds between two warnings
_COUNT = re.compile(r"\{([0-9]+)")
_FLAGS = re.compile(r"\(\?([a-zA-Z0-9-]+)[:)]")
_HARMLESS = frozenset("aimsu-")  # x hides counts in comments, f and r and recursion take long to compile


class Patience:
    """The time that one call's searches have left, in seconds."""

    __slots__ = ("left",)

    def __init__(self, left: float = CALL_TIME) -> None:
        self.left = left


def read_pattern(value: object, path: str) -> str:
    """A pattern that compiles. Raises ConfigError, with the position of a mistake in the pattern."""
    if not isinstance(value, str):
        raise ConfigError(f"must be a pattern as a string, got {show(value)}", path=path)
    if len(value) > MAX_PATTERN:
        raise ConfigError(f"must be at most {MAX_PATTERN} characters, got {len(value)}", path=path)
    for match in _FLAGS.finditer(value):
        if not _HARMLESS.issuperset(match[1]):
            raise ConfigError(f"may set the flags a, i, m, s and u only, got {show(match[0])}", path=path)
    copies = _count_copies(value)
    if copies > MAX_COPIES:
        raise ConfigError(
            f"repeats too much: written out, {show(value)} could come to {copies} steps, at most {MAX_COPIES}",
            path=path,
        )
    try:
        _compile(value)
    except regex.error as error:
        raise ConfigError(f"is not a pattern: {error} of {show(value)}", path=path) from None
    return value


def search(pattern: str, text: str, patience: Patience) -> bool:
    """Whether `pattern`, which `read_pattern` has passed, is found in `text`. Too long a search is no match."""
    if len(text) > MAX_INPUT:
        return False
    if patience.left <= 0:
        _warn(pattern)
        return False
    start = time.thread_time()  # a machine that is busy otherwise takes nothing off
    try:
        return _compile(pattern).search(text, timeout=patience.left) is not None
    except TimeoutError:
        _warn(pattern)
        return False
    finally:
        patience.left -= time.thread_time() - start


@lru_cache(maxsize=_HELD)
def _compile(pattern: str) -> regex.Pattern[str]:
    return regex.compile(pattern, cache_pattern=False)


def _count_copies(pattern: str) -> int:
    """At least as many nodes as the compiled pattern has: each ``X{m}`` and ``X{m,n}`` is `m` copies of X.

    Wherever it is unclear what X is, the worst is taken: a group that holds all of the pattern.
    """
    single, nested = len(pattern), 1
    for match in _COUNT.finditer(pattern):
        count = max(1, int(match[1]))
        before = pattern[match.start() - 1 : match.start()]
        if before in (")", "}", "*", "+", "?"):
            nested *= count
        else:
            single += count * (len(pattern) if before == "]" else 1)
    return single * nested


class _Alarm:
    """Says at most once in `_QUIET` seconds that patterns are too slow."""

    def __init__(self) -> None:
        self.until = 0.0

    def __call__(self, pattern: str) -> None:
        now = time.monotonic()
        if now >= self.until:
            self.until = now + _QUIET
            log.warning("$regex %s takes too long, which counts as no match (told once a minute)", show(pattern))


_warn = _Alarm()
