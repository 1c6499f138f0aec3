from __future__ import annotations

import pytest
from aiogateway_plugin_bedrock import BedrockConverse
from aiogateway_plugin_bedrock.frames import MEDIA_TYPE, write_event

from aiogateway.errors import Unsupported
from aiogateway.neutral import ChatRequest, EmbedRequest
from aiogateway.types import Usage

DIALECT = BedrockConverse()
METADATA = write_event("metadata", b'{"metrics":{},"usage":{"inputTokens":3,"outputTokens":2}}')
DELTA = write_event("contentBlockDelta", b'{"delta":{"text":"\\"usage\\":{\\"inputTokens\\":9}"}}')


def test_only_chats_are_written() -> None:
    assert DIALECT.write_request(ChatRequest(model="m", messages=())).body == {"messages": []}
    with pytest.raises(Unsupported):
        DIALECT.write_request(EmbedRequest(model="m", inputs=()))
    assert DIALECT.media_type == MEDIA_TYPE


def test_the_mark_of_the_end_is_a_frames_and_no_texts() -> None:
    (mark,) = DIALECT.finish_marks
    assert mark in write_event("messageStop", b'{"stopReason":"end_turn"}')
    assert mark not in write_event("contentBlockDelta", b'{"delta":{"text":"messageStop"}}')


@pytest.mark.parametrize(
    ("tail", "usage"),
    [
        (b'{"output":{},"usage":{"inputTokens":3,"outputTokens":2}}', Usage(input=3, output=2)),
        (b'{"output":{}}', None),
        (DELTA + METADATA, Usage(input=3, output=2)),
        (DELTA[7:] + DELTA + METADATA, Usage(input=3, output=2)),
        (METADATA + DELTA, Usage(input=3, output=2)),
        (METADATA + write_event("metadata", b"{}"), Usage(input=3, output=2)),
        (write_event("metadata", b"{"), None),
        (DELTA, None),
        (METADATA[5:], None),
        (b"", None),
    ],
)
def test_usage_of_a_body_and_of_a_streams_tail(tail: bytes, usage: Usage | None) -> None:
    assert DIALECT.read_usage(tail) == usage
