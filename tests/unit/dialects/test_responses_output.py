from __future__ import annotations

from typing import Any

import pytest

from aiogateway.dialects.responses_output import CallItem, Change, ImageItem, Item, MessageItem, ThoughtItem
from aiogateway.dialects.responses_seals import Seal, mark, unwrap

PLACE = {"item_id": "i", "output_index": 2}


def tell(item: Item, *changes: Any, status: str = "completed") -> list[Change]:
    """The whole life of an item; its type's prefix is left out."""
    found = [*item.open(), *(change for each in changes for change in each), *item.close(status)]
    return [(kind.removeprefix("response."), fields) for kind, fields in found]


def kinds(changes: list[Change]) -> list[str]:
    return [kind for kind, _ in changes]


def test_a_message() -> None:
    item = MessageItem("i", 2, 0)
    place = {**PLACE, "content_index": 0}
    empty = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
    whole = {**empty, "text": "ab"}
    assert tell(item, item.add("a", "text"), item.add("b", "text")) == [
        (
            "output_item.added",
            {
                "output_index": 2,
                "item": {"id": "i", "type": "message", "status": "in_progress", "role": "assistant", "content": []},
            },
        ),
        ("content_part.added", {**place, "part": empty}),
        ("output_text.delta", {**place, "delta": "a", "logprobs": []}),
        ("output_text.delta", {**place, "delta": "b", "logprobs": []}),
        ("output_text.done", {**place, "text": "ab", "logprobs": []}),
        ("content_part.done", {**place, "part": whole}),
        (
            "output_item.done",
            {
                "output_index": 2,
                "item": {"id": "i", "type": "message", "status": "completed", "role": "assistant", "content": [whole]},
            },
        ),
    ]


def test_a_refusal_is_a_part_of_its_own() -> None:
    item = MessageItem("i", 0, 0)
    changes = tell(item, item.add("a", "text"), item.add("no", "refusal"), status="incomplete")
    assert kinds(changes) == [
        "output_item.added",
        "content_part.added", "output_text.delta", "output_text.done", "content_part.done",
        "content_part.added", "refusal.delta", "refusal.done", "content_part.done",
        "output_item.done",
    ]  # fmt: skip
    assert [fields["content_index"] for _, fields in changes if "content_index" in fields] == [0] * 4 + [1] * 4
    assert item.item["status"] == "incomplete"
    assert item.item["content"][1] == {"type": "refusal", "refusal": "no"}


NONE = "aiogateway.1.e30="
"""The seal of a thought that nobody sealed."""


def test_a_thought() -> None:
    item = ThoughtItem("i", 2, 0)
    place = {**PLACE, "summary_index": 0}
    changes = tell(item, item.add("a"), item.add("b"))
    part = {"type": "summary_text", "text": "ab"}
    assert changes == [
        ("output_item.added", {"output_index": 2, "item": {"id": "i", "type": "reasoning", "summary": []}}),
        ("reasoning_summary_part.added", {**place, "part": {"type": "summary_text", "text": ""}}),
        ("reasoning_summary_text.delta", {**place, "delta": "a"}),
        ("reasoning_summary_text.delta", {**place, "delta": "b"}),
        ("reasoning_summary_text.done", {**place, "text": "ab"}),
        ("reasoning_summary_part.done", {**place, "part": part}),
        (
            "output_item.done",
            {"output_index": 2, "item": {"id": "i", "type": "reasoning", "summary": [part], "encrypted_content": NONE}},
        ),
    ]


def test_a_seal_is_in_the_last_event() -> None:
    item = ThoughtItem("i", 2, 0)
    item.seal = Seal(sealed="BLOB")
    changes = tell(item)
    assert kinds(changes) == ["output_item.added", "output_item.done"]
    assert unwrap(changes[-1][1]["item"]["encrypted_content"]) == Seal(sealed="BLOB")


@pytest.mark.parametrize("seal", [Seal(signature=mark("gA", "rs")), Seal(sealed=mark("gA", None))])
def test_a_responses_providers_content_stays_its_own(seal: Seal) -> None:
    item = ThoughtItem("i", 2, 0)
    item.seal = seal
    assert tell(item)[-1][1]["item"]["encrypted_content"] == "gA"


def test_a_call() -> None:
    item = CallItem("i", 2, call="c", name="f", custom=False)
    head = {"id": "i", "type": "function_call", "call_id": "c", "name": "f"}
    changes = tell(item, item.add(""), item.add("{"), item.add("}"))
    assert changes == [
        ("output_item.added", {"output_index": 2, "item": {**head, "status": "in_progress", "arguments": ""}}),
        ("function_call_arguments.delta", {**PLACE, "delta": "{"}),
        ("function_call_arguments.delta", {**PLACE, "delta": "}"}),
        ("function_call_arguments.done", {**PLACE, "name": "f", "arguments": "{}"}),
        ("output_item.done", {"output_index": 2, "item": {**head, "status": "completed", "arguments": "{}"}}),
    ]


def test_a_custom_tools_call() -> None:
    item = CallItem("i", 2, call="c", name="patch", custom=True)
    changes = tell(item, item.add("<"), item.add(">"))
    assert changes[1:-1] == [
        ("custom_tool_call_input.delta", {**PLACE, "delta": "<"}),
        ("custom_tool_call_input.delta", {**PLACE, "delta": ">"}),
        ("custom_tool_call_input.done", {**PLACE, "input": "<>"}),
    ]
    assert (item.item["type"], item.item["input"]) == ("custom_tool_call", "<>")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ('{"input":"a\\nb"}', "a\nb"),
        ('{"input":{"a":1}}', '{"input":{"a":1}}'),
        ('{"patch":"a"}', '{"patch":"a"}'),
        ("*** Begin", "*** Begin"),
        ("", ""),
    ],
)
def test_a_custom_tools_call_that_came_as_a_functions(arguments: str, text: str) -> None:
    item = CallItem("i", 2, call="c", name="patch", custom=True, wrapped=True)
    changes = tell(item, item.add(arguments[:5]), item.add(arguments[5:]))
    assert changes[1:-1] == [
        ("custom_tool_call_input.delta", {**PLACE, "delta": text}),
        ("custom_tool_call_input.done", {**PLACE, "input": text}),
    ]
    assert item.item["input"] == text


def test_an_image() -> None:
    item = ImageItem("i", 2, "AAAA")
    first, last = tell(item, status="incomplete")
    assert first[1]["item"] == {"id": "i", "type": "image_generation_call", "status": "in_progress", "result": None}
    assert last[1]["item"] == {"id": "i", "type": "image_generation_call", "status": "completed", "result": "AAAA"}
