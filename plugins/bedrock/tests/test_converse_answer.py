from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from aiogateway_plugin_bedrock.converse_answer import NAME, ConverseDecoder, read_answer, read_finish, read_usage
from aiogateway_plugin_bedrock.frames import write_event

from aiogateway.neutral import Event, Failure, Finish, Opaque, Reasoning, Text, ToolCall, UsageReport
from aiogateway.types import Usage


def frame(name: str, **payload: Any) -> bytes:
    return write_event(name, json.dumps(payload).encode())


def delta(index: int, **piece: Any) -> bytes:
    return frame("contentBlockDelta", contentBlockIndex=index, delta=piece)


def begin(index: int, **start: Any) -> bytes:
    return frame("contentBlockStart", contentBlockIndex=index, start=start)


def stop(index: int) -> bytes:
    return frame("contentBlockStop", contentBlockIndex=index)


def end(reason: str) -> bytes:
    return frame("messageStop", stopReason=reason)


def decode(*frames: bytes) -> list[Event]:
    decoder = ConverseDecoder()
    return [event for one in frames for event in decoder.feed(one)]


def answer(*content: Any, reason: str = "end_turn", **more: Any) -> list[Event]:
    message = {"role": "assistant", "content": list(content)}
    return list(read_answer(json.dumps({"output": {"message": message}, "stopReason": reason, **more}).encode()))


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("tool_use", "tool_calls"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("malformed_tool_use", "stop"),
        ("novel", "stop"),
    ],
)
def test_reasons(raw: str, reason: str) -> None:
    assert read_finish(raw, calling=False) == Finish(reason, raw=raw)
    assert read_finish(raw, calling=True).reason == ("tool_calls" if reason == "stop" else reason)


def test_usage_counts_what_was_cached() -> None:
    assert read_usage({"inputTokens": 1, "outputTokens": 2}) == Usage(input=1, output=2)
    counts = {"inputTokens": 1, "outputTokens": 2, "cacheReadInputTokens": 10, "cacheWriteInputTokens": 100}
    assert read_usage(counts) == Usage(input=111, output=2, cached=10, cache_write=100)
    assert read_usage({}) is None
    assert read_usage(None) is None


def test_a_stream() -> None:
    call = {"toolUseId": "t1", "name": "f"}
    assert decode(
        frame("messageStart", role="assistant"),
        delta(0, text="a"),
        delta(0, text=""),
        stop(0),
        begin(1, toolUse=call),
        delta(1, toolUse={"input": ""}),
        delta(1, toolUse={"input": '{"x"'}),
        delta(1, toolUse={"input": ":1}"}),
        stop(1),
        begin(2, toolUse={**call, "toolUseId": "t2"}),
        stop(2),
        end("tool_use"),
        frame("metadata", usage={"inputTokens": 1, "outputTokens": 2}, metrics={"latencyMs": 1}),
    ) == [
        Text("a"),
        ToolCall(0, id="t1", name="f"),
        ToolCall(0, '{"x"'),
        ToolCall(0, ":1}"),
        ToolCall(1, id="t2", name="f"),
        ToolCall(1, "{}"),
        Finish("tool_calls", raw="tool_use"),
        UsageReport(Usage(input=1, output=2)),
    ]


def test_a_call_that_never_stopped_still_has_arguments() -> None:
    events = decode(begin(0, toolUse={"toolUseId": "t", "name": "f"}), end("tool_use"))
    assert events[1:] == [ToolCall(0, "{}"), Finish("tool_calls", raw="tool_use")]


def test_thoughts_and_their_seals_in_pieces() -> None:
    first, second = (base64.b64encode(half).decode() for half in (b"EtwC", b"Ckg="))
    assert decode(
        delta(0, reasoningContent={"text": "h"}),
        delta(0, reasoningContent={"text": "m"}),
        delta(0, reasoningContent={"signature": "si"}),
        delta(0, reasoningContent={"signature": "g"}),
        stop(0),
        delta(1, reasoningContent={"redactedContent": first}),
        delta(1, reasoningContent={"redactedContent": second}),
        end("end_turn"),
    ) == [
        Reasoning("h"),
        Reasoning("m"),
        Reasoning("", signature="sig"),
        Reasoning("", sealed="EtwCCkg="),
        Finish("stop", raw="end_turn"),
    ]


