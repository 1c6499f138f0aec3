"""The recordings are what make.py makes, and their frames are AWS's: botocore's own parser reads them."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer  # type: ignore[import-untyped,import-not-found,unused-ignore]
from botocore.loaders import Loader  # type: ignore[import-untyped,import-not-found,unused-ignore]
from botocore.model import ServiceModel  # type: ignore[import-untyped,import-not-found,unused-ignore]
from botocore.parsers import (  # type: ignore[import-untyped,import-not-found,unused-ignore]
    EventStreamJSONParser,
    RestJSONParser,
)

from aiogateway.testing import Recording, load_recordings

HERE = Path(__file__).parent / "recordings"
RECORDINGS = load_recordings(HERE)
SERVICE = ServiceModel(Loader().load_service_model("bedrock-runtime", "service-2"))
STREAMS = [recording for recording in RECORDINGS if recording.stream]
CHATS = [r for r in RECORDINGS if r.ok and not r.stream and r.endpoint == "chat/completions"]


def read_payloads(body: bytes) -> list[tuple[str, dict[str, Any]]]:
    buffer = EventStreamBuffer()
    buffer.add_data(body)
    messages = [message.to_response_dict() for message in buffer]
    return [
        (message["headers"].get(":event-type") or message["headers"][":exception-type"], json.loads(message["body"]))
        for message in messages
    ]


def test_the_files_are_what_the_script_makes() -> None:
    made = runpy.run_path(str(HERE / "make.py"))["make_all"]()
    assert made == {path.name: path.read_bytes() for path in HERE.glob("*.rec")}


@pytest.mark.parametrize("recording", STREAMS, ids=lambda recording: recording.name)
def test_botocore_reads_the_frames_and_knows_their_fields(recording: Recording) -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(recording.body)
    operation = "ConverseStream" if recording.endpoint == "chat/completions" else "InvokeModelWithResponseStream"
    shape = SERVICE.operation_model(operation).get_event_stream_output()
    read = [EventStreamJSONParser().parse(message.to_response_dict(), shape) for message in buffer]
    payloads = read_payloads(recording.body)
    assert len(read) == len(payloads) > 1
    for parsed, (name, payload) in zip(read, payloads, strict=True):
        if "Error" in parsed:
            assert parsed["Error"]["Message"] == payload["message"]
        else:
            assert set(parsed[name]) == set(payload) - {"p"}, f"{name} has fields that the service model lacks"


@pytest.mark.parametrize("recording", CHATS, ids=lambda recording: recording.name)
def test_botocore_reads_the_answers(recording: Recording) -> None:
    shape = SERVICE.operation_model("Converse").output_shape
    parsed = RestJSONParser().parse({"status_code": 200, "headers": {}, "body": recording.body}, shape)
    sent = json.loads(recording.body)
    assert parsed["stopReason"] == sent["stopReason"]
    assert len(parsed["output"]["message"]["content"]) == len(sent["output"]["message"]["content"])
    assert parsed["usage"]["inputTokens"] == sent["usage"]["inputTokens"]
