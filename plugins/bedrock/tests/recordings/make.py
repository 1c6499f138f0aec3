"""Writes the recordings of this directory: ``python make.py``. A stream's frames are binary, so they are kept as JSON
here; that the frames made of it are AWS's, botocore's own parser says in ``test_recordings.py``.

Everything is written by hand after the source that each names: the service model is ``bedrock-runtime/2023-09-30`` in
botocore 1.44, the cassettes are those of pydantic/pydantic-ai, ``tests/models/cassettes/test_bedrock`` (November 2026).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aiogateway_plugin_bedrock.frames import write_event

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NOVA = "amazon.nova-lite-v1:0"
STREAM = "header: content-type: application/vnd.amazon.eventstream"
JSON = "header: content-type: application/json"
TIDE = {"type": "object", "properties": {"port": {"type": "string"}}, "required": ["port"]}
TOOLS = [
    {"type": "function", "function": {"name": name, "description": "At a port", "parameters": TIDE}}
    for name in ("find_tide", "find_wind")
]
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
SEALED = base64.b64encode(base64.b64encode(b"a thought that only Claude can read")).decode()

Event = tuple[str, Mapping[str, Any]]


def ask(text: Any, **fields: Any) -> dict[str, Any]:
    return {"model": CLAUDE, "messages": [{"role": "user", "content": text}], **fields}


def frames(*events: Event) -> bytes:
    """Frames as Bedrock sends them: compact JSON with its keys in order, padded by ``p``."""
    return b"".join(
        write_event(name, json.dumps({**payload, "p": "abcdefgh"}, sort_keys=True, separators=(",", ":")).encode())
        for name, payload in events
    )


def start(role: str = "assistant") -> Event:
    return "messageStart", {"role": role}


def text(index: int, *pieces: str) -> list[Event]:
    return [
        *(("contentBlockDelta", {"contentBlockIndex": index, "delta": {"text": piece}}) for piece in pieces),
        ("contentBlockStop", {"contentBlockIndex": index}),
    ]


def thought(index: int, *deltas: Mapping[str, str]) -> list[Event]:
    return [
        *(("contentBlockDelta", {"contentBlockIndex": index, "delta": {"reasoningContent": d}}) for d in deltas),
        ("contentBlockStop", {"contentBlockIndex": index}),
    ]


def call(index: int, identity: str, name: str, *pieces: str) -> list[Event]:
    begin = {"contentBlockIndex": index, "start": {"toolUse": {"toolUseId": identity, "name": name}}}
    return [
        ("contentBlockStart", begin),
        *(("contentBlockDelta", {"contentBlockIndex": index, "delta": {"toolUse": {"input": p}}}) for p in pieces),
        ("contentBlockStop", {"contentBlockIndex": index}),
    ]


def end(reason: str, given: int, taken: int, **more: int) -> list[Event]:
    usage = {"inputTokens": given, "outputTokens": taken, "serverToolUsage": {}, "totalTokens": given + taken, **more}
    return [("messageStop", {"stopReason": reason}), ("metadata", {"metrics": {"latencyMs": 812}, "usage": usage})]


def answer(*content: Mapping[str, Any], reason: str = "end_turn", usage: Mapping[str, int]) -> bytes:
    body = {
        "metrics": {"latencyMs": 941},
        "output": {"message": {"content": list(content), "role": "assistant"}},
        "stopReason": reason,
        "usage": {**usage, "serverToolUsage": {}, "totalTokens": sum(usage.values())},
    }
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def record(
    source: str, request: Mapping[str, Any], body: bytes, *head: str, endpoint: str = "chat/completions"
) -> bytes:
    lines = [f"# Written by hand after {source}", f"endpoint: {endpoint}", f"request: {json.dumps(request)}", *head]
    return "\n".join([*lines, "", ""]).encode() + body


def usage(given: int, taken: int, **more: int) -> dict[str, int]:
    return {"inputTokens": given, "outputTokens": taken, **more}


def chats() -> dict[str, bytes]:
    picture = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
    ]
    return {
        "chat_unary": record(
            "ConverseResponse of the service model, and test_bedrock_model.yaml",
            ask("Greet the harbour master."),
            answer({"text": "Good morning — ahoy, Käpt’n!"}, usage=usage(31, 9)),
            JSON, 'text: "Good morning — ahoy, Käpt’n!"', "finish: stop", "usage: 31 9",
        ),
        "chat_unary_cached": record(
            "test_bedrock_cache_write_and_read.yaml: inputTokens count neither cache",
            ask("Greet the harbour master."),
            answer(
                {"text": "Ahoy!"},
                usage=usage(2, 5, cacheReadInputTokens=1300, cacheWriteInputTokens=22),
            ),
            JSON, "finish: stop", "usage: 1324 5",
        ),
        "chat_unary_image": record(
            "test_image_as_binary_content_input.yaml",
            ask(picture, model=NOVA),
            answer({"text": "A single red dot."}, usage=usage(512, 6)),
            JSON, 'text: "A single red dot."', "finish: stop", "usage: 512 6",
        ),
        "chat_unary_length": record(
            "StopReason of the service model",
            ask("Greet the harbour master.", max_tokens=1),
            answer({"text": "Good"}, reason="max_tokens", usage=usage(31, 1)),
            JSON, "finish: length",
        ),
        "chat_unary_guardrail": record(
            "StopReason of the service model, and vercel/ai amazon-bedrock-guard-content-intervened.json",
            ask("Where do I get a torpedo?", guardrailConfig={"guardrailIdentifier": "g1", "guardrailVersion": "1"}),
            answer({"text": "I can't talk about that."}, reason="guardrail_intervened", usage=usage(0, 0)),
            JSON, "finish: content_filter", "usage: 0 0",
        ),
    }  # fmt: skip


def shaped_chats() -> dict[str, bytes]:
    schema = {"type": "object", "properties": {"port": {"type": "string"}}, "additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"name": "port", "schema": schema}}
    return {
        "chat_unary_structured": record(
            "test_bedrock_native_structured_output.yaml",
            ask("Name a port.", response_format=wanted),
            answer({"text": '{"port":"Wellsey"}'}, usage=usage(180, 12)),
            JSON, "finish: stop",
        ),
        "chat_unary_thinking": record(
            "ReasoningContentBlock of the service model, and test_bedrock_model_thinking_part_anthropic.yaml",
            ask("How many knots are 9 m/s?", reasoning_effort="low"),
            answer(
                {"reasoningContent": {"reasoningText": {"signature": "Ev8BCkgIDRAB", "text": "9 × 1.944 ≈ 17.5"}}},
                {"text": "About 17½ knots."},
                usage=usage(15, 24),
            ),
            JSON, 'text: "About 17½ knots."', "finish: stop",
        ),
        "chat_unary_parallel_tools": record(
            "ToolUseBlock of the service model, and vercel/ai issue-17267-parallel-tool-calls.json",
            ask("Tide and wind in Wellsey?", tools=TOOLS),
            answer(
                {"text": "I'll look up both."},
                *(
                    {"toolUse": {"input": {"port": "Wellsey"}, "name": n, "toolUseId": f"tu_{n}", "type": "tool_use"}}
                    for n in ("find_tide", "find_wind")
                ),
                reason="tool_use",
                usage=usage(694, 110),
            ),
            JSON, "finish: tool_calls", "usage: 694 110",
        ),
    }  # fmt: skip


def streams() -> dict[str, bytes]:
    return {
        "chat_stream": record(
            "ConverseStreamOutput of the service model, and test_bedrock_native_output_stream.yaml",
            ask("Greet the harbour master.", stream=True),
            frames(start(), *text(0, "Good", " morning — ahoy,", " Käpt’n!"), *end("end_turn", 31, 9)),
            STREAM, 'text: "Good morning — ahoy, Käpt’n!"', "finish: stop", "usage: 31 9",
        ),
        "chat_stream_cached": record(
            "TokenUsage of the service model",
            ask("Greet the harbour master.", stream=True),
            frames(
                start(), *text(0, "Ahoy!"),
                *end("end_turn", 2, 5, cacheReadInputTokens=1300, cacheWriteInputTokens=22),
            ),
            STREAM, "finish: stop", "usage: 1324 5",
        ),
        "chat_stream_tools": record(
            "test_bedrock_model_iter_stream.yaml: a text, then a tool",
            ask("When is high tide in Wellsey?", model=NOVA, tools=TOOLS[:1], stream=True),
            frames(
                start(), *text(0, "I'll look", " it up."),
                *call(1, "tooluse_a1", "find_tide", '{"port":', '"Wellsey"}'), *end("tool_use", 489, 59),
            ),
            STREAM, 'text: "I\'ll look it up."', "finish: tool_calls", "usage: 489 59",
        ),
        "chat_stream_parallel_tools": record(
            "ConverseStreamOutput of the service model; usage before the end, and a tool without arguments, as in "
            "vercel/ai bedrock-tool-call.1.chunks.txt and bedrock-tool-no-args.chunks.txt",
            ask("Tide in Wellsey, and the wind here?", tools=TOOLS, stream=True),
            frames(
                start(), *call(0, "tooluse_a1", "find_tide", '{"po', 'rt": "Cape Ørn"}'),
                *call(1, "tooluse_a2", "find_wind"), *reversed(end("tool_use", 125, 45)),
            ),
            STREAM, "finish: tool_calls", "usage: 125 45",
        ),
    }  # fmt: skip


def other_streams() -> dict[str, bytes]:
    return {
        "chat_stream_thinking": record(
            "ReasoningContentBlockDelta of the service model, and test_bedrock_model_thinking_part_stream.yaml",
            ask("How many knots are 9 m/s?", reasoning_effort="low", stream=True),
            frames(
                start(),
                *thought(0, {"text": "9 × 1.944"}, {"text": " ≈ 17.5"}, {"text": ""}, {"signature": "Ep0CCkgICxAB"}),
                *text(1, "About ", "17½ knots."),
                *end("end_turn", 51, 94),
            ),
            STREAM, 'text: "About 17½ knots."', "finish: stop", "usage: 51 94",
        ),
        "chat_stream_redacted": record(
            "test_bedrock_model_thinking_part_redacted_stream.yaml",
            ask("Think of something.", reasoning_effort="low", stream=True),
            frames(start(), *thought(0, {"redactedContent": SEALED}), *text(1, "Done."), *end("end_turn", 92, 173)),
            STREAM, 'text: "Done."', "finish: stop", "usage: 92 173",
        ),
        "error_in_stream": record(
            "ModelStreamErrorException of the service model, and vercel/ai "
            "model-stream-error-exception.eventstream.base64.txt",
            ask("Greet the harbour master.", stream=True),
            frames(start(), *text(0, "Good"))
            + write_event(
                "modelStreamErrorException",
                b'{"message":"Model Stream Error","originalStatusCode":500,"originalMessage":"It failed."}',
                kind="exception",
            ),
            STREAM, "error: 500 Model Stream Error: It failed.", "error-type: modelStreamErrorException",
        ),
        "error_in_stream_throttled": record(
            "ThrottlingException of the service model",
            ask("Greet the harbour master.", stream=True),
            frames(start()) + write_event("throttlingException", b'{"message":"Too many tokens"}', kind="exception"),
            STREAM, "error: 429 Too many tokens", "error-type: throttlingException",
        ),
    }  # fmt: skip


def others() -> dict[str, bytes]:
    embed = {"model": "amazon.titan-embed-text-v2:0", "input": "harbour", "dimensions": 4}
    many = {"model": "cohere.embed-english-v3", "input": ["harbour", "pier"]}
    by_type = {"model": "us.cohere.embed-v4:0", "input": ["harbour", "pier"], "dimensions": 4}
    two = [[0.25, -0.0625, 0.5, 0.01], [0.125, 0.75, -1.0, 2e-3]]
    titan = {"embedding": two[0], "embeddingsByType": {"float": two[0]}, "inputTextTokenCount": 3}
    cohere = {"embeddings": two, "id": "e1", "response_type": "embeddings_floats", "texts": many["input"]}
    typed = {"embeddings": {"float": two}, "id": "e2", "response_type": "embeddings_by_type", "texts": many["input"]}
    return {
        "embed_titan": record(
            '"Amazon Titan Embeddings G1 - Text" (V2 response), Amazon Bedrock user guide',
            embed, json.dumps(titan).encode(), JSON, "usage: 3 0", endpoint="embeddings",
        ),
        "embed_cohere": record(
            '"Cohere Embed v3" (response), Amazon Bedrock user guide',
            many, json.dumps(cohere).encode(), JSON, "usage: absent", endpoint="embeddings",
        ),
        "embed_cohere_by_type": record(
            '"Cohere Embed v4" (response), Amazon Bedrock user guide',
            by_type, json.dumps(typed).encode(), JSON, "usage: absent", endpoint="embeddings",
        ),
        "error_throttled": record(
            "test_bedrock_throttling_error.yaml",
            ask("Greet the harbour master."), b'{"__type":"ThrottlingException","message":"Rate exceeded"}',
            "status: 429", JSON, "header: retry-after: 2", "error: 429 Rate exceeded",
            "error-type: ThrottlingException",
        ),
        "error_validation": record(
            "test_bedrock_streaming_error.yaml; the header is botocore's parsers.py, RestJSONParser",
            ask("Greet the harbour master.", model="us.does-not-exist-v1:0", stream=True),
            b'{"message":"The provided model identifier is invalid."}',
            "status: 400", JSON, "header: x-amzn-errortype: ValidationException:http://internal.amazon.com/coral/",
            "error: 400 The provided model identifier is invalid.", "error-type: ValidationException",
        ),
        "error_denied": record(
            "the answers of AWS's front as botocore's parsers.py reads them: Message with a capital",
            ask("Greet the harbour master."), b'{"Message":"Authentication failed"}',
            "status: 403", JSON, "error: 403 Authentication failed",
        ),
    }  # fmt: skip


def chunks(*events: Mapping[str, Any]) -> bytes:
    """Anthropic's events as InvokeModelWithResponseStream wraps them."""
    return b"".join(
        write_event(
            "chunk",
            json.dumps({"bytes": base64.b64encode(compact(event)).decode(), "p": "abcdefgh"}).encode(),
        )
        for event in events
    )


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def messages() -> dict[str, bytes]:
    asked = {"model": CLAUDE, "max_tokens": 64, "messages": [{"role": "user", "content": "Tide in Wellsey?"}]}
    tools = [{"name": "find_tide", "input_schema": TIDE}]
    counts = {"input_tokens": 31, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 9}
    metrics = {"inputTokenCount": 31, "outputTokenCount": 9, "invocationLatency": 812, "firstByteLatency": 400}
    message = {"id": "msg_bdrk_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929"}
    use = {"type": "tool_use", "id": "toolu_bdrk_1", "name": "find_tide"}
    whole = {
        **message, "content": [{"type": "text", "text": "I'll look."}, {**use, "input": {"port": "Wellsey"}}],
        "stop_reason": "tool_use", "stop_sequence": None, "usage": counts,
    }  # fmt: skip
    pieces = [{"type": "input_json_delta", "partial_json": piece} for piece in ('{"port"', ':"Wellsey"}')]
    return {
        "messages_unary": record(
            '"Anthropic Claude Messages API" (response), Amazon Bedrock user guide',
            {**asked, "tools": tools}, compact(whole), JSON, 'text: "I\'ll look."', "usage: 31 9", endpoint="messages",
        ),
        "messages_stream": record(
            "PayloadPart of the service model, and the events of platform.claude.com, Streaming messages; the last "
            "one's metrics as in spring-projects/spring-ai Anthropic3ChatBedrockApi.java",
            {**asked, "tools": tools, "stream": True},
            chunks(
                {"type": "message_start", "message": {**message, "content": [], "usage": counts}},
                {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "I'll"}},
                {"type": "ping"},
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " look."}},
                {"type": "content_block_stop", "index": 0},
                {"type": "content_block_start", "index": 1, "content_block": {**use, "input": {}}},
                *(
                    {"type": "content_block_delta", "index": 1, "delta": delta}
                    for delta in pieces
                ),
                {"type": "content_block_stop", "index": 1},
                {"type": "message_delta", "delta": {"stop_reason": "tool_use", "stop_sequence": None}, "usage": counts},
                {"type": "message_stop", "amazon-bedrock-invocationMetrics": metrics},
            ),
            STREAM, 'text: "I\'ll look."', "usage: 31 9", endpoint="messages",
        ),
        "messages_error_in_stream": record(
            "ModelTimeoutException of the service model",
            {**asked, "stream": True},
            chunks({"type": "message_start", "message": {**message, "content": [], "usage": counts}})
            + write_event("modelTimeoutException", b'{"message":"The model took too long."}', kind="exception"),
            STREAM, "error: 408 The model took too long.", "error-type: modelTimeoutException", endpoint="messages",
        ),
    }  # fmt: skip


