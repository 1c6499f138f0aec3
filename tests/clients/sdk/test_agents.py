"""Two agents that only speak their own wire, in front of other vendors: the second turn of a session of Claude Code
(/v1/messages) and of Codex (/v1/responses), with what a first turn left behind.

Their shapes: code.claude.com, "Gateway protocol reference"; openai/codex, codex-rs/codex-api/src/common.rs,
`ResponsesApiRequest`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import anthropic
import openai
import pytest

from tests.clients.answers import Answer, read_message, read_response
from tests.clients.replay import Replay, Seen
from tests.tape import RECORDINGS, ROOT, read_tape

OURS = "sk-ours"
BETAS = ["claude-code-20250219", "interleaved-thinking-2025-05-14", "context-management-2025-06-27"]
SIGNATURE = "EqQBCkYIARgCKkDharbourSignatureMadeUp"
SEALED = "gAAAAABpPDIVOKrsharbour"
BEDROCK = ROOT / "plugins/bedrock/tests/recordings"
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
CACHED = {"type": "ephemeral"}
SCHEMA = {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "additionalProperties": False}

CLAUDE_CODE: dict[str, Any] = {
    "model": "claude-sonnet-4-5",
    "max_tokens": 32000,
    "system": [
        {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.0.0ff; cc_entrypoint=cli;"},
        {"type": "text", "text": "You are Claude Code.", "cache_control": CACHED},
    ],
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "<system-reminder>\nThe harbour is closed.\n</system-reminder>"},
                {"type": "text", "text": "What came in today?"},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "List the log.", "signature": SIGNATURE},
                {"type": "text", "text": "I'll look into the log."},
                {"type": "tool_use", "id": "toolu_01Bash", "name": "Bash", "input": {"command": "ls log"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "toolu_01Bash",
                    "content": "ferry.txt",
                    "is_error": False,
                    "cache_control": CACHED,
                }
            ],
        },
    ],
    "tools": [
        {
            "name": "Bash",
            "description": "Runs a command",
            "input_schema": {**SCHEMA, "properties": {"command": {"type": "string"}}, "required": ["command"]},
        },
        {
            "name": "find_tide",
            "description": "The next high tide",
            "input_schema": {**SCHEMA, "properties": {"port": {"type": "string"}}, "required": ["port"]},
        },
    ],
    "metadata": {"user_id": "user_0_account__session_1"},
    "thinking": {"type": "enabled", "budget_tokens": 31999},
    "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
    "temperature": 1,
}

CODEX: dict[str, Any] = {
    "model": "gpt-5.4",
    "instructions": "You are Codex.",
    "input": [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "Sandbox: read only."}]},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "What came in today?"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [], "content": None, "encrypted_content": SEALED},
        {"type": "function_call", "name": "shell", "arguments": '{"command":["ls","log"]}', "call_id": "call_1"},
        {"type": "function_call_output", "call_id": "call_1", "output": "ferry.txt"},
        {
            "type": "custom_tool_call",
            "status": "completed",
            "call_id": "call_2",
            "name": "apply_patch",
            "input": "*** Begin Patch\n*** End Patch",
        },
        {"type": "custom_tool_call_output", "call_id": "call_2", "output": "Nothing to do."},
    ],
    "tools": [
        {
            "type": "function",
            "name": "shell",
            "description": "Runs a command",
            "strict": False,
            "parameters": {
                "type": "object",
                "properties": {"command": {"type": "array", "items": {"type": "string"}}},
                "required": ["command"],
                "additionalProperties": False,
            },
        },
        {
            "type": "function",
            "name": "find_tide",
            "description": "The next high tide",
            "strict": False,
            "parameters": {"type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]},
        },
        {
            "type": "custom",
            "name": "apply_patch",
            "description": "Edits files",
            "format": {"type": "grammar", "syntax": "lark", "definition": 'start: "*** Begin Patch" LF'},
        },
        {"type": "web_search", "external_web_access": False},
    ],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"effort": "medium", "summary": "auto"},
    "store": False,
    "stream": True,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "session-1",
    "text": {"verbosity": "medium"},
    "client_metadata": {"x-codex-installation-id": "0"},
}


class Way(NamedTuple):
    """Where a session goes: a config without its host, what ends the host's URL, and the recorded answer."""

    config: dict[str, Any]
    suffix: str
    recording: Path


def _to(provider: str, model: str) -> dict[str, Any]:
    return {"provider": provider, "api_key": OURS, "override_params": {"model": model}}


