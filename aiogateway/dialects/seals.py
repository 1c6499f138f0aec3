"""Whose seal a thought has, and what of a conversation is left for a provider that can't read all of its thoughts.

Anthropic's seals are bare: base64, which has no colon. Any other kind's begin with its dialect and a colon
(``gemini:``, ``openai_responses:``), in neutral values and on the wire of Anthropic's clients; what has no place there
else, and all of it on the wire of Responses' clients, travels in the envelope of `responses_seals`.

A client keeps what it got and sends it back to whichever target is next. One that speaks the client's wire gets the
client's bytes, and would refuse them for a seal that is not its own: hence `drop_blocks` and `drop_items`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from aiogateway.dialects.payload import as_text
from aiogateway.dialects.responses_seals import PREFIX

_MARK = re.compile(r"[a-z][a-z0-9_]*:")

Kept = tuple[list[Any], list[str]]
"""What is left, and the paths of what is not."""


def is_foreign(seal: str) -> bool:
    """Whether a seal is of another kind than Anthropic's."""
    return seal.startswith(PREFIX) or _MARK.match(seal) is not None


def drop_items(items: Any) -> Kept:
    """A Responses request's ``input`` without thoughts that no server of Responses has sealed."""
    if not isinstance(items, list):
        return [], []
    return _sift(items, "input", _is_enveloped)


def _is_enveloped(item: Mapping[str, Any]) -> bool:
    return item.get("type") == "reasoning" and (as_text(item.get("encrypted_content")) or "").startswith(PREFIX)


def drop_blocks(messages: Any, *, unsealed: bool) -> Kept:
    """An Anthropic request's ``messages`` without thoughts that Anthropic has not sealed; a message that held nothing
    else goes too. `unsealed`: those without any seal count, which Anthropic itself refuses as well.
    """

    def is_useless(block: Mapping[str, Any]) -> bool:
        field = {"thinking": "signature", "redacted_thinking": "data"}.get(str(block.get("type")))
        seal = None if field is None else as_text(block.get(field)) or ""
        return seal is not None and (is_foreign(seal) or (unsealed and not seal))

    kept: list[Any] = []
    lost: list[str] = []
    for number, message in enumerate(messages if isinstance(messages, list) else ()):
        content = message.get("content") if isinstance(message, Mapping) else None
        if not isinstance(content, list):
            kept.append(message)
            continue
        blocks, dropped = _sift(content, f"messages[{number}].content", is_useless)
        lost += dropped
        if not dropped:
            kept.append(message)
        elif blocks:
            kept.append({**message, "content": blocks})
    return kept, lost


def _sift(values: list[Any], path: str, is_useless: Callable[[Mapping[str, Any]], bool]) -> Kept:
    kept: list[Any] = []
    lost: list[str] = []
    for number, value in enumerate(values):
        if isinstance(value, Mapping) and is_useless(value):
            lost.append(f"{path}[{number}]")
        else:
            kept.append(value)
    return kept, lost
