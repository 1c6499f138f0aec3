from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.dialects.responses_decode import ResponseDecoder
from aiogateway.dialects.responses_encode import ResponseEncoder, write_answer
from aiogateway.dialects.responses_items import read_input
from aiogateway.dialects.responses_seals import Seal, unwrap
from aiogateway.errors import StreamBroken, UpstreamStatus
from aiogateway.neutral import (
    Begin,
    Envelope,
    Event,
    Failure,
    Finish,
    Message,
    Opaque,
    Reasoning,
    ReasoningPart,
    Text,
    TextPart,
    ToolCall,
    ToolCallPart,
    UsageReport,
    Vectors,
)
from aiogateway.types import Usage
from aiogateway.wire import sse

ENVELOPE = Envelope(id="0123456789abcdef0123456789abcdef", model="m", created=7)
CUSTOM = {"tools": [{"type": "custom", "name": "patch"}]}
USAGE = Usage(input=9, output=5, cached=2, cache_write=1, reasoning=3)


def frames_of(events: Sequence[Event], request: Mapping[str, Any] | None = None) -> list[bytes]:
    encoder = ResponseEncoder(ENVELOPE, request)
    return sse.Splitter().feed(b"".join(encoder.feed(event) for event in events) + encoder.end())


def encode(*events: Event, request: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """The events' data, after checking what holds for all of them, and that the unary answer is the last one's."""
    frames = frames_of(events, request)
    found = [orjson.loads(sse.data_of(frame)) for frame in frames]
    assert [event["sequence_number"] for event in found] == list(range(len(found)))
    assert [event["type"] for event in found] == [sse.event_name(frame) for frame in frames]
    assert orjson.loads(write_answer(events, ENVELOPE, request)) == found[-1]["response"]
    return found


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def output(*events: Event, request: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = encode(*events, request=request)[-1]["response"]["output"]
    return items


def test_text_in_the_documented_order() -> None:
    events = encode(Begin("chatcmpl-1", "gpt", 5), Text('a"'), Text("💥"), Finish("stop"), UsageReport(USAGE))
    assert kinds(events) == [
        "created", "in_progress", "output_item.added", "content_part.added", "output_text.delta", "output_text.delta",
        "output_text.done", "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    place = {"item_id": "msg_chatcmpl-1_0", "output_index": 0, "content_index": 0}
    assert events[4] == {
        "type": "response.output_text.delta", "sequence_number": 4, **place, "delta": 'a"', "logprobs": [],
    }  # fmt: skip
    assert events[5] == {**events[4], "sequence_number": 5, "delta": "💥"}
    assert next(iter(events[5])) == "type"


def test_the_whole_response() -> None:
    *_, last = encode(Begin("chatcmpl-1", "gpt", 5), Text("a"), Finish("stop"), UsageReport(USAGE))
    assert last["response"] == {
        "id": "resp_chatcmpl-1",
        "object": "response",
        "created_at": 5,
        "status": "completed",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": "gpt",
        "output": [
            {
                "id": "msg_chatcmpl-1_0",
                "type": "message",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "a", "annotations": [], "logprobs": []}],
            }
        ],
        "store": False,
        "instructions": None,
        "max_output_tokens": None,
        "max_tool_calls": None,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "prompt_cache_key": None,
        "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "top_logprobs": 0,
        "top_p": 1.0,
        "truncation": "disabled",
        "user": None,
        "metadata": {},
        "usage": {
            "input_tokens": 9,
            "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 1},
            "output_tokens": 5,
            "output_tokens_details": {"reasoning_tokens": 3},
            "total_tokens": 14,
        },
    }


def test_it_begins_without_output_and_usage() -> None:
    first, second, *_ = encode(UsageReport(USAGE), Text("a"), Finish("stop"))
    for event in (first, second):
        assert (event["response"]["status"], event["response"]["output"], event["response"]["usage"]) == (
            "in_progress", [], None,
        )  # fmt: skip


def test_it_repeats_the_request() -> None:
    request = {"instructions": "be brief", "metadata": {"a": "b"}, "store": True, "temperature": None, **CUSTOM}
    response = encode(Text("a"), request=request)[0]["response"]
    assert (response["instructions"], response["metadata"], response["tools"]) == (
        "be brief", {"a": "b"}, CUSTOM["tools"],
    )  # fmt: skip
    assert (response["store"], response["temperature"]) == (False, 1.0)


def test_ids() -> None:
    first, *_, last = encode(Text("a"), Finish("stop"))
    assert (first["response"]["id"], first["response"]["model"]) == (f"resp_{ENVELOPE.id}", "m")
    assert last["response"]["output"][0]["id"] == f"msg_{ENVELOPE.id}_0"
    first, *_, last = encode(Begin("resp_" + "a" * 60), Text("a"), Finish("stop"))
    assert first["response"]["id"] == "resp_" + "a" * 60
    assert len(last["response"]["output"][0]["id"]) <= 64


@pytest.mark.parametrize(
    ("reason", "status", "details"),
    [
        ("stop", "completed", None),
        ("tool_calls", "completed", None),
        ("length", "incomplete", {"reason": "max_output_tokens"}),
        ("content_filter", "incomplete", {"reason": "content_filter"}),
    ],
)
def test_endings(reason: str, status: str, details: dict[str, str] | None) -> None:
    *_, last = encode(Text("a"), Finish(reason))
    assert last["type"] == f"response.{status}"
    response = last["response"]
    assert (response["status"], response["incomplete_details"], response["usage"]) == (status, details, None)
    assert response["output"][0]["status"] == status


def test_an_answer_without_anything() -> None:
    assert kinds(encode()) == ["created", "in_progress", "completed"]


def test_calls_in_turns() -> None:
    events = encode(
        Text("so"), ToolCall(0, "{", "c1", "f"), ToolCall(1, "{}", "c2", "g"), ToolCall(0, "}"), Finish("tool_calls")
    )
    assert kinds(events)[5:] == [
        "output_text.done", "content_part.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta",
        "output_item.added", "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done", "output_item.done",
        "function_call_arguments.done", "output_item.done",
        "completed",
    ]  # fmt: skip
    _, first, second = events[-1]["response"]["output"]
    assert (first["call_id"], first["name"], first["arguments"]) == ("c1", "f", "{}")
    assert (second["call_id"], second["name"], second["arguments"]) == ("c2", "g", "{}")


def test_calls_without_ids_or_with_the_same_one() -> None:
    items = output(*[ToolCall(number, "{}", identity, "f") for number, identity in enumerate((None, "c", "c", "c"))])
    ids = [item["call_id"] for item in items]
    assert len(set(ids)) == 4
    assert ids[:2] == [f"call_{ENVELOPE.id}_0_0", "c"]


def test_custom_tools() -> None:
    (item,) = output(ToolCall(0, "<x", "c", "patch", custom=True), ToolCall(0, ">", custom=True))
    assert (item["type"], item["input"]) == ("custom_tool_call", "<x>")


def test_a_custom_tool_that_the_target_took_for_a_function() -> None:
    pieces = (ToolCall(0, '{"in', "c", "patch"), ToolCall(0, 'put":"<x>"}'))
    (item,) = output(*pieces, request=CUSTOM)
    assert (item["type"], item["input"]) == ("custom_tool_call", "<x>")
    (item,) = output(*pieces)
    assert item["type"] == "function_call"


def test_thoughts_and_their_seals() -> None:
    items = output(
        Reasoning("a"),
        Reasoning("b", signature="S"),
        Reasoning("", sealed="X"),
        Reasoning("c"),
        Text("t"),
        Reasoning(""),
    )
    assert [item["type"] for item in items] == ["reasoning", "reasoning", "reasoning", "message"]
    assert [[part["text"] for part in item["summary"]] for item in items[:3]] == [["ab"], [], ["c"]]
    seals = [unwrap(item.get("encrypted_content", "")) for item in items[:3]]
    assert seals == [Seal(signature="S"), Seal(sealed="X"), Seal()]


def test_what_is_sent_back_is_what_the_provider_said() -> None:
    """The assistant's turn, through a client that keeps no ids, as Codex does."""
    items = output(
        Reasoning("hm"),
        Reasoning("", signature="S"),
        Reasoning("", sealed="X"),
        Text("I look"),
        Reasoning("", signature="gemini:T"),
        ToolCall(0, "{}", "c1", "f", signature="G"),
        ToolCall(1, '{"input":"<x>"}', "c2", "patch"),
        Finish("tool_calls"),
        request=CUSTOM,
    )
    for item in items:
        item.pop("id")
    assert list(read_input(items)) == [
        Message(
            "assistant",
            (
                ReasoningPart("hm", "S"),
                ReasoningPart("", sealed="X"),
                TextPart("I look"),
                ReasoningPart("", "gemini:T"),
                ToolCallPart("c1", "f", "{}", "G"),
                ToolCallPart("c2", "patch", "<x>", custom=True),
            ),
        )
    ]


def test_a_late_seal_over_a_call_comes_back_too() -> None:
    items = output(ToolCall(0, "{", "c1", "f"), ToolCall(0, "}", signature="G"))
    assert list(read_input(items)) == [Message("assistant", (ToolCallPart("c1", "f", "{}", "G"),))]


def test_refusals_and_images_from_chat() -> None:
    def shown(**delta: Any) -> Opaque:
        return Opaque("openai_chat", {"choices": [{"index": 0, "delta": delta}]})

    images = [{"image_url": {"url": url}} for url in ("data:image/png;base64,AAAA", "https://x/i.png")]
    items = output(shown(refusal="I "), shown(refusal="won't"), shown(images=images), Opaque("gemini", 1))
    assert [item["type"] for item in items] == ["message", "image_generation_call"]
    assert items[0]["content"] == [{"type": "refusal", "refusal": "I won't"}]
    assert items[1]["result"] == "AAAA"


def test_several_choices_are_messages_of_their_own() -> None:
    items = output(Text("a"), Text("b", 1), Finish("stop"), Finish("stop", 1))
    assert [item["content"][0]["text"] for item in items] == ["a", "b"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (StreamBroken("cut"), {"code": "stream_truncated", "message": "cut"}),
        (
            UpstreamStatus("slow", status=429, body=b"", error_type="rate_limit_error", error_code=None, param=None),
            {"code": "rate_limit_error", "message": "slow"},
        ),
    ],
)
def test_a_failure_ends_it(error: Any, said: dict[str, str]) -> None:
    calls = (ToolCall(0, '{"a"', "c1", "f"), Failure(error))
    *before, told, last = encode(Text("a"), *calls)
    assert (told["type"], told["message"], told["error"]["message"]) == ("error", said["message"], said["message"])
    assert last["type"] == "response.failed"
    assert (last["response"]["status"], last["response"]["error"]) == ("failed", said)
    message, call = last["response"]["output"]
    assert message["content"][0]["text"] == "a"
    assert (call["arguments"], call["status"]) == ('{"a"', "incomplete")
    assert not [each for each in before if each.get("item_id") == call["id"] and each["type"].endswith("done")]