def test_what_only_converse_says_is_opaque() -> None:
    """A tool that the provider runs by itself is none of the client's calls."""
    server = {"toolUseId": "s", "name": "web", "type": "server_tool_use"}
    events = decode(
        begin(0, toolUse=server),
        delta(0, toolUse={"input": "{}"}),
        begin(1, image={"format": "png"}),
        delta(2, citation={"title": "t"}),
        frame("novelEvent", a=1),
        frame("messageStop", stopReason="end_turn", additionalModelResponseFields={"stop_sequence": "x"}),
        frame("metadata", trace={"guardrail": {"a": 1}}),
    )
    kinds = [next(iter(event.data)) for event in events if isinstance(event, Opaque) and event.dialect == NAME]
    assert kinds == [
        "contentBlockStart",
        "contentBlockDelta",
        "contentBlockStart",
        "contentBlockDelta",
        "novelEvent",
        "additionalModelResponseFields",
        "trace",
    ]
    assert [event for event in events if not isinstance(event, Opaque)] == [Finish("stop", raw="end_turn")]


def test_an_exception_is_a_failure_and_nothing_else() -> None:
    (failure,) = decode(write_event("throttlingException", b'{"message":"slow down"}', kind="exception"))
    assert isinstance(failure, Failure)
    assert (failure.error.status, str(failure.error)) == (429, "slow down")


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"{}",
        write_event("contentBlockDelta", b"{"),
        write_event("contentBlockDelta", b"[]"),
        begin(0, toolUse={"name": "f"}),
        begin(0, toolUse={"toolUseId": "t", "name": 7}),
        delta(0, toolUse={"input": "{}"}),
        delta(0, reasoningContent={"redactedContent": "!"}),
    ],
)
def test_a_malformed_frame_is_a_value_error(bad: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        decode(bad)


def test_a_whole_answer() -> None:
    call = {"toolUseId": "t1", "name": "f", "input": {"x": 1}, "type": "tool_use"}
    assert answer(
        {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
        {"reasoningContent": {"redactedContent": base64.b64encode(b"EtwC").decode()}},
        {"text": "a"},
        {"toolUse": call},
        {"toolUse": {**call, "toolUseId": "t2", "input": {}}},
        usage={"inputTokens": 1, "outputTokens": 2},
    ) == [
        Reasoning("hm", signature="sig"),
        Reasoning("", sealed="EtwC"),
        Text("a"),
        ToolCall(0, '{"x":1}', "t1", "f"),
        ToolCall(1, "{}", "t2", "f"),
        Finish("tool_calls", raw="end_turn"),
        UsageReport(Usage(input=1, output=2)),
    ]


def test_citations_keep_their_text() -> None:
    cited = {"citationsContent": {"content": [{"text": "so"}], "citations": [{"title": "t"}]}}
    server = {"toolUse": {"toolUseId": "s", "name": "web", "input": {}, "type": "server_tool_use"}}
    assert answer(cited, server, trace={"guardrail": {}}) == [
        Text("so"),
        Opaque(NAME, cited),
        Opaque(NAME, server),
        Finish("stop", raw="end_turn"),
        Opaque(NAME, {"trace": {"guardrail": {}}}),
    ]


def test_an_answer_that_is_none() -> None:
    (failure,) = read_answer(b'{"Output":{"__type":"x#UnknownOperationException"},"Version":"1.0"}')
    assert isinstance(failure, Failure)
    assert failure.error.message == "bedrock failed (UnknownOperationException)"
    for body in (b"{", b"[]", b"{}", b'{"message":"x"}'):
        with pytest.raises(ValueError, match=r".+"):
            read_answer(body)
    with pytest.raises(ValueError, match="toolUseId"):
        answer({"toolUse": {"name": "f"}})
