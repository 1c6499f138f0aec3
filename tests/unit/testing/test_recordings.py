from __future__ import annotations

from pathlib import Path

import pytest

from aiogateway.testing import RecordingError, load_recordings
from aiogateway.testing.recordings import ExpectedError, read_recording
from aiogateway.types import Endpoint, Usage

HEAD = b'# seen\nendpoint: embeddings\nrequest: {"model": "m"}\n'


def test_every_field_is_read() -> None:
    data = (
        b"# docs, page 3\n"
        b"endpoint: chat/completions\n"
        b'request: {"model": "m",\n  "stream": true}\n'
        b"header: Content-Type: text/event-stream\n"
        b"header: x-a: b: c\n"
        b'text: "a\\nb"\n'
        b"finish: stop length\n"
        b"usage: 3 4\n"
        b"\n"
        b"data: 1\r\n\r\n\n\n\xff"
    )
    recording = read_recording(data, name="a.rec")
    assert recording.source == "docs, page 3"
    assert recording.endpoint is Endpoint.CHAT
    assert recording.request == {"model": "m", "stream": True}
    assert recording.headers == (("content-type", "text/event-stream"), ("x-a", "b: c"))
    assert recording.text == "a\nb"
    assert recording.finish == ("stop", "length")
    assert recording.usage == Usage(input=3, output=4)
    assert not recording.usage_absent
    assert recording.body == b"data: 1\r\n\r\n\n\n\xff"
    assert recording.stream
    assert recording.error is None


def test_what_is_absent() -> None:
    recording = read_recording(HEAD + b"usage: absent\n\n", name="a.rec")
    assert (recording.status, recording.headers, recording.body) == (200, (), b"")
    assert recording.usage_absent
    assert not recording.stream


def test_an_error_answer_is_no_stream() -> None:
    data = HEAD.replace(b'"m"', b'"m", "stream": true') + b"status: 404\nerror: 404 no such m\n\n{}"
    recording = read_recording(data, name="a.rec")
    assert recording.error == ExpectedError(404, "no such m")
    assert not recording.stream


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (HEAD, "no empty line"),
        (b'endpoint: embeddings\nrequest: {"model": "m"}\n\n', "names the source"),
        (b'#  \nendpoint: embeddings\nrequest: {"model": "m"}\n\n', "names the source"),
        (b'# seen\nrequest: {"model": "m"}\n\n', "no field 'endpoint'"),
        (b"# seen\nendpoint: embeddings\n\n", "no field 'request'"),
        (b'# seen\nendpoint: audio\nrequest: {"model": "m"}\n\n', "audio"),
        (b"# seen\nendpoint: embeddings\nrequest: {}\n\n", "with a model"),
        (b"# seen\nendpoint: embeddings\nrequest: {\n\n", "property name"),
        (HEAD + b"colour: red\n\n", "'colour'"),
        (HEAD + b"usage: 1 2\nusage: absent\n\n", "'usage'"),
        (HEAD + b"usage: many\n\n", "invalid literal"),
        (HEAD + b"just words\n\n", "no colon"),
        (HEAD + b"status: 500\n\n", "'error: 500 <message>'"),
        (HEAD + b"status: 500\nerror: 502 x\n\n", "'error: 500 <message>'"),
        (HEAD + b"text: \xff\n\n", "utf-8"),
    ],
)
def test_a_bad_recording_is_refused_by_name(data: bytes, reason: str) -> None:
    with pytest.raises(RecordingError, match=r"bad\.rec: ") as caught:
        read_recording(data, name="bad.rec")
    assert reason in str(caught.value)


def test_a_folder_is_read_in_order(tmp_path: Path) -> None:
    for name in ("b.rec", "a.rec", "notes.txt"):
        (tmp_path / name).write_bytes(HEAD + b"\n")
    assert [recording.name for recording in load_recordings(tmp_path)] == ["a.rec", "b.rec"]


def test_a_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordingError, match=r"no \*\.rec"):
        load_recordings(tmp_path / "nowhere")