# --- any sequence -----------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["f", "patch", "", None])
IDS = st.sampled_from(["c", "d", None])
SEALS = st.sampled_from([None, None, "S"])
INDEXES = st.sampled_from([0, 0, 0, 1])
TEXTS = st.sampled_from(["", "a", "ä\n", "💥"])
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(Begin, st.sampled_from(["x", "resp_y", None])),
    st.builds(Text, TEXTS, INDEXES),
    st.builds(Reasoning, TEXTS, INDEXES, signature=SEALS, sealed=SEALS),
    st.builds(ToolCall, st.integers(0, 2), TEXTS, IDS, NAMES, INDEXES, SEALS, st.booleans()),
    st.builds(Finish, st.sampled_from(["stop", "length", "tool_calls", "content_filter"]), INDEXES),
    st.just(UsageReport(USAGE)),
    st.just(Opaque("openai_chat", {"choices": [{"index": 0, "delta": {"refusal": "no"}}]})),
    st.just(Opaque("openai_chat", {"choices": [{"index": 0, "delta": {"images": [{}]}}], "service_tier": "x"})),
    st.just(Vectors(())),
)


@given(st.lists(EVENTS, max_size=20))
def test_any_sequence_is_well_formed(events: list[Event]) -> None:
    check(encode(*events, request=CUSTOM))


