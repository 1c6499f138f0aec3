"""Clients × providers × kinds of answer: which recording shows a cell. The tests that hold the cells, and the table in
the documentation, both read it from here. Standard library only: the SDK environments import it.

A cell is shown by a recording whose source shows that very thing: a stream with an image is not shown by a stream and
an image. What no recording shows, and one whose source says so of itself, is *unchecked*.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.tape import RECORDINGS, ROOT, Tape, read_tape

CHAT, RESPONSES, MESSAGES = "openai_chat", "openai_responses", "anthropic"
CLIENTS = {CHAT: "Chat Completions", RESPONSES: "Responses", MESSAGES: "Messages"}
MODES = ("unary", "stream")
FEATURES = {
    "text": "",
    "tools": "_tools",
    "parallel tools": "_parallel_tools",
    "image": "_image",
    "structured output": "_structured",
    "reasoning": "_thinking",
}
"""What an answer is about, and how the name of its recording ends."""

Names = Mapping[tuple[str, str], str]
"""The recording of a mode and a feature."""

Place = tuple[str, str, str, str]
"""Client, provider, mode, feature."""


@dataclass(frozen=True, slots=True)
class Wire:
    """What a provider speaks with a client: a folder of recordings, where requests go, and who may not do what.

    Recordings are called ``{prefix}_{mode}{feature}``, but for those in `names`. `lacks`: features that this wire has
    no words for.
    """

    folder: Path
    path: str
    prefix: str = "chat"
    names: Names = field(default_factory=dict)
    lacks: frozenset[str] = frozenset()

    def find(self, mode: str, feature: str) -> Path | None:
        """The recording of a cell, if there is one whose source shows it."""
        name = self.names.get((mode, feature), f"{self.prefix}_{mode}{FEATURES[feature]}")
        path = self.folder / f"{name}.rec"
        return path if feature not in self.lacks and path.is_file() and read_tape(path).checked else None


@dataclass(frozen=True, slots=True)
class Row:
    """A provider: the headers that name it, the end of its host's URL, the header of its key, its wire per client."""

    name: str
    provider: str
    wires: Mapping[str, Wire | None]
    host: str = ""
    key: str = "authorization"
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cell:
    """What one test shows."""

    client: str
    row: Row
    wire: Wire
    mode: str
    feature: str
    recording: Path

    @property
    def name(self) -> str:
        return f"{self.client}-{self.row.name}-{self.mode}-{self.feature}".replace(",", "").replace(" ", "_")

    @property
    def place(self) -> Place:
        return self.client, self.row.name, self.mode, self.feature

    @property
    def key(self) -> str:
        """The recording's name below that of its provider or plugin."""
        folder = self.recording.parent
        return f"{folder.name if folder.parent == RECORDINGS else folder.parents[1].name}/{self.recording.stem}"

    @property
    def tape(self) -> Tape:
        return read_tape(self.recording)


def _alike(wire: Wire) -> dict[str, Wire | None]:
    """A provider that is spoken to in one way, whoever the client is."""
    return dict.fromkeys(CLIENTS, wire)


def _plugin(name: str) -> Path:
    return ROOT / "plugins" / name / "tests" / "recordings"


_VERTEX = {"vertex-project-id": "harbour", "vertex-region": "europe-west4"}
_OPENAI = Wire(RECORDINGS / "openai", "/v1/chat/completions", lacks=frozenset({"reasoning"}))
_RESPONSES = Wire(
    RECORDINGS / "openai_responses",
    "/v1/responses",
    names={
        ("unary", "tools"): "chat_unary_tool",
        ("stream", "tools"): "chat_stream_reasoning_tool",
        ("stream", "reasoning"): "chat_stream_reasoning_tool",
    },
)
_AZURE = Wire(
    RECORDINGS / "azure",
    "/openai/v1/chat/completions",
    names={("unary", "tools"): "chat_unary_tool", ("unary", "parallel tools"): "chat_unary_tools"},
)
_AZURE_RESPONSES = Wire(RECORDINGS / "azure", "/openai/v1/responses", "responses")
_COHERE = Wire(
    RECORDINGS / "cohere",
    "/v2/chat",
    names={("unary", "tools"): "chat_unary_tool_without_arguments", ("unary", "parallel tools"): "chat_unary_tools"},
)
_GOOGLE = Wire(
    RECORDINGS / "google",
    "/v1beta/models/",
    names={("unary", "reasoning"): "chat_unary", ("stream", "reasoning"): "chat_stream_thinking_call"},
)
_INVOKE = Wire(
    _plugin("bedrock"),
    "/model/",
    "messages",
    names={("unary", "tools"): "messages_unary", ("unary", "text"): "messages_unary_text"}
    | {("stream", "tools"): "messages_stream", ("stream", "text"): "messages_stream_text"},
)
_GEMINI = Wire(
    _plugin("vertex"),
    "/v1/projects/harbour/locations/europe-west4/publishers/google/models/",
    "gemini",
    names={("unary", "text"): "gemini_unary_cached", ("stream", "reasoning"): "gemini_stream"},
)
_CLAUDE = Wire(_plugin("vertex"), "/v1/projects/harbour/locations/europe-west4/publishers/anthropic/models/", "claude")

