"""Every cell of the matrix (`tests.matrix`): asked by the client's SDK, answered by the recording of the vendor, cut
anywhere, and read by the SDK again.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.clients.answers import Answer, Calls, read_completion, read_message, read_response
from tests.clients.asking import write_call
from tests.clients.replay import Replay
from tests.matrix import BROKEN, CHAT, RESPONSES, Cell, list_cells

KEY = "sk-caller"
SEEDS = (1, 2, 3)
WELLSEY: Calls = (("find_tide", {"port": "Wellsey"}),)
BOTH: Calls = (*WELLSEY, ("find_wind", {"port": "Wellsey"}))
APART: Calls = (*WELLSEY, ("find_wind", {"port": "Cape Ørn"}))
FOUR: Calls = (*BOTH, *((name, {"port": "Cape Ørn"}) for name, _ in BOTH))
CLOCK: Calls = (("read_clock", {}),)
CORK: Calls = (("read_tide", {"port": "Cork"}),)

CALLS: dict[str, Calls] = {
    "anthropic/chat_stream_parallel_tools": (*WELLSEY, ("find_tide", {"port": "Port Anna"}), ("is_open", {})),
    "anthropic/chat_unary_parallel_tools": (*WELLSEY, ("find_tide", {"port": "Port Anna"})),
    "cohere/chat_unary_tool_without_arguments": CLOCK,
    "google/chat_stream_thinking_call": CLOCK,
    "google/chat_stream_parallel_tools": (*CORK, ("read_tide", {"port": "Brest"})),
    "google/chat_unary_parallel_tools": (*CORK, *CLOCK),
    "openai_responses/chat_stream_parallel_tools": BOTH,
    "bedrock/chat_stream_parallel_tools": (("find_tide", {"port": "Cape Ørn"}), ("find_wind", {})),
    "bedrock/chat_unary_parallel_tools": BOTH,
    "ollama/chat_stream_parallel_tools": FOUR,
    "ollama/chat_unary_parallel_tools": FOUR,
    "openai_responses/chat_stream_reasoning_tool": WELLSEY,
    "openai_responses/chat_unary_thinking": WELLSEY,
    "azure/responses_stream_thinking": WELLSEY,
    "azure/responses_unary_thinking": WELLSEY,
    "vertex/claude_stream_tools": CORK,
    "vertex/gemini_unary_parallel_tools": (*CORK, *CLOCK),
}
"""What is called, where it is not the tide in Wellsey (`WELLSEY`) or that and the wind at Cape Ørn (`APART`)."""

KNOT = "One knot is 0.514 m/s."
LOOKING_UP = "**Looking up the tide**\n\nOne call will do."
THOUGHTS = {
    "anthropic/chat_stream_thinking": "Synodic: about 29.53 days.",
    "anthropic/chat_unary_thinking": "The tool says 14:20.",
    "google/chat_unary": "The moon pulls, the earth turns.\n",
    "google/chat_stream_thinking_call": "**Finding the time**\n\nThere is a clock I can read.\n\nI read it now.\n",
    "vertex/gemini_stream": "The moon, surely.\n",
    "openai_responses/chat_stream_reasoning_tool": LOOKING_UP,
    "openai_responses/chat_unary_thinking": LOOKING_UP,
    "azure/responses_stream_thinking": LOOKING_UP,
    "azure/responses_unary_thinking": LOOKING_UP,
    "bedrock/chat_stream_thinking": "9 × 1.944 ≈ 17.5",
    "bedrock/chat_unary_thinking": "9 × 1.944 ≈ 17.5",
    "ollama/chat_stream_thinking": "9 × 1.944 ≈ 17.5",
    "ollama/chat_unary_thinking": "9 × 1.944 ≈ 17.5",
}
"""What is thought, where it is not `KNOT`."""

STUBBORN = {(CHAT, "huggingface/chat_unary_tools"), (CHAT, "huggingface/chat_stream_tools")}
"""Answers that call a tool and say ``stop``: the same wire on both sides stays as it is."""

CELLS = [
    pytest.param(
        cell, id=cell.name, marks=[pytest.mark.xfail(reason=BROKEN[cell.place])] if cell.place in BROKEN else []
    )
    for cell in list_cells()
]


@pytest.fixture(scope="module")
def replay() -> Iterator[Replay]:
    replay = Replay()
    replay.start()
    yield replay
    replay.stop()


@pytest.fixture(scope="module")
def openai_client(bare_gateway: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=bare_gateway, api_key=KEY, max_retries=0, timeout=20) as client:
        yield client


@pytest.fixture(scope="module")
def anthropic_client(bare_gateway: str) -> Iterator[anthropic.Anthropic]:
    url = bare_gateway.removesuffix("/v1")
    with anthropic.Anthropic(base_url=url, api_key=KEY, max_retries=0, timeout=20) as client:
        yield client


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
@pytest.mark.parametrize("cell", CELLS)
def test_cell(cell: Cell, replay: Replay, openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic) -> None:
    headers = {f"x-portkey-{name}": value for name, value in cell.row.options.items()}
    headers |= {"x-portkey-provider": cell.row.provider, "x-portkey-custom-host": replay.origin + cell.row.host}
    tape = cell.tape
    call = write_call(cell.client, tape)
    for seed in SEEDS:
        replay.put(tape, seed)
        if cell.client == CHAT:
            answer = ask_chat(openai_client, cell, call, headers)
        elif cell.client == RESPONSES:
            answer = ask_response(openai_client, cell, call, headers)
        else:
            answer = ask_message(anthropic_client, cell, call, headers)
        check_question(cell, replay)
        check_answer(cell, answer)


def ask_chat(client: openai.OpenAI, cell: Cell, call: dict[str, Any], headers: dict[str, str]) -> Answer:
    known = inspect.signature(client.chat.completions.create).parameters
    named = {name: value for name, value in call.items() if name in known}
    named["extra_body"] = {name: value for name, value in call.items() if name not in known}
    if cell.mode == "unary":
        return read_completion(client.chat.completions.create(**named, extra_headers=headers))
    if cell.tape.usage is not None:
        named["stream_options"] = {"include_usage": True}
    with client.chat.completions.stream(**named, extra_headers=headers) as stream:
        return read_completion(stream.get_final_completion())


def ask_response(client: openai.OpenAI, cell: Cell, call: dict[str, Any], headers: dict[str, str]) -> Answer:
    if cell.mode == "unary":
        return read_response(client.responses.create(**call, extra_headers=headers))
    with client.responses.stream(**call, extra_headers=headers) as stream:
        return read_response(stream.get_final_response())


def ask_message(client: anthropic.Anthropic, cell: Cell, call: dict[str, Any], headers: dict[str, str]) -> Answer:
    if cell.mode == "unary":
        return read_message(client.messages.create(**call, extra_headers=headers))
    with client.messages.stream(**call, extra_headers=headers) as stream:
        return read_message(stream.get_final_message())


def check_question(cell: Cell, replay: Replay) -> None:
    """All that was asked arrived at the vendor's own address, with the client's key where the vendor wants it."""
    (seen,) = replay.seen
    assert seen.path.startswith(cell.wire.path)
    assert seen.headers[cell.row.key].removeprefix("Bearer ") == KEY
    assert not [name for name in seen.headers if name.startswith("x-portkey-")]
    said = json.dumps(seen.body, ensure_ascii=False)
    for word in find_words(cell.tape.request):
        assert json.dumps(word, ensure_ascii=False)[1:-1] in said, f"{word[:40]} did not arrive"


def find_words(request: dict[str, Any]) -> Iterator[str]:
    """What has to reappear in whatever wire: texts, images, names of tools and of a schema's properties."""
    for turn in request.get("messages") or [{"content": request["input"]}]:
        for part in turn["content"] if isinstance(turn["content"], list) else ():
            url = part.get("image_url", {}).get("url", part.get("text", ""))
            yield url.rpartition(";base64,")[2]
        if isinstance(turn["content"], str):
            yield turn["content"]
    for tool in request.get("tools", ()):
        yield tool.get("function", tool)["name"]
    wanted = request.get("response_format", {}).get("json_schema", {}).get("schema", {})
    yield from wanted.get("properties", ())


def check_answer(cell: Cell, answer: Answer) -> None:
    tape = cell.tape
    key = cell.key
    if tape.text is not None:
        assert answer.text == tape.text
    if cell.feature in ("text", "image"):
        assert answer.text
    if cell.feature == "structured output":
        assert isinstance(json.loads(answer.text), dict)
    expected = {"tools": WELLSEY, "parallel tools": APART}.get(cell.feature, ())
    assert answer.calls == CALLS.get(key, expected)
    if cell.feature == "reasoning":
        assert answer.thought == THOUGHTS.get(key, KNOT)
    finish = "tool_calls" if answer.calls and (cell.client, key) not in STUBBORN else tape.finish or "stop"
    assert answer.finish in (finish, None)
    if tape.usage is not None:
        assert answer.usage == tape.usage
