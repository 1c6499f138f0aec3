"""The built-in sink: one JSON line per call, to a file or to standard output. Records hold no bodies and no secrets."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import msgspec

from ..contracts import LogSink
from ..hookspecs import hookimpl
from ..types import Record

_STDOUT = 1
_FLAGS = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
_MODE = 0o640  # metadata and trace ids are for the operator's eyes


class LogSettings(Protocol):
    """What of the Settings is read here."""

    @property
    def call_log(self) -> str | None: ...


@hookimpl
def register_log_sinks(register: Callable[[LogSink], None], settings: LogSettings) -> None:
    """Registers the sink when the settings name a place for it (`call_log`)."""
    if settings.call_log:
        register(JSONLinesSink(settings.call_log))


class JSONLinesSink:
    """Appends records to the file `path`, or to standard output for ``-``.

    A file that was moved away or deleted (logrotate) is opened anew, checked once per batch. Opened at the first write,
    so a path that can't be written fails batches, not the start.
    """

    name = "json_lines"

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: int | None = _STDOUT if path == "-" else None
        self._torn = False
        self._busy = threading.Lock()

    async def write(self, batch: Sequence[Record]) -> None:
        """Raises OSError; TimeoutError while an earlier batch hangs in the system: no second thread joins it."""
        if not self._busy.acquire(blocking=False):
            raise TimeoutError("an earlier write has not returned")
        await _in_thread(lambda: self._append(batch), self._busy)

    async def close(self) -> None:
        if self._file not in (None, _STDOUT) and self._busy.acquire(blocking=False):
            await _in_thread(self._close, self._busy)

    def _append(self, batch: Sequence[Record]) -> None:
        data = encode_lines(batch)
        file = self._open()
        if self._torn:  # the disk was full in the middle of a line
            data = b"\n" + data
        written = 0
        try:
            while written < len(data):
                written += os.write(file, memoryview(data)[written:])
        finally:
            if written:
                self._torn = data[written - 1 : written] != b"\n"

    def _open(self) -> int:
        if self._path == "-":
            return _STDOUT
        if self._file is not None and not self._in_place(self._file):
            self._close()
        if self._file is None:
            self._file = os.open(self._path, _FLAGS, _MODE)
            self._torn = False
        return self._file

    def _in_place(self, file: int) -> bool:
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(file))
        except FileNotFoundError:
            return False

    def _close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)


async def _in_thread(work: Callable[[], None], busy: threading.Lock) -> None:
    """Runs `work` in a daemon thread and releases `busy` at its end.

    Not in the loop's own pool: a write that hangs (a full pipe, a dead mount) would hold up the resolving of names,
    which happens there, and the exit of the process.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def settle(error: Exception | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        failure: Exception | None = None
        try:
            work()
        except Exception as error:
            failure = error
        finally:
            busy.release()
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, failure)

    try:
        threading.Thread(target=run, name="call log", daemon=True).start()
    except RuntimeError:  # no more threads
        busy.release()
        raise
    await done


def encode_lines(batch: Sequence[Record]) -> bytes:
    """The records as JSON, a line each. One that is odd costs its own metadata, not the other lines."""
    try:
        return _encoder.encode_lines(batch)
    except Exception:  # whatever a caller managed to put into metadata or a trace id
        return b"".join(_encode_line(record) for record in batch)


def _encode_line(record: Record) -> bytes:
    try:
        return _encoder.encode(record) + b"\n"
    except Exception as error:
        bare = msgspec.structs.replace(record, metadata={"unwritable": type(error).__name__})
        # The standard encoder writes lone surrogates, which come out of undecodable headers, as escapes.
        return json.dumps(msgspec.to_builtins(bare, enc_hook=_plain)).encode() + b"\n"


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else str(value)


_encoder = msgspec.json.Encoder(enc_hook=_plain)
