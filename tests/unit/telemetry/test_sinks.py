from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import stat
import threading
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import pytest

from aiogateway.contracts import LogSink
from aiogateway.telemetry import sinks
from aiogateway.telemetry.metrics import Metrics
from aiogateway.telemetry.recorder import Recorder
from aiogateway.telemetry.sinks import JSONLinesSink, encode_lines
from aiogateway.types import Secret, Trace, Usage
from tests.unit.telemetry.records import make_attempt, make_record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "calls.jsonl"


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def read_ids(path: Path) -> list[str]:
    return [line["id"] for line in read(path)]


async def test_one_line_per_record(path: Path) -> None:
    sink = JSONLinesSink(str(path))
    attempts = (make_attempt(error="connect_failed"), make_attempt(usage=Usage(input=3, output=4)))
    await sink.write([make_record(id="1", attempts=attempts, usage=Usage(input=3, output=4)), make_record(id="2")])
    await sink.close()
    first, second = read(path)
    assert (first["id"], second["id"]) == ("1", "2")
    assert first["trace"]["id"] == "trace-1"
    assert first["endpoint"] == "chat/completions"
    assert first["outcome"] == "ok"
    assert first["usage"]["output"] == 4
    assert [attempt["error"] for attempt in first["attempts"]] == ["connect_failed", None]
    assert path.read_bytes().endswith(b"}\n")


async def test_appends_to_what_is_there(path: Path) -> None:
    path.write_text('{"id":"old"}\n')
    for number in range(2):
        sink = JSONLinesSink(str(path))
        await sink.write([make_record(id=str(number))])
        await sink.close()
    assert read_ids(path) == ["old", "0", "1"]


async def test_file_is_not_inherited_and_not_for_everybody(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[int] = []
    real = os.open

    def spy(name: str, flags: int, mode: int) -> int:
        opened.append(real(name, flags, mode))
        return opened[-1]

    monkeypatch.setattr(os, "open", spy)
    sink = JSONLinesSink(str(path))
    await sink.write([make_record()])
    (file,) = opened
    assert fcntl.fcntl(file, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0
    await sink.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file)


async def test_a_moved_file_is_opened_anew(path: Path) -> None:
    sink = JSONLinesSink(str(path))
    await sink.write([make_record(id="1")])
    moved = path.rename(path.with_suffix(".1"))
    await sink.write([make_record(id="2")])
    path.unlink()
    await sink.write([make_record(id="3")])
    await sink.close()
    assert read_ids(moved) == ["1"]
    assert read_ids(path) == ["3"]


async def test_a_replaced_file_is_opened_anew(path: Path) -> None:
    sink = JSONLinesSink(str(path))
    await sink.write([make_record(id="1")])
    path.rename(path.with_suffix(".1"))
    path.write_bytes(b"")
    await sink.write([make_record(id="2")])
    await sink.close()
    assert read_ids(path) == ["2"]


async def test_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    sink = JSONLinesSink("-")
    await sink.write([make_record(id="1")])
    await sink.close()
    await sink.write([make_record(id="2")])  # closing leaves the process its output
    assert [json.loads(line)["id"] for line in capfd.readouterr().out.splitlines()] == ["1", "2"]


async def test_an_unwritable_path_is_counted_and_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    path = tmp_path / "absent" / "calls.jsonl"
    recorder = Recorder([JSONLinesSink(str(path))], metrics, batch=1, linger=0.0)
    recorder.start()
    for number in range(3):
        recorder.put(make_record(id=str(number)))
    await recorder.close(5)
    assert metrics.registry.get_sample_value("aiogateway_dropped_records_total", {"sink": "json_lines"}) == 3
    assert recorder.failing == ("json_lines",)
    assert caplog.text.count("log sink json_lines") == 1
    assert "No such file or directory" in caplog.text


async def test_it_recovers_once_the_path_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "later" / "calls.jsonl"
    sink = JSONLinesSink(str(path))
    with pytest.raises(FileNotFoundError):
        await sink.write([make_record(id="1")])
    path.parent.mkdir()
    await sink.write([make_record(id="2")])
    await sink.close()
    assert read_ids(path) == ["2"]


async def test_a_disk_that_fills_up_in_a_line_costs_no_later_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sink = JSONLinesSink(str(path))
    write = os.write
    steps = iter([40, 0])

    def fill_up(file: int, data: memoryview) -> int:
        size = next(steps)
        if not size:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data[:size])

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fill_up)
        with pytest.raises(OSError, match="No space left"):
            await sink.write([make_record(id="1")])
    await sink.write([make_record(id="2")])
    await sink.close()
    torn, whole = path.read_bytes().splitlines()
    assert len(torn) == 40
    assert json.loads(whole)["id"] == "2"


