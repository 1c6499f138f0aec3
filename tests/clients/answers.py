"""What an SDK made of an answer, in the same words for all of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

Calls = tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """`calls` are names and arguments as values; `finish` is OpenAI's chat word; `usage` is input and output tokens.

    `finish` is None where a wire has no word for it: a response says no more than that it is complete.
    """

    text: str
    calls: Calls
    thought: str
    finish: str | None
    usage: tuple[int, int] | None


def read_completion(completion: Any) -> Answer:
    choice = completion.choices[0]
    message, usage = choice.message, completion.usage
    return Answer(
        text=message.content or "",
        calls=tuple((call.function.name, json.loads(call.function.arguments)) for call in message.tool_calls or ()),
        thought=getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None) or "",
        finish=choice.finish_reason,
        usage=None if usage is None else (usage.prompt_tokens, usage.completion_tokens),
    )


def read_response(response: Any) -> Answer:
    items = {kind: [item for item in response.output if item.type == kind] for kind in ("function_call", "reasoning")}
    thoughts = [part.text for item in items["reasoning"] for part in (*(item.summary or ()), *(item.content or ()))]
    cut = response.incomplete_details
    assert response.status == ("incomplete" if cut else "completed")
    return Answer(
        text=response.output_text,
        calls=tuple((item.name, json.loads(item.arguments)) for item in items["function_call"]),
        thought="".join(thoughts),
        finish={"max_output_tokens": "length", "content_filter": "content_filter"}[cut.reason] if cut else None,
        usage=(response.usage.input_tokens, response.usage.output_tokens) if response.usage else None,
    )


def read_message(message: Any) -> Answer:
    blocks = {
        kind: [block for block in message.content if block.type == kind] for kind in ("text", "tool_use", "thinking")
    }
    usage = message.usage
    given = usage.input_tokens + (usage.cache_read_input_tokens or 0) + (usage.cache_creation_input_tokens or 0)
    words = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls"}
    return Answer(
        text="".join(block.text for block in blocks["text"]),
        calls=tuple((block.name, block.input) for block in blocks["tool_use"]),
        thought="".join(block.thinking for block in blocks["thinking"]),
        finish=words.get(message.stop_reason, message.stop_reason),
        usage=(given, usage.output_tokens),
    )
