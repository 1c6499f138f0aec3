"""What of another answer is new to a client that already has a part of one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiogateway.engine.transcript import TEXT_LIMIT, Continuation, Transcript
from aiogateway.errors import AnswerDiffers, StreamBroken
from aiogateway.neutral import Begin, Event, Finish, Opaque, Reasoning, Text, ToolCall, UsageReport
from aiogateway.types import Usage


def heard(*events: Event) -> Transcript:
    transcript = Transcript()
    for event in events:
        transcript.note(event)
    return transcript


def go_on(transcript: Transcript, *events: Event) -> list[Event]:
    continuation = Continuation(transcript)
    return [new for event in events for new in continuation.take(event)]


@given(st.text(min_size=1), st.data())
def test_however_both_answers_are_cut_the_client_gets_each_letter_once(text: str, data: st.DataObject) -> None:
    sent = data.draw(st.integers(0, len(text)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)))))
    pieces = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    new = go_on(heard(Begin(), Text(text[:sent])), *(Text(piece) for piece in pieces), Finish("stop"))
    assert text[:sent] + "".join(event.text for event in new if isinstance(event, Text)) == text
    assert new[-1] == Finish("stop")


@given(st.text(min_size=1), st.text())
def test_an_answer_that_differs_is_never_spliced(sent: str, other: str) -> None:
    if other.startswith(sent):
        return
    with pytest.raises(StreamBroken, match=r"differs|shorter"):
        go_on(heard(Text(sent)), *(Text(letter) for letter in other), Finish("stop"))


def test_choices_are_gone_on_with_each_for_itself() -> None:
    transcript = heard(Text("ab"), Text("x", 1), Finish("stop", 1))
    new = go_on(transcript, Text("x", 1), Text("abc"), Finish("stop", 1), Finish("length"))
    assert new == [Text("c"), Finish("length")]


def test_a_finished_choice_grows_no_longer() -> None:
    with pytest.raises(StreamBroken, match="longer"):
        go_on(heard(Text("a"), Finish("stop")), Text("ab"))


def test_half_a_thought_is_not_replaced_by_another() -> None:
    new = go_on(heard(Reasoning("hm")), Reasoning("ah"), Text("yes"), Reasoning("of choice 1", 1))
    assert new == [Text("yes"), Reasoning("of choice 1", 1)]


def test_a_tool_call_has_to_wait_for_the_text_before_it() -> None:
    call = ToolCall(0, "{}", "id", "f")
    assert go_on(heard(Text("ab")), Text("ab"), call) == [call]
    with pytest.raises(StreamBroken, match="shorter"):
        go_on(heard(Text("ab")), Text("a"), call)


def test_what_stands_beside_the_text_is_dropped_with_it() -> None:
    probabilities = Opaque("openai_chat", {"choices": [{"index": 0, "delta": {}, "logprobs": {}}]})
    assert go_on(heard(Text("ab")), Text("a"), probabilities, Text("bc"), probabilities) == [Text("c"), probabilities]
    usage = UsageReport(Usage(input=1))
    assert go_on(heard(Text("ab")), usage) == [usage]


@pytest.mark.parametrize(
    ("event", "hindrance"),
    [
        (ToolCall(0, "", "id", "f"), "tool_call"),
        (Text("x" * (TEXT_LIMIT + 1)), "too_long"),
        (Opaque("openai_chat", {"choices": [{"index": 0, "delta": {"refusal": "no"}}]}), "unsupported"),
        (Opaque("openai_chat", {"system_fingerprint": "fp"}), None),
        (Opaque("openai_chat", {"choices": [{"index": 0, "delta": {}, "logprobs": {}}]}), None),
        (Opaque("other", ["?"]), None),
        (Finish("stop"), None),
    ],
)
def test_what_stands_in_the_way_of_recovery(event: Event, hindrance: str | None) -> None:
    transcript = heard(Begin("id"), event, Text("more"))
    assert transcript.hindrance == hindrance


def test_the_text_of_a_long_answer_is_let_go() -> None:
    transcript = heard(Text("x" * TEXT_LIMIT))
    assert (transcript.hindrance, len(transcript.texts()[0])) == (None, TEXT_LIMIT)
    transcript.note(Text("y"))
    assert (transcript.hindrance, transcript.texts()) == ("too_long", {})


def test_the_first_envelope_counts() -> None:
    transcript = heard(Begin("a", "m", 1), Begin("b", "n", 2))
    assert transcript.begin == Begin("a", "m", 1)
    assert transcript.begun == set()  # an encoder makes no chunk of it


def test_the_client_has_heard_of_a_choice_with_the_first_that_it_got_of_it() -> None:
    beside = Opaque("openai_chat", {"choices": [{"index": 4, "delta": {}, "logprobs": {}}]})
    fields = Opaque("openai_chat", {"system_fingerprint": "fp"})
    transcript = heard(Begin(), Text("a"), Text("b", 1), Reasoning("hm", 3), beside, fields, Opaque("other", ["?"]))
    assert transcript.begun == {0, 1, 3, 4}


ROLES = {
    b'{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}': {0},
    b'{"choices": [{"index": 2, "delta": {"role": "assistant"}}]}': {2},
    b'{"choices":[{"index":0,"delta":{"role":"assistant"}},{"index":1,"delta":{"role":"assistant"}}]}': {0, 1},
    b'{"choices":[{"delta":{"role":"assistant"}}]}': {0},
    b'{"choices":[{"index":0,"delta":{"content":"\\"role\\": \\"index\\":7"}}]}': set(),
    b'{"choices":[],"prompt_filter_results":[]}': set(),
}


@pytest.mark.parametrize(("data", "begun"), ROLES.items())
def test_a_role_opens_its_choice_although_it_is_no_event(data: bytes, begun: set[int]) -> None:
    transcript = Transcript()
    transcript.note_frame(b"data: " + data + b"\n\n")
    assert (transcript.begun, transcript.hindrance) == (begun, None)


CALLS = {
    b'{"tool_calls":[{"index":0,"id":"x"}]}': "tool_call",
    b'{"tool_calls": [ {"index":0}]}': "tool_call",
    b'{"function_call":{"name":"f"}}': "tool_call",
    b'{"tool_calls":null,"function_call":null}': None,
    b'{"tool_calls":[]}': None,
    b'{"content":"\\"tool_calls\\":[{"}': None,
}


@pytest.mark.parametrize(("delta", "hindrance"), CALLS.items())
def test_a_tool_call_that_has_no_name_yet_is_in_the_way(delta: bytes, hindrance: str | None) -> None:
    transcript = Transcript()
    transcript.note_frame(b'data: {"choices":[{"index":0,"delta":' + delta + b"}]}\n\n")
    assert transcript.hindrance == hindrance


def test_a_hindrance_is_the_first_one() -> None:
    transcript = heard(ToolCall(0, "", "id", "f"), Opaque("openai_chat", {"choices": [{"delta": {"refusal": "no"}}]}))
    transcript.note_frame(b'"function_call":{')
    assert transcript.hindrance == "tool_call"
    transcript = heard(Opaque("openai_chat", {"choices": [{"delta": {"refusal": "no"}}]}), ToolCall(0, "", "id", "f"))
    transcript.note_frame(b'"function_call":{')
    assert transcript.hindrance == "unsupported"


def test_thoughts_go_out_where_only_the_envelope_did() -> None:
    transcript = heard(Begin())
    transcript.note_frame(b'{"choices":[{"index":0,"delta":{"role":"assistant"}}]}')
    assert go_on(transcript, Reasoning("hm"), Text("yes")) == [Reasoning("hm"), Text("yes")]
    transcript.note(Text("y"))
    assert go_on(transcript, Reasoning("hm"), Text("yes")) == [Text("es")]


def test_what_differs_is_no_fault_of_the_target() -> None:
    for events in ([Text("b")], [Finish("stop")]):
        with pytest.raises(AnswerDiffers):
            go_on(heard(Text("a")), *events)


def test_probabilities_go_with_the_text_they_stand_beside() -> None:
    beside = {text: Opaque("openai_chat", {"choices": [{"index": 0, "delta": {}, "logprobs": text}]}) for text in "abc"}
    events = [event for text in "abc" for event in (Text(text), beside[text])]
    assert go_on(heard(Text("ab")), *events) == [Text("c"), beside["c"]]
