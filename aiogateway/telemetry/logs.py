"""The process's own log, on standard error: lines for people at a terminal, JSON lines everywhere else.

Nothing is redacted here, since nothing secret is handed in: credentials are `Secret`, whose text is ``***``.
"""

from __future__ import annotations

import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_STANDARD = frozenset((*vars(logging.makeLogRecord({})), "message", "asctime"))


def start_logging(level: str, *, stream: TextIO | None = None) -> None:
    """Sends everything from `level` up to `stream` (standard error), instead of wherever it went before."""
    out = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(out)
    handler.setFormatter(LineFormatter() if out.isatty() else JSONFormatter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())


class JSONFormatter(logging.Formatter):
    """One JSON object per line; what was given as ``extra`` stands beside the standard fields."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        entry |= {name: value for name, value in vars(record).items() if name not in _STANDARD and name not in entry}
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        try:
            return orjson.dumps(entry, default=str).decode()
        except orjson.JSONEncodeError:  # a lone surrogate out of undecodable bytes, or a key that is no string
            return orjson.dumps({str(name): _escape(str(value)) for name, value in entry.items()}).decode()


class LineFormatter(logging.Formatter):
    """One line per message, whatever the message holds; tracebacks keep their lines."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  (the standard library's name)
        record.message = _escape(record.message)
        return super().formatMessage(record)


def _escape(text: str) -> str:
    """Control characters as escapes, so that no caller can forge a line or steer a terminal."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), text)