async def test_short_writes_are_continued(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:100]))
    sink = JSONLinesSink(str(path))
    await sink.write([make_record(id=str(number)) for number in range(5)])
    await sink.close()
    assert read_ids(path) == ["0", "1", "2", "3", "4"]


async def test_a_write_that_hangs_gets_no_second_thread(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    entered, released = threading.Event(), threading.Event()

    def hang(file: int, data: memoryview) -> int:
        entered.set()
        released.wait(5)
        return write(file, data)

    noise: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: noise.append(context))
    monkeypatch.setattr(os, "write", hang)
    sink = JSONLinesSink(str(path))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await sink.write([make_record(id="1")])
    assert entered.is_set()
    threads = threading.active_count()
    for _ in range(3):
        with pytest.raises(TimeoutError, match="an earlier write has not returned"):
            await sink.write([make_record(id="2")])
    assert threading.active_count() == threads
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "call log")
    await sink.close()  # does not wait for it either
    released.set()
    async with asyncio.timeout(5):
        while True:
            try:
                await sink.write([make_record(id="3")])
                break
            except TimeoutError:
                await asyncio.sleep(0)
    await sink.close()
    assert read_ids(path) == ["1", "3"]
    assert noise == []


async def test_no_thread_left_is_a_failure_like_any_other(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    sink = JSONLinesSink(str(path))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            await sink.write([make_record(id="1")])
    await sink.write([make_record(id="2")])
    await sink.close()
    assert read_ids(path) == ["2"]


def test_a_line_break_in_a_value_breaks_no_line() -> None:
    lines = encode_lines([make_record(metadata={"a\nb": "c\r\nd\u2028"}, error="x\ny")])
    assert lines.count(b"\n") == 1
    assert json.loads(lines)["metadata"] == {"a\nb": "c\r\nd\u2028"}


def test_an_odd_record_costs_no_other_record() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100_000):
        deep = {"a": deep}
    batch = [make_record(id="1"), make_record(id="2", metadata=deep), make_record(id="3")]
    first, second, third = (json.loads(line) for line in encode_lines(batch).splitlines())
    assert (first["id"], second["id"], third["id"]) == ("1", "2", "3")
    assert first["metadata"] == {"_user": "ann"}
    assert second["metadata"] == {"unwritable": "RecursionError"}
    while deep:  # or its destruction would recurse as deeply
        deep = deep["a"]


def test_lone_surrogates_are_written_as_escapes() -> None:
    line = encode_lines([make_record(trace=Trace(id="\udcff"))])
    assert b'"\\udcff"' in line
    assert json.loads(line)["status"] == 200


def test_values_that_are_no_json() -> None:
    metadata = MappingProxyType({"map": MappingProxyType({"a": 1}), "key": Secret("sk-canary"), "nan": float("nan")})
    line = encode_lines([make_record(metadata=metadata)])
    assert json.loads(line)["metadata"] == {"map": {"a": 1}, "key": "***", "nan": None}


@pytest.mark.parametrize(("call_log", "count"), [(None, 0), ("", 0), ("-", 1), ("calls.jsonl", 1)])
def test_hook_registers_when_the_settings_say_so(call_log: str | None, count: int) -> None:
    registered: list[LogSink] = []
    sinks.register_log_sinks(registered.append, SimpleNamespace(call_log=call_log))
    assert [sink.name for sink in registered] == ["json_lines"] * count