ROWS = (
    Row("openai", "openai", {CHAT: _OPENAI, RESPONSES: _RESPONSES, MESSAGES: _OPENAI}, "/v1"),
    Row(
        "azure-openai",
        "azure-openai",
        {CHAT: _AZURE, RESPONSES: _AZURE_RESPONSES, MESSAGES: _AZURE},
        "/openai",
        "api-key",
    ),
    Row("anthropic", "anthropic", _alike(Wire(RECORDINGS / "anthropic", "/v1/messages")), "/v1", "x-api-key"),
    Row("google", "google", _alike(_GOOGLE), key="x-goog-api-key"),
    Row("mistral-ai", "mistral-ai", _alike(Wire(RECORDINGS / "mistral", "/v1/chat/completions")), "/v1"),
    Row("cohere", "cohere", _alike(_COHERE)),
    Row("groq", "groq", _alike(Wire(RECORDINGS / "groq", "/v1/chat/completions")), "/v1"),
    Row(
        "huggingface",
        "huggingface",
        _alike(Wire(RECORDINGS / "huggingface", "/v1/chat/completions")) | {RESPONSES: None},
        "/v1",
    ),
    Row("ollama", "ollama", _alike(Wire(_plugin("ollama"), "/api/chat")) | {RESPONSES: None}),
    Row("bedrock", "bedrock", _alike(Wire(_plugin("bedrock"), "/model/")) | {MESSAGES: _INVOKE}),
    Row("vertex-ai, Gemini", "vertex-ai", _alike(_GEMINI), options=_VERTEX),
    Row("vertex-ai, Claude", "vertex-ai", _alike(_CLAUDE), options=_VERTEX),
)


BROKEN = {
    (CHAT, "mistral-ai", "stream", feature): "Mistral numbers no tool call in a chunk, which OpenAI's helpers want"
    for feature in ("tools", "parallel tools")
}
"""Cells that a recording shows not to hold, and why."""


def list_cells() -> Iterator[Cell]:
    """Every cell that a recording shows, those in `BROKEN` too."""
    for client in CLIENTS:
        for row in ROWS:
            wire = row.wires[client]
            if wire is None:
                continue
            for mode, feature in itertools.product(MODES, FEATURES):
                recording = wire.find(mode, feature)
                if recording is not None:
                    yield Cell(client, row, wire, mode, feature, recording)


def count_cells() -> tuple[int, int]:
    """Cells that hold, and cells that are unchecked."""
    shown = sum(1 for _ in list_cells())
    lacking = sum(len(MODES) * len(wire.lacks) for row in ROWS for wire in row.wires.values() if wire)
    return shown - len(BROKEN), len(CLIENTS) * len(ROWS) * len(MODES) * len(FEATURES) - lacking - shown


def write_matrix() -> str:
    """The table, as Markdown: a row for each provider, one table for each of the clients' wires."""
    shown = {cell.place for cell in list_cells()}
    lines: list[str] = []
    for client, title in CLIENTS.items():
        lines += [f"Clients of {title}:", "", f"| provider | {' | '.join(FEATURES)} |", "| --- " * 7 + "|"]
        for row in ROWS:
            marks = [_mark(client, row, feature, shown) for feature in FEATURES]
            lines.append(f"| {row.name} | {' | '.join(marks)} |")
        lines.append("")
    lines += [f"*fails*: {reason}." for reason in dict.fromkeys(BROKEN.values())]
    held, unchecked = count_cells()
    lines.append(f"{held} cells hold, {len(BROKEN)} fail, {unchecked} are unchecked.")
    return "\n".join([*lines, ""])


def _mark(client: str, row: Row, feature: str, shown: set[Place]) -> str:
    wire = row.wires[client]
    if wire is not None and feature in wire.lacks:
        return "none"
    states = {mode: _judge((client, row.name, mode, feature), shown) for mode in MODES}
    if len(set(states.values())) == 1:
        return states["unary"] or ", ".join(MODES)
    return "; ".join(f"{mode} {state}".strip() for mode, state in states.items())


def _judge(place: Place, shown: set[Place]) -> str:
    if place in BROKEN:
        return "*fails*"
    return "" if place in shown else "*unchecked*"