MESSAGES_WAYS = {
    "openai": Way(_to("openai", "gpt-5"), "/v1", RECORDINGS / "openai/chat_stream_tools.rec"),
    "google": Way(_to("google", "gemini-2.5-flash"), "", RECORDINGS / "google/chat_stream_tools.rec"),
    "bedrock": Way(_to("bedrock", CLAUDE), "", BEDROCK / "messages_stream.rec"),
    "bedrock-nova": Way(_to("bedrock", "amazon.nova-lite-v1:0"), "", BEDROCK / "chat_stream_tools.rec"),
}
RESPONSES_WAYS = {
    "openai": Way(_to("openai", "gpt-5.4"), "/v1", RECORDINGS / "openai_responses/chat_stream_reasoning_tool.rec"),
    "google": Way(_to("google", "gemini-2.5-flash"), "", RECORDINGS / "google/chat_stream_tools.rec"),
    "bedrock": Way(_to("bedrock", CLAUDE), "", BEDROCK / "chat_stream_tools.rec"),
}


@pytest.fixture(scope="module")
def replay() -> Iterator[Replay]:
    replay = Replay()
    replay.start()
    yield replay
    replay.stop()


def start(way: Way, replay: Replay) -> dict[str, str]:
    """Plays the answer; the headers that an agent is set up with."""
    replay.put(read_tape(way.recording), seed=5)
    return {"x-portkey-config": json.dumps({**way.config, "custom_host": f"{replay.origin}{way.suffix}"})}


def ask_as_claude_code(gateway: str, way: Way, replay: Replay) -> tuple[Answer, Seen, str]:
    """The answer, what the vendor saw, and the parameters that the gateway says it dropped."""
    headers = start(way, replay)
    url = gateway.removesuffix("/v1")
    fields = {name: value for name, value in CLAUDE_CODE.items() if name != "temperature"}
    own = {"temperature": CLAUDE_CODE["temperature"]}  # the SDK has forgotten it
    with (
        anthropic.Anthropic(base_url=url, auth_token="sk-agent", max_retries=0, timeout=20) as client,
        client.beta.messages.stream(
            **fields, extra_body=own, betas=BETAS, extra_headers={**headers, "x-claude-code-session-id": "1"}
        ) as stream,
    ):
        message = stream.get_final_message()
        dropped = stream.response.headers.get("x-aiogateway-dropped-params", "")
    (seen,) = replay.seen
    assert message.stop_reason == "tool_use"
    return read_message(message), seen, dropped


def ask_as_codex(gateway: str, way: Way, replay: Replay) -> tuple[Answer, Seen, str]:
    headers = start(way, replay)
    own = {"client_metadata": CODEX["client_metadata"]}
    fields = {name: value for name, value in CODEX.items() if name not in ("stream", "client_metadata")}
    sent = {**headers, "originator": "codex_cli_rs", "session-id": "1", "accept": "text/event-stream"}
    with (
        openai.OpenAI(base_url=gateway, api_key="sk-agent", max_retries=0, timeout=20) as client,
        client.responses.stream(**fields, extra_body=own, extra_headers=sent) as stream,
    ):
        response = stream.get_final_response()
        dropped = stream._response.headers.get("x-aiogateway-dropped-params", "")
    (seen,) = replay.seen
    return read_response(response), seen, dropped


def check(answer: Answer, seen: Seen, *words: str) -> str:
    """The tide is asked for, and the session so far arrived; returns what the vendor saw."""
    assert answer.calls == (("find_tide", {"port": "Wellsey"}),)
    said = json.dumps([seen.body, seen.headers], ensure_ascii=False)
    for word in ("What came in today?", "ferry.txt", "find_tide", *words):
        assert word in said
    assert "sk-agent" not in said
    return said


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
@pytest.mark.parametrize("name", MESSAGES_WAYS)
def test_claude_code(bare_gateway: str, replay: Replay, name: str) -> None:
    answer, seen, dropped = ask_as_claude_code(bare_gateway, MESSAGES_WAYS[name], replay)
    said = check(
        answer, seen, "Bash", "ls log", "I'll look into the log.", "The harbour is closed.", "You are Claude Code."
    )
    if name == "bedrock":
        assert seen.body["anthropic_beta"] == BETAS
        assert seen.body["messages"][1] == CLAUDE_CODE["messages"][1]  # its thought, signed
        assert seen.body["messages"][2]["content"][0]["cache_control"] == CACHED
        assert seen.body["context_management"] == CLAUDE_CODE["context_management"]
        assert dropped == ""
    else:
        assert "context_management" in dropped
    assert (SIGNATURE in said) == name.startswith("bedrock")  # no other vendor can read it


@pytest.mark.parametrize("name", RESPONSES_WAYS)
def test_codex(bare_gateway: str, replay: Replay, name: str) -> None:
    answer, seen, dropped = ask_as_codex(bare_gateway, RESPONSES_WAYS[name], replay)
    said = check(answer, seen, "shell", "apply_patch", "Nothing to do.", "Sandbox: read only.", "You are Codex.")
    if name == "openai":
        assert seen.body == CODEX
        assert dropped == ""
    else:
        assert SEALED not in said  # only OpenAI can open it
        assert "web_search" not in said
        assert "tools" in dropped
