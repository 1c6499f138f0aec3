"""A neutral chat as the body of Gemini's ``generateContent`` and ``streamGenerateContent``.

Facts: Google's reference of ``GenerateContentRequest``, ``GenerationConfig``, ``FunctionDeclaration`` and
``FunctionCallingConfig`` (ai.google.dev/api/generate-content), and google-genai 3.4.0. Schemas go out as JSON schema
(``parametersJsonSchema``, ``responseJsonSchema``): the older ``parameters`` and ``responseSchema`` take a part of
OpenAPI's only, and refuse ``additionalProperties`` or ``$ref``. The model and whether to stream are the URL's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from aiogateway.dialects.gemini_contents import DIALECT, ContentWriter
from aiogateway.dialects.gemini_thinking import write_thinking
from aiogateway.dialects.leftovers import name_leftovers
from aiogateway.errors import Unsupported
from aiogateway.neutral import ChatRequest, NeutralRequest, OpaqueTool, Tool, Written

BODY_FIELDS = frozenset({"safetySettings", "cachedContent", "labels"})
"""Gemini's own fields that a client may set beside its dialect's, in either spelling (``safety_settings``)."""

CONFIG_FIELDS = frozenset(
    {"thinkingConfig", "responseModalities", "speechConfig", "imageConfig", "mediaResolution", "audioTimestamp"}
)
"""The same, of its ``generationConfig``."""

SERVER_TOOLS = frozenset({"googleSearch", "codeExecution", "urlContext", "googleMaps", "enterpriseWebSearch"})
"""Tools that Google runs, which a client may name as a tool's ``type``, in either spelling."""

TIERS = {"default": "standard", "standard": "standard", "flex": "flex", "priority": "priority"}

_NAMES = {
    "anthropic": {"user": "metadata.user_id", "parallel": "tool_choice.disable_parallel_tool_use"},
}
_OPENAI_NAMES = {"user": "user", "parallel": "parallel_tool_calls"}
_UNDERSCORE = re.compile(r"_([a-z])")
_CUSTOM = {"type": "object", "properties": {"input": {"type": "string"}}, "required": ["input"]}


def write_request(request: NeutralRequest) -> Written:
    """Raises RequestError for a tool call whose arguments are no JSON object."""
    if not isinstance(request, ChatRequest):
        raise Unsupported("only a chat can be written for generateContent")
    return _Writer(request).write()


