"""Items of a Responses answer as they grow, with the events that tell of it. Facts: OpenAI's API reference, "Streaming
events", and what openai-python 3.54 demands of their order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from aiogateway.dialects.payload import parse_object
from aiogateway.dialects.responses_seals import Seal, unmark, wrap

Change = tuple[str, dict[str, Any]]
"""An event's type and its fields, but for the sequence number."""


class Item(Protocol):
    """One item of the output. `item` is what it is by now."""

    @property
    def item(self) -> dict[str, Any]: ...

    def open(self) -> Iterator[Change]: ...

    def close(self, status: str) -> Iterator[Change]:
        """`status`: completed, or incomplete when the answer was cut short here."""


class _Growing:
    """What items have in common."""

    def __init__(self, identity: str, at: int, kind: str) -> None:
        self.at = at
        self.item: dict[str, Any] = {"id": identity, "type": kind, "status": "in_progress"}

    def open(self) -> Iterator[Change]:
        yield "response.output_item.added", {"output_index": self.at, "item": dict(self.item)}

    def close(self, status: str) -> Iterator[Change]:
        self.item["status"] = status
        yield "response.output_item.done", {"output_index": self.at, "item": dict(self.item)}

    @property
    def place(self) -> dict[str, Any]:
        return {"item_id": self.item["id"], "output_index": self.at}


class MessageItem(_Growing):
    """Text of one choice; a refusal is a part of its own."""

    def __init__(self, identity: str, at: int, index: int) -> None:
        super().__init__(identity, at, "message")
        self.item |= {"role": "assistant", "content": []}
        self.index = index
        self._field = ""  # of the part that is open: text or refusal
        self.pieces: list[str] = []

    def open(self) -> Iterator[Change]:
        yield "response.output_item.added", {"output_index": self.at, "item": {**self.item, "content": []}}

    def takes(self, field: str) -> bool:
        """Whether text of this kind goes on with the part that is open."""
        return self._field == field

    @property
    def part_place(self) -> dict[str, Any]:
        return {**self.place, "content_index": len(self.item["content"])}

    def add(self, text: str, field: str) -> Iterator[Change]:
        """`field` is text or refusal."""
        if self._field != field:
            yield from self._close_part()
            self._field = field
            yield "response.content_part.added", {**self.part_place, "part": self._part("")}
        self.pieces.append(text)
        kind = "output_text" if field == "text" else "refusal"
        logprobs: dict[str, Any] = {"logprobs": []} if field == "text" else {}
        yield f"response.{kind}.delta", {**self.part_place, "delta": text, **logprobs}

    def _part(self, text: str) -> dict[str, Any]:
        if self._field == "refusal":
            return {"type": "refusal", "refusal": text}
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}

    def _close_part(self) -> Iterator[Change]:
        if not self._field:
            return
        text, place = "".join(self.pieces), self.part_place
        if self._field == "text":
            yield "response.output_text.done", {**place, "text": text, "logprobs": []}
        else:
            yield "response.refusal.done", {**place, "refusal": text}
        part = self._part(text)
        yield "response.content_part.done", {**place, "part": part}
        self.item["content"].append(part)
        self._field = ""
        self.pieces.clear()

    def close(self, status: str) -> Iterator[Change]:
        yield from self._close_part()
        yield from super().close(status)


class ThoughtItem(_Growing):
    """A thought as its summary, which is what clients show and send back; `index` is its choice."""

    def __init__(self, identity: str, at: int, index: int) -> None:
        super().__init__(identity, at, "reasoning")
        del self.item["status"]
        self.item["summary"] = []
        self.index = index
        self.seal: Seal | None = None
        self._pieces: list[str] = []

    @property
    def _part_place(self) -> dict[str, Any]:
        return {**self.place, "summary_index": 0}

    def open(self) -> Iterator[Change]:
        yield "response.output_item.added", {"output_index": self.at, "item": {**self.item, "summary": []}}

    def add(self, text: str) -> Iterator[Change]:
        if not self._pieces:
            part = {"type": "summary_text", "text": ""}
            yield "response.reasoning_summary_part.added", {**self._part_place, "part": part}
        self._pieces.append(text)
        yield "response.reasoning_summary_text.delta", {**self._part_place, "delta": text}

    def close(self, status: str) -> Iterator[Change]:
        if self._pieces:
            text = "".join(self._pieces)
            part = {"type": "summary_text", "text": text}
            yield "response.reasoning_summary_text.done", {**self._part_place, "text": text}
            yield "response.reasoning_summary_part.done", {**self._part_place, "part": part}
            self.item["summary"].append(part)
        self.item["encrypted_content"] = _write_seal(self.seal)
        yield "response.output_item.done", {"output_index": self.at, "item": dict(self.item)}


def _write_seal(seal: Seal | None) -> str:
    """A Responses provider's own content stays its own. A thought without a seal gets an empty one, by which it is
    known when it comes back: OpenAI looks for items without content in its own store.
    """
    if seal is None:
        return wrap(Seal())
    own = unmark(seal.signature) or unmark(seal.sealed)
    return wrap(seal) if own is None else own[0]


class CallItem(_Growing):
    """A function's call, or a custom tool's (`field` input).

    `wrapped`: the client's tool is a custom one, but the target knows functions only and was given one with a single
    ``input``: what that holds is known once the arguments are whole.
    """

    def __init__(self, identity: str, at: int, *, call: str, name: str, custom: bool, wrapped: bool = False) -> None:
        super().__init__(identity, at, "custom_tool_call" if custom else "function_call")
        self._field = "input" if custom else "arguments"
        self._event = "custom_tool_call_input" if custom else "function_call_arguments"
        self.item |= {"call_id": call, "name": name, self._field: ""}
        self._wrapped = wrapped
        self._pieces: list[str] = []

    def add(self, arguments: str) -> Iterator[Change]:
        if not arguments:
            return
        self._pieces.append(arguments)
        if not self._wrapped:
            yield f"response.{self._event}.delta", {**self.place, "delta": arguments}

    def close(self, status: str) -> Iterator[Change]:
        text = "".join(self._pieces)
        if self._wrapped:
            text = _unwrap_input(text)
            yield f"response.{self._event}.delta", {**self.place, "delta": text}
        self.item[self._field] = text
        name = {} if self._field == "input" else {"name": self.item["name"]}
        yield f"response.{self._event}.done", {**self.place, **name, self._field: text}
        yield from super().close(status)


def _unwrap_input(arguments: str) -> str:
    """The text of a custom tool's call that was asked for as a function's; what is no such object is the text."""
    try:
        text = parse_object(arguments.encode()).get("input")
    except ValueError:
        return arguments
    return text if isinstance(text, str) else arguments


class ImageItem(_Growing):
    """An image that the model drew, as base64."""

    def __init__(self, identity: str, at: int, data: str) -> None:
        super().__init__(identity, at, "image_generation_call")
        self.item["result"] = None
        self._data = data

    def close(self, status: str) -> Iterator[Change]:
        self.item["result"] = self._data
        yield from super().close("completed")
