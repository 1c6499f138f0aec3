"""A Responses request's `tools` and `tool_choice`, to neutral ones and back.

Functions and custom tools are anybody's; what OpenAI runs by itself (``web_search``, ``mcp``, …) or knows by its kind
(``local_shell``) is opaque. Facts: OpenAI's API reference, "Create a model response".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiogateway.dialects.fields import take_flag, take_object, take_objects, take_optional_text, take_text
from aiogateway.dialects.leftovers import says_something
from aiogateway.dialects.payload import as_dict
from aiogateway.dialects.responses_parts import DIALECT
from aiogateway.neutral import ChatRequest, OpaqueTool, Tool, ToolChoice

_FUNCTION = frozenset({"type", "name", "description", "parameters", "strict"})
_CUSTOM = frozenset({"type", "name", "description"})
_PLAIN = {"type": "text"}  # a custom tool's format when it is not said
_NO_PARAMETERS: Mapping[str, Any] = {"type": "object", "properties": {}}


def read_tools(body: Mapping[str, Any], extra: dict[str, Any]) -> tuple[Tool | OpaqueTool, ...]:
    """`extra` takes the fields of tools that neutral ones don't have, as ``tools[0].format``."""
    return tuple(_read_tool(tool, f"tools[{n}].", extra) for n, tool in enumerate(take_objects(body, "tools")))


def _read_tool(tool: Mapping[str, Any], path: str, extra: dict[str, Any]) -> Tool | OpaqueTool:
    kind = take_text(tool, "type", path)
    if kind not in ("function", "custom"):
        return OpaqueTool(DIALECT, kind, dict(tool))
    custom = kind == "custom"
    known = _CUSTOM if custom else _FUNCTION
    for name, value in tool.items():
        if name not in known and says_something(value) and not (name == "format" and value == _PLAIN):
            extra[path + name] = value
    return Tool(
        name=take_text(tool, "name", path),
        description=take_optional_text(tool, "description", path),
        schema=None if custom else take_object(tool, "parameters", path),
        strict=None if custom else take_flag(tool, "strict"),
        custom=custom,
    )


def read_choice(
    body: Mapping[str, Any], tools: Sequence[Tool | OpaqueTool], extra: dict[str, Any]
) -> tuple[ToolChoice | None, tuple[Tool | OpaqueTool, ...]]:
    """The choice, and the tools that it leaves: ``allowed_tools`` says as much as a shorter list of tools."""
    tools = tuple(tools)
    choice = body.get("tool_choice")
    if choice in ("auto", "none", "required"):
        return ToolChoice(choice), tools
    if isinstance(choice, Mapping):
        kind, mode = choice.get("type"), choice.get("mode")
        if kind in ("function", "custom"):
            return ToolChoice("named", take_text(choice, "name", "tool_choice.")), tools
        if kind == "allowed_tools" and mode in ("auto", "required"):
            allowed = take_objects(choice, "tools", "tool_choice.")
            return ToolChoice(mode), tuple(tool for tool in tools if _is_allowed(tool, allowed))
    if choice is not None:
        extra["tool_choice"] = choice
    return None, tools


def _is_allowed(tool: Tool | OpaqueTool, allowed: Sequence[Mapping[str, Any]]) -> bool:
    if isinstance(tool, Tool):
        return any(one.get("name") == tool.name for one in allowed)
    same = ("type", "server_label")
    return any(all(one.get(field) == tool.data.get(field) for field in same) for one in allowed)


def find_custom(body: Mapping[str, Any]) -> frozenset[str]:
    """The names of a request's custom tools; whatever is no tool is passed over."""
    tools = body.get("tools")
    found = [tool for tool in tools if isinstance(tool, Mapping)] if isinstance(tools, list) else []
    return frozenset(str(tool.get("name")) for tool in found if tool.get("type") == "custom")


def write_tools(request: ChatRequest, extra: dict[str, Any], dropped: dict[str, None]) -> list[dict[str, Any]]:
    """Takes the fields of tools out of `extra`; `dropped` takes the tools that another dialect's provider runs."""
    ours = request.dialect == DIALECT
    written = []
    for number, tool in enumerate(request.tools):
        path = f"tools[{number}]"
        if isinstance(tool, Tool):
            if tool.cache is not None:
                dropped["tools.cache_control"] = None
            fields = _take_fields(extra, f"{path}.") if ours else _take_format(extra, path)
            written.append(_write_tool(tool, strict=tool.strict if ours else bool(tool.strict)) | fields)
        elif tool.dialect == DIALECT:
            written.append(dict(tool.data))
        else:
            dropped[path] = None
    return written


def _take_fields(extra: dict[str, Any], path: str) -> dict[str, Any]:
    return {name.removeprefix(path): extra.pop(name) for name in tuple(extra) if name.startswith(path)}


def _take_format(extra: dict[str, Any], path: str) -> dict[str, Any]:
    """A custom tool's format as chat completions have it: a grammar stands one level deeper there."""
    form = extra.pop(f"{path}.custom.format", None)
    if not isinstance(form, Mapping):
        return {}
    return {"format": {"type": form.get("type")} | dict(as_dict(form.get("grammar")))}


def _write_tool(tool: Tool, *, strict: bool | None) -> dict[str, Any]:
    """`strict` is said even when it is not wanted: here its default is true, everywhere else false."""
    written: dict[str, Any] = {"type": "custom" if tool.custom else "function", "name": tool.name}
    if tool.description is not None:
        written["description"] = tool.description
    if not tool.custom:
        written["parameters"] = _NO_PARAMETERS if tool.schema is None else tool.schema
        if strict is not None:
            written["strict"] = strict
    return written


def write_choice(choice: ToolChoice, tools: Sequence[Tool | OpaqueTool]) -> Any:
    if choice.mode != "named":
        return choice.mode
    custom = any(isinstance(tool, Tool) and tool.custom and tool.name == choice.name for tool in tools)
    return {"type": "custom" if custom else "function", "name": choice.name}
