from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from aiogateway.telemetry.logs import JSONFormatter, LineFormatter, start_logging
from aiogateway.types import Secret


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def root() -> Iterator[logging.Logger]:
    """The root logger, put back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield root
    root.handlers, root.level = handlers, level


def test_a_log_file_gets_json_lines() -> None:
    out = io.StringIO()
    start_logging("info", stream=out)
    log = logging.getLogger("aiogateway.test")
    log.debug("not shown")
    log.warning("held %d calls\nx", 3, extra={"plugin": "acme", "key": Secret("canary"), "level": "kept"})
    (line,) = out.getvalue().splitlines()
    entry = json.loads(line)
    assert entry.pop("time").endswith("+00:00")
    assert entry == {
        "level": "warning",
        "logger": "aiogateway.test",
        "message": "held 3 calls\nx",
        "plugin": "acme",
        "key": "***",
    }


def test_a_terminal_gets_one_readable_line_per_message() -> None:
    out = Terminal()
    start_logging("debug", stream=out)
    logging.getLogger("aiogateway.test").debug("asked by %s", "x\n12:00:00 ERROR forged\x1b[2J\udcff")
    (line,) = out.getvalue().splitlines()
    assert line.endswith("DEBUG   asked by x\\n12:00:00 ERROR forged\\x1b[2J\\udcff")


@pytest.mark.parametrize("out", [io.StringIO(), Terminal()])
def test_tracebacks_are_kept(out: io.StringIO) -> None:
    start_logging("info", stream=out)
    try:
        raise RuntimeError("no luck")
    except RuntimeError:
        logging.getLogger("aiogateway.test").exception("failed")
    text = out.getvalue()
    assert "RuntimeError: no luck" in text
    assert "test_logs.py" in text


def test_what_json_can_not_hold_is_escaped() -> None:
    record = logging.makeLogRecord({"msg": "bad \udcff", "levelname": "INFO", "name": "x"})
    assert json.loads(JSONFormatter().format(record))["message"] == "bad \\udcff"


def test_standard_error_is_the_default(root: logging.Logger) -> None:
    start_logging("error")
    (handler,) = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    assert handler.stream is sys.stderr
    assert root.level == logging.ERROR


def test_a_second_start_replaces_the_first(root: logging.Logger) -> None:
    start_logging("info", stream=io.StringIO())
    start_logging("info", stream=Terminal())
    (handler,) = root.handlers
    assert isinstance(handler.formatter, LineFormatter)