class _Writer:
    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._extra = dict(request.extra)
        self._dropped: dict[str, None] = {}
        self._config: dict[str, Any] = {}
        self._body: dict[str, Any] = {}

    def write(self) -> Written:
        request = self._request
        contents = ContentWriter(request)
        self._dropped |= contents.dropped
        self._body["contents"] = contents.contents
        if contents.system:
            self._body["systemInstruction"] = {"parts": contents.system}
        self._write_tools()
        self._write_config()
        self._write_extra()
        if self._config:
            self._body["generationConfig"] = self._config
        names = _NAMES.get(request.dialect, _OPENAI_NAMES)
        if request.user is not None:
            self._dropped[names["user"]] = None
        if request.parallel_tools is False:
            self._dropped[names["parallel"]] = None
        return Written(self._body, (*self._dropped, *name_leftovers(self._extra)))

    # --- tools ---

    def _write_tools(self) -> None:
        functions: list[dict[str, Any]] = []
        tools: list[dict[str, Any]] = []
        strict = False
        for at, tool in enumerate(self._request.tools):
            if isinstance(tool, OpaqueTool):
                self._write_server_tool(tool, tools, f"tools[{at}]")
                continue
            functions.append(_write_function(tool))
            strict = strict or tool.strict is True
            if tool.custom:  # a grammar of its own is more than a string
                self._dropped[f"tools[{at}].format"] = None
            if tool.cache is not None:
                self._dropped[f"tools[{at}].cache_control"] = None
        if functions:
            tools.append({"functionDeclarations": functions})
        if tools:
            self._body["tools"] = tools
        calling = self._write_choice(strict) if functions else None
        if calling is not None:
            self._body["toolConfig"] = {"functionCallingConfig": calling}
        elif self._request.tool_choice is not None and self._request.tool_choice.mode != "none" and not functions:
            self._dropped["tool_choice"] = None

    def _write_server_tool(self, tool: OpaqueTool, tools: list[dict[str, Any]], path: str) -> None:
        if tool.dialect == DIALECT:
            tools.append(dict(tool.data))
            return
        name = _to_camel(str(tool.data.get("type", "")))
        if name in SERVER_TOOLS:
            tools.append({name: {key: value for key, value in tool.data.items() if key != "type"}})
        else:
            self._dropped[path] = None

    def _write_choice(self, strict: bool) -> dict[str, Any] | None:
        """``VALIDATED`` is Google's word for arguments that keep to the schema (a tool's ``strict``)."""
        choice = self._request.tool_choice
        mode = "auto" if choice is None else choice.mode
        if mode == "named" and choice is not None:
            return {"mode": "ANY", "allowedFunctionNames": [choice.name]}
        if mode == "required":
            return {"mode": "ANY"}
        if mode == "none":
            return {"mode": "NONE"}
        if strict:
            return {"mode": "VALIDATED"}
        return None if choice is None else {"mode": "AUTO"}

    # --- how to generate ---

    def _write_config(self) -> None:
        request = self._request
        said = {
            "temperature": request.temperature,
            "topP": request.top_p,
            "topK": request.top_k,
            "maxOutputTokens": request.max_tokens,
            "stopSequences": list(request.stop) or None,
            "seed": request.seed,
            "frequencyPenalty": request.frequency_penalty,
            "presencePenalty": request.presence_penalty,
            "candidateCount": request.n,
        }
        self._config |= {name: value for name, value in said.items() if value is not None}
        wanted = request.response_format
        if wanted is not None and wanted.kind != "text":
            self._config["responseMimeType"] = "application/json"
            if wanted.schema is not None:
                self._config["responseJsonSchema"] = wanted.schema
        if request.thinking is not None:
            thinking = write_thinking(request.thinking, request.model)
            if thinking is None:
                self._dropped["reasoning_effort"] = None
            else:
                self._config["thinkingConfig"] = thinking

    def _write_extra(self) -> None:
        """Takes out of `extra` what Gemini has a word for; the client's own words for Gemini win."""
        extra = self._extra
        if extra.get("logprobs") is True:
            self._config["responseLogprobs"] = extra.pop("logprobs")
            if extra.get("top_logprobs") is not None:
                self._config["logprobs"] = extra.pop("top_logprobs")
        modalities = extra.get("modalities")
        if isinstance(modalities, list) and all(isinstance(word, str) for word in modalities):
            extra.pop("modalities")
            if modalities != ["text"]:
                self._config["responseModalities"] = [word.upper() for word in modalities]
        tier = extra.get("service_tier")
        if tier == "auto":
            extra.pop("service_tier")
        elif isinstance(tier, str) and tier in TIERS:
            self._body["serviceTier"] = TIERS[extra.pop("service_tier")]
        self._take_own(extra)
        for holder, path in ((extra.get("google"), "google"), (_find_google(extra), "extra_body.google")):
            if isinstance(holder, Mapping):  # Google's own OpenAI-compatible endpoint has these
                own = dict(holder)
                self._take_own(own)
                extra.pop(path.partition(".")[0])
                extra |= {f"{path}.{name}": value for name, value in own.items()}

    def _take_own(self, fields: dict[str, Any]) -> None:
        for name in list(fields):
            camel = _to_camel(name)
            if camel in BODY_FIELDS:
                self._body[camel] = fields.pop(name)
            elif camel in CONFIG_FIELDS:
                self._config[camel] = fields.pop(name)
            elif camel == "generationConfig" and isinstance(fields[name], Mapping):
                self._config |= {_to_camel(key): value for key, value in fields.pop(name).items()}


def _find_google(extra: Mapping[str, Any]) -> Any:
    body = extra.get("extra_body")
    return body.get("google") if isinstance(body, Mapping) and body.keys() == {"google"} else None


def _write_function(tool: Tool) -> dict[str, Any]:
    written: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        written["description"] = tool.description
    schema = _CUSTOM if tool.custom else tool.schema
    if schema:
        written["parametersJsonSchema"] = schema
    return written


def _to_camel(name: str) -> str:
    return _UNDERSCORE.sub(lambda found: found[1].upper(), name)
