"""Why a call went where it went, in one line: the value of ``x-aiogateway-explain``.

::

    config.targets[0] tried: 503 after 120 ms, retried after 1.0 s: 503 after 80 ms; config.targets[1] skipped: circuit
    open; config.targets[2] chosen: weight 3 of 4, drew 0.62: 200 after 50 ms

Paths, statuses, error codes and numbers, and nothing that a provider or a client wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from ..types import Attempt, Outcome
from .route import Note

MAX_LENGTH = 4096
"""Bytes of the whole line: servers and proxies refuse longer headers, at 8 KiB for all of them."""
MAX_TEXT = 256
"""Characters of one path, reason or code, before escapes."""

_SEPARATOR = "; "
_MORE = "..."
_UNSAFE = re.compile(r"[^ -:<-\[\]-~]")  # all but printable ASCII, and of that the separator and the escape sign


def describe(notes: Iterable[Note], attempts: Sequence[Attempt]) -> str:
    """The notes of a walk in order, each with the attempts at its target: printable ASCII, at most `MAX_LENGTH` bytes.

    Attempts that no note speaks of come last; what doesn't fit is cut between two items and shown as ``...``. An
    attempt that is still under way (the header is written at the commit) has no end yet.
    """
    tries: dict[str, list[str]] = {}
    for attempt in attempts:
        tries.setdefault(attempt.target, []).append(_tell(attempt))
    items: list[str] = []
    for note in reversed(list(notes)):  # a target's attempts go with the last that was noted about it
        parts = [f"{_clean(note.path)} {_clean(note.verdict)}"]
        if note.reason:
            parts.append(_clean(note.reason))
        if note.path in tries:
            parts.append(", ".join(tries.pop(note.path)))
        items.append(": ".join(parts))
    items.reverse()
    items.extend(f"{_clean(path)} tried: {', '.join(told)}" for path, told in tries.items())
    return _join(items) if items else "no target was tried"


def _tell(attempt: Attempt) -> str:
    """One attempt: ``retried after 1.0 s: 503 after 80 ms``; times are from its own start."""
    words = []
    if attempt.retry:
        words.append(f"retried after {_show_time(attempt.waited)}:")
    words.append(_name_result(attempt))
    answered = attempt.first_token if attempt.first_token is not None else attempt.end
    if answered is not None:
        words.append(f"after {_show_time(answered - attempt.start)}")
    if attempt.first_token is not None and attempt.end is not None and attempt.outcome not in {None, Outcome.OK}:
        words.append(f"then {_name_end(attempt)} after {_show_time(attempt.end - attempt.start)}")
    return " ".join(words)


def _name_result(attempt: Attempt) -> str:
    """The status, and the code of an error that is ours: a provider's own is told by its status."""
    if attempt.status is None:
        return _name_end(attempt)
    if attempt.first_token is not None or attempt.error in {None, "upstream_status"}:
        return str(attempt.status)
    return f"{attempt.status} {_name_end(attempt)}"


def _name_end(attempt: Attempt) -> str:
    return _clean(attempt.error or attempt.outcome or "under way")


def _show_time(seconds: float) -> str:
    if seconds >= 0.9995:
        return f"{seconds:.1f} s"
    milliseconds = max(seconds, 0.0) * 1000
    return f"{milliseconds:.{0 if milliseconds >= 9.95 else 1}f} ms"


def _clean(text: str) -> str:
    """Printable ASCII without a separator; the rest is escaped as Python writes it."""
    cut = text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + _MORE
    return _UNSAFE.sub(lambda found: _escape(ord(found[0])), cut)


def _escape(code: int) -> str:
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _join(items: Sequence[str]) -> str:
    whole = _SEPARATOR.join(items)
    if len(whole) <= MAX_LENGTH:
        return whole
    room = MAX_LENGTH - len(_SEPARATOR + _MORE)
    end = whole.rfind(_SEPARATOR, 0, room + len(_SEPARATOR))
    return whole[:room] + _MORE if end < 0 else whole[:end] + _SEPARATOR + _MORE
