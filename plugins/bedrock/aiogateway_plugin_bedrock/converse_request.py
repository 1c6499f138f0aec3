"""A neutral chat as the body of Bedrock's Converse and ConverseStream, whose bodies are the same.

Source: ``ConverseRequest`` in the service model ``bedrock-runtime/2023-09-30`` (botocore 1.44). The model's id stands
in the path.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from aiogateway.dialects.leftovers import says_something
from aiogateway.errors import RequestError, Unsupported
from aiogateway.neutral import ChatRequest, OpaqueTool, ResponseFormat, Tool, Written
from aiogateway_plugin_bedrock.converse_fields import ModelFields, name_of
from aiogateway_plugin_bedrock.converse_messages import MessageWriter, write_cache_point
from aiogateway_plugin_bedrock.messages import split_flags
from aiogateway_plugin_bedrock.models import is_claude

OWN: Mapping[str, type] = {
    "guardrailConfig": Mapping,
    "additionalModelRequestFields": Mapping,
    "additionalModelResponseFieldPaths": list,
    "promptVariables": Mapping,
    "requestMetadata": Mapping,
    "performanceConfig": Mapping,
    "serviceTier": Mapping,
    "outputConfig": Mapping,
}
"""Converse's fields that a client may set beside its own, also in snake case as Portkey's clients write them."""

TIERS = ("default", "flex", "priority", "reserved")

_SNAKE = {
    "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name): name for name in OWN
}  # guardrail_config: guardrailConfig


def write_chat(request: ChatRequest) -> Written:
    """Raises Unsupported and RequestError, naming the parameter."""
    if request.n not in (None, 1):
        raise Unsupported("Bedrock gives one answer per call", param="n")
    extra = {name: value for name, value in request.extra.items() if says_something(value)}
    extra.pop("max_tokens", None)  # the older name of a limit that was given under both
    writer = MessageWriter(request.messages)
    fields = ModelFields(request)
    own = _take_own(extra, request.model)
    body: dict[str, Any] = {"messages": writer.messages}
    if writer.system:
        body["system"] = writer.system
    if inference := _write_inference(request):
        body["inferenceConfig"] = inference
    if tools := _write_tools(request, writer, chosen=fields.chooses_tool):
        body["toolConfig"] = tools
    output = {**_write_format(request.response_format, extra, writer), **fields.output}
    for name, made in (("additionalModelRequestFields", fields.additional), ("outputConfig", output)):
        if made:
            own[name] = {**made, **own.get(name, {})}
    for name in ("seed", "frequency_penalty", "presence_penalty", "user"):
        if getattr(request, name) is not None:
            writer.drop(name_of(name, request))
    return Written(body | own, tuple(dict.fromkeys((*writer.dropped, *fields.dropped, *extra))))


def _take_own(extra: dict[str, Any], model: str) -> dict[str, Any]:
    """Moves Converse's own fields out of `extra`."""
    own: dict[str, Any] = {}
    tier = extra.get("service_tier")  # OpenAI's is a word
    if tier in TIERS:
        own["serviceTier"] = {"type": extra.pop("service_tier")}
    elif tier == "auto":
        del extra["service_tier"]
    for given in list(extra):
        name = _SNAKE.get(given, given)
        if name in OWN and not (given == "service_tier" and isinstance(tier, str)):
            value = extra.pop(given)
            if not isinstance(value, OWN[name]):
                kind = "a list" if OWN[name] is list else "an object"
                raise RequestError(f"{given} must be {kind}", param=given)
            own[name] = value
    if is_claude(model):
        claudes = _take_claudes(extra)
        if claudes:
            own["additionalModelRequestFields"] = {**claudes, **own.get("additionalModelRequestFields", {})}
    return own


def _take_claudes(extra: dict[str, Any]) -> dict[str, Any]:
    """Fields of Claude's that a client of any wire may set, as portkey's do."""
    taken: dict[str, Any] = {name: extra.pop(name) for name in ("anthropic_beta", "thinking") if name in extra}
    beta = taken.get("anthropic_beta")
    if isinstance(beta, str):
        taken["anthropic_beta"] = split_flags(beta)
    return taken


def _write_inference(request: ChatRequest) -> dict[str, Any]:
    values = {
        "maxTokens": request.max_tokens,
        "temperature": request.temperature,
        "topP": request.top_p,
        "stopSequences": list(request.stop) or None,
    }
    return {name: value for name, value in values.items() if value is not None}


def _write_tools(request: ChatRequest, writer: MessageWriter, *, chosen: bool) -> dict[str, Any]:
    """toolConfig, without which Converse refuses a conversation in which a tool was called."""
    called = bool(writer.calls) or writer.has_results
    choice = request.tool_choice
    if choice is not None and choice.mode == "none" and not called:
        return {}
    tools: list[dict[str, Any]] = []
    for at, tool in enumerate(request.tools):
        if isinstance(tool, OpaqueTool) or tool.custom:
            writer.drop(f"tools[{at}]")
            continue
        tools.append(_write_tool(tool))
        if tool.cache is not None:
            tools.append(write_cache_point(tool.cache))
    if not tools and called:
        tools = [_write_tool(Tool(name)) for name in writer.calls or ("unknown",)]
    if not tools:
        return {}
    config: dict[str, Any] = {"tools": tools}
    if choice is None or chosen:
        return config
    if choice.mode == "none":
        writer.drop("tool_choice")
    elif choice.mode == "named":
        config["toolChoice"] = {"tool": {"name": choice.name}}
    else:
        config["toolChoice"] = {"any" if choice.mode == "required" else "auto": {}}
    return config


def _write_tool(tool: Tool) -> dict[str, Any]:
    schema = tool.schema if tool.schema is not None else {"type": "object", "properties": {}}
    spec: dict[str, Any] = {"name": tool.name, "inputSchema": {"json": schema}}
    if tool.description:
        spec["description"] = tool.description
    if tool.strict:
        spec["strict"] = True
    return {"toolSpec": spec}


def _write_format(wanted: ResponseFormat | None, extra: dict[str, Any], writer: MessageWriter) -> dict[str, Any]:
    """outputConfig's textFormat: a schema as JSON text. JSON without a schema can't be asked for."""
    description = extra.pop("response_format.json_schema.description", None)
    if wanted is None or wanted.kind == "text":
        return {}
    if wanted.schema is None:
        writer.drop("response_format")
        return {}
    schema: dict[str, Any] = {"schema": orjson.dumps(wanted.schema).decode()}
    if wanted.name:
        schema["name"] = wanted.name
    if description:
        schema["description"] = description
    return {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": schema}}}
