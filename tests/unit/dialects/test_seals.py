from __future__ import annotations

from typing import Any

import pytest

from aiogateway.dialects.gemini_contents import SEALED
from aiogateway.dialects.responses_seals import Seal, mark, wrap
from aiogateway.dialects.seals import drop_blocks, drop_items, is_foreign

CLAUDES = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds+/=="
TEXT = {"type": "text", "text": "a"}


@pytest.mark.parametrize("seal", [SEALED + "c2VhbA==", mark("gAAA", "rs_1"), mark("gAAA", None), wrap(Seal())])
def test_other_kinds_of_seals_are_marked(seal: str) -> None:
    assert is_foreign(seal)


@pytest.mark.parametrize("seal", [CLAUDES, "", "gAAAAABpPDIU"])
def test_a_bare_seal_is_anthropics(seal: str) -> None:
    assert not is_foreign(seal)


def think(seal: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": "hm", "signature": seal}


def test_blocks() -> None:
    own = [think(CLAUDES), {"type": "redacted_thinking", "data": CLAUDES}, TEXT]
    messages: list[Any] = [
        {"role": "user", "content": "gemini: hi"},
        {"role": "assistant", "content": [*own[:2], think(SEALED + "s"), own[2]]},
        {"role": "assistant", "content": [{"type": "redacted_thinking", "data": wrap(Seal(calls={"a": "s"}))}]},
        {"role": "user", "content": []},
        7,
    ]
    kept, lost = drop_blocks(messages, unsealed=False)
    assert kept == [messages[0], {"role": "assistant", "content": own}, messages[3], 7]
    assert lost == ["messages[1].content[2]", "messages[2].content[0]"]


@pytest.mark.parametrize("block", [think(""), {"type": "thinking", "thinking": "hm"}])
def test_blocks_without_a_seal(block: dict[str, Any]) -> None:
    messages = [{"role": "assistant", "content": [block, TEXT]}]
    assert drop_blocks(messages, unsealed=False) == (messages, [])
    kept, lost = drop_blocks(messages, unsealed=True)
    assert (kept, lost) == ([{"role": "assistant", "content": [TEXT]}], ["messages[0].content[0]"])


def test_items() -> None:
    own = {"type": "reasoning", "summary": [], "encrypted_content": "gAAAAABpPDIU"}
    stored = {"type": "reasoning", "id": "rs_1", "summary": []}
    foreign = {"type": "reasoning", "summary": [], "encrypted_content": wrap(Seal(signature="s"))}
    said = {"role": "user", "content": foreign["encrypted_content"]}
    assert drop_items([own, stored, foreign, said, "x"]) == ([own, stored, said, "x"], ["input[2]"])


@pytest.mark.parametrize("value", [None, "hi", 7, {"a": 1}])
def test_what_is_no_list_holds_nothing(value: Any) -> None:
    assert drop_items(value) == ([], [])
    assert drop_blocks(value, unsealed=True) == ([], [])