def check(events: list[dict[str, Any]]) -> None:
    """What the reference says of the order: an item is added, grows, is done, and stands in the response as it was
    when it was done; its parts and its text likewise.
    """
    assert kinds(events)[:2] == ["created", "in_progress"]
    assert kinds(events)[-1] in ("completed", "incomplete")
    final = events[-1]["response"]["output"]
    opened: dict[int, dict[str, Any]] = {}
    texts: dict[tuple[Any, ...], str] = {}
    for event in events[2:-1]:
        kind, at = event["type"].removeprefix("response."), event["output_index"]
        if kind == "output_item.added":
            assert at == len(opened)
            opened[at] = event["item"]
            continue
        assert opened[at].get("status") != "done", "goes on after its end"
        if kind == "output_item.done":
            assert event["item"] == final[at]
            assert event["item"]["id"] == opened[at]["id"]
            opened[at] = {"status": "done"}
            continue
        assert event["item_id"] == opened[at]["id"]
        place = (at, event.get("content_index"), event.get("summary_index"))
        family, _, step = kind.rpartition(".")
        if step == "added":
            assert place not in texts
            texts[place] = ""
        elif step == "delta":
            texts[place] = texts.get(place, "") + event["delta"]
        elif not family.endswith("_part"):
            said = next(event[name] for name in ("text", "refusal", "arguments", "input") if name in event)
            assert said == texts.get(place, "")
    assert len(final) == len(opened)
    assert len({item["id"] for item in final}) == len(final)
    assert len({item["call_id"] for item in final if "call_id" in item}) == sum("call_id" in item for item in final)


@given(st.lists(EVENTS, max_size=12))
def test_what_is_said_can_be_read_again(events: list[Event]) -> None:
    decoder = ResponseDecoder()
    back = [event for frame in frames_of(events) for event in decoder.feed(frame)]
    assert isinstance(back[0], Begin)
    assert isinstance(back[-1], Finish)
    for kind in (Text, Reasoning):
        said = "".join(event.text for event in events if isinstance(event, kind))
        assert "".join(event.text for event in back if isinstance(event, kind)).replace("\n\n", "") == said
