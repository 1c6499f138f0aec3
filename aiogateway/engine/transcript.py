"""What a client has already been told of a stream, and how another target's answer goes on from there."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

from ..errors import AnswerDiffers
from ..neutral import Begin, Event, Finish, Opaque, Reasoning, Text, ToolCall

TEXT_LIMIT = 1 << 20
"""Characters of text that are kept of one answer; beyond them it can't be recovered."""

# Inside a JSON string a quote is escaped, so no text can imitate these.
_INDEX = re.compile(rb'"index":\s*([0-9]{1,9})')
_CALL = re.compile(rb'"(?:tool_calls":\s*\[|function_call":)\s*\{')


class Transcript:
    """The events of a stream as they went out."""

    __slots__ = ("_size", "_texts", "begin", "begun", "finished", "hindrance", "thought")

    def __init__(self) -> None:
        self.begin: Begin | None = None
        self.begun: set[int] = set()  # choices that the client has heard of
        self.finished: set[int] = set()
        self.thought: set[int] = set()  # choices of which it has heard thoughts
        self.hindrance: str | None = None  # why another answer can't go on from here
        self._texts: dict[int, io.StringIO] = {}  # a list of tokens would take 18 times their length
        self._size = 0

    def note(self, event: Event) -> None:
        """One event that goes out to the client."""
        if isinstance(event, Text):
            self.begun.add(event.index)
            self._keep(event)
        elif isinstance(event, Reasoning):
            self.begun.add(event.index)
            self.thought.add(event.index)
        elif isinstance(event, Finish):
            self.finished.add(event.index)
        elif isinstance(event, ToolCall):
            self.hindrance = self.hindrance or "tool_call"
        elif isinstance(event, Begin):
            self.begin = self.begin or event
        elif isinstance(event, Opaque):
            self._note_opaque(event)

    def note_frame(self, frame: bytes) -> None:
        """A frame that goes out as it is: an event may say less. What opens a choice, or a tool call whose name has yet
        to come, is no event.
        """
        if b'"role"' in frame:
            self.begun.update(map(int, _INDEX.findall(frame) or (0,)))
        if _CALL.search(frame) is not None:
            self.hindrance = self.hindrance or "tool_call"

    def _note_opaque(self, event: Opaque) -> None:
        """A refusal, audio: what can't be compared can't be gone on from. Log probabilities beside text can."""
        for choice in event.data.get("choices", ()) if isinstance(event.data, dict) else ():
            self.begun.add(choice.get("index", 0))
            if choice.get("delta"):
                self.hindrance = self.hindrance or "unsupported"

    def _keep(self, event: Text) -> None:
        self._size += len(event.text)
        if self._size > TEXT_LIMIT:
            self.hindrance = self.hindrance or "too_long"
            self._texts.clear()
        if self.hindrance is None:
            self._texts.setdefault(event.index, io.StringIO()).write(event.text)

    def texts(self) -> dict[int, str]:
        """The text of each choice so far."""
        return {index: text.getvalue() for index, text in self._texts.items()}


class Continuation:
    """Drops from another target's answer what the client already has.

    Raises AnswerDiffers when the answer differs from it: two texts are never spliced.
    """

    __slots__ = ("_at", "_dropped", "_finished", "_sent", "_thought")

    def __init__(self, transcript: Transcript) -> None:
        self._sent = transcript.texts()
        self._thought = transcript.thought | set(self._sent)
        self._finished = frozenset(transcript.finished)
        self._at = dict.fromkeys(self._sent, 0)
        self._dropped = False  # the last text: what stands beside it goes with it

    def take(self, event: Event) -> Iterator[Event]:
        """What of the event is new to the client. `Begin` is the caller's business."""
        if isinstance(event, Text):
            yield from self._take_text(event)
        elif isinstance(event, Reasoning):
            if event.index not in self._thought:  # thoughts can't be compared, nor half of them replaced
                yield event
        elif isinstance(event, Finish):
            self._demand_whole(event.index)
            if event.index not in self._finished:
                yield event
        elif isinstance(event, ToolCall):
            self._demand_whole(event.index)
            yield event
        elif isinstance(event, Opaque):
            if self._is_caught_up() and not self._dropped:
                yield event
        else:
            yield event

    def _take_text(self, event: Text) -> Iterator[Text]:
        index, text = event.index, event.text
        sent, at = self._sent.get(index, ""), self._at.get(index, 0)
        known = min(len(sent) - at, len(text))
        if known:
            if not sent.startswith(text[:known], at):
                raise AnswerDiffers("the other target's answer differs from what was already sent")
            self._at[index] = at + known
            text = text[known:]
        self._dropped = not text
        if text:
            if index in self._finished:
                raise AnswerDiffers("the other target's answer is longer than the one that was already finished")
            yield Text(text, index)

    def _demand_whole(self, index: int) -> None:
        if self._at.get(index, 0) < len(self._sent.get(index, "")):
            raise AnswerDiffers("the other target's answer is shorter than what was already sent")

    def _is_caught_up(self) -> bool:
        return all(self._at[index] == len(text) for index, text in self._sent.items())