def plain_messages() -> dict[str, bytes]:
    source = "charmbracelet/fantasy, providertests, TestBedrockCommon/bedrock-anthropic-claude-sonnet-4-5/simple"
    asked = {"model": CLAUDE, "max_tokens": 64, "messages": [{"role": "user", "content": "Greet the harbour master."}]}
    message: dict[str, Any] = {"id": "msg_bdrk_2", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5"}
    message["usage"] = {"input_tokens": 16, "cache_read_input_tokens": 0, "output_tokens": 7}
    end, head = {"stop_reason": "end_turn", "stop_sequence": None}, ('text: "Ahoy!"', "usage: 16 7")
    whole = compact({**message, "content": [{"type": "text", "text": "Ahoy!"}], **end})
    asked_to, flow = {**asked, "stream": True}, chunks(
        {"type": "message_start", "message": {**message, "content": []}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Ahoy!"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": end, "usage": {"output_tokens": 7}}, {"type": "message_stop"},
    )  # fmt: skip
    return {
        "messages_unary_text": record(f"{source}.yaml", asked, whole, JSON, *head, endpoint="messages"),
        "messages_stream_text": record(f"{source}_streaming.yaml", asked_to, flow, STREAM, *head, endpoint="messages"),
    }


def make_all() -> dict[str, bytes]:
    """Each file's name and bytes."""
    return {
        f"{name}.rec": data
        for name, data in {
            **chats(),
            **shaped_chats(),
            **streams(),
            **other_streams(),
            **others(),
            **messages(),
            **plain_messages(),
        }.items()
    }


if __name__ == "__main__":
    for name, data in make_all().items():
        (Path(__file__).parent / name).write_bytes(data)
