r"""Recordings: what a provider really sent, one file each, with the bytes as they were.

A file is a head of text lines, one empty line, and then the body of the answer up to the end of the file, byte for byte
(after HTTP framing and content-encoding were taken off). Its name ends in ``.rec``::

    # Ollama, docs/api.md, "Chat request (Streaming)"
    endpoint: chat/completions
    request: {"model": "llama3.2", "stream": true, "messages": [{"role": "user", "content": "why is the sky blue?"}]}
    status: 200
    header: content-type: application/x-ndjson
    finish: stop
    usage: 26 282

    {"model":"llama3.2","message":{"role":"assistant","content":"The"},"done":false}
    ...

The first line names the source; it ends with the word ``unchecked`` where that source shows the wire but not that this
provider has it so. A head line that begins with a space goes on with the line before it. Fields:

==============  ====================================================================================================
``endpoint``    `Endpoint`, the path after ``/v1/``
``request``     the client's body, as a JSON object in the client's (OpenAI's) dialect; ``stream`` in it says which
                kind of answer this is
``status``      of the answer; 200 when absent
``header``      one header of the answer; may come often
``text``        the text of choice 0, as a JSON string (optional)
``finish``      the neutral finish reason of each choice, in order (optional)
``usage``       input and output tokens, or ``absent`` where the provider reports none; when the line is absent, some
                usage has to be there
``error``       the status and the message of the error this answer stands for; a must where ``status`` is not 2xx,
                and in a 2xx it says that the stream ends with an in-band error
``error-type``  the provider's own words for it (optional)
``error-code``
==============  ====================================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..types import Endpoint, Headers, Usage

SUFFIX = ".rec"
FIELDS = frozenset({"endpoint", "request", "status", "text", "finish", "usage", "error", "error-type", "error-code"})


class RecordingError(ValueError):
    """A recording can't be read; the message names the file."""


@dataclass(frozen=True, slots=True)
class ExpectedError:
    """`status` and `message` are those of the neutral error; `type` and `code` are checked where they are given."""

    status: int
    message: str
    type: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Recording:
    """One answer on the wire, the request that led to it, and what it means."""

    name: str
    source: str
    endpoint: Endpoint
    request: Mapping[str, Any]
    body: bytes
    status: int = 200
    headers: Headers = ()
    text: str | None = None
    finish: tuple[str, ...] | None = None
    usage: Usage | None = None
    usage_absent: bool = False
    error: ExpectedError | None = None

    @property
    def stream(self) -> bool:
        """Whether the answer is a stream: asked for, and not refused."""
        return bool(self.request.get("stream")) and self.ok

    @property
    def ok(self) -> bool:
        return 200 <= self.status < 300


def load_recordings(folder: Path) -> tuple[Recording, ...]:
    """The recordings of a folder, by name. Raises RecordingError for a bad one, and for a folder without any."""
    paths = sorted(folder.glob(f"*{SUFFIX}"))
    if not paths:
        raise RecordingError(f"{folder}: no *{SUFFIX} file")
    return tuple(read_recording(path.read_bytes(), name=path.name) for path in paths)


def read_recording(data: bytes, *, name: str) -> Recording:
    """Parses one file's bytes; raises RecordingError."""
    head, found, body = data.partition(b"\n\n")
    if not found:
        raise RecordingError(f"{name}: no empty line ends the head")
    try:
        source, *lines = _unfold(head.decode())
        if not source.startswith("#") or not source[1:].strip():
            raise ValueError("the first line has to be a comment that names the source")
        fields: dict[str, str] = {}
        headers: list[tuple[str, str]] = []
        for field, value in map(_read_pair, lines):
            if field == "header":
                headers.append(_read_pair(value))
            elif field not in FIELDS or field in fields:
                raise ValueError(f"unknown or repeated field {field!r}")
            else:
                fields[field] = value
        return _build(name, source[1:].strip(), fields, tuple(headers), body)
    except (ValueError, KeyError) as error:
        reason = f"no field {error}" if isinstance(error, KeyError) else error
        raise RecordingError(f"{name}: {reason}") from error


def _build(name: str, source: str, fields: Mapping[str, str], headers: Headers, body: bytes) -> Recording:
    request = json.loads(fields["request"])
    if not isinstance(request, dict) or not isinstance(request.get("model"), str):
        raise ValueError("request has to be a JSON object with a model")
    usage = fields.get("usage")
    recording = Recording(
        name=name,
        source=source,
        endpoint=Endpoint(fields["endpoint"]),
        request=request,
        body=body,
        status=int(fields.get("status", "200")),
        headers=headers,
        text=json.loads(fields["text"]) if "text" in fields else None,
        finish=tuple(fields["finish"].split()) if "finish" in fields else None,
        usage=_read_usage(usage) if usage not in (None, "absent") else None,
        usage_absent=usage == "absent",
        error=_read_error(fields),
    )
    if not recording.ok and (recording.error is None or recording.error.status != recording.status):
        raise ValueError(f"an answer with status {recording.status} needs a line 'error: {recording.status} <message>'")
    return recording


def _read_usage(value: str | None) -> Usage:
    given, taken = map(int, (value or "").split())
    return Usage(input=given, output=taken)


def _read_error(fields: Mapping[str, str]) -> ExpectedError | None:
    if "error" not in fields:
        return None
    status, _, message = fields["error"].partition(" ")
    return ExpectedError(int(status), message, fields.get("error-type"), fields.get("error-code"))


def _read_pair(line: str) -> tuple[str, str]:
    name, found, value = line.partition(":")
    if not found:
        raise ValueError(f"no colon in {line!r}")
    return name.strip().lower(), value.strip()


def _unfold(head: str) -> Iterator[str]:
    """Lines, with those that begin with a space joined to the one before."""
    joined = ""
    for line in head.split("\n"):
        if line.startswith(" "):
            joined += line
            continue
        if joined:
            yield joined
        joined = line
    yield joined
