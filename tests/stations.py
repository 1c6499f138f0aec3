"""The providers of the guides as one upstream plays them: where a chat goes, under which header, and what is recorded.

The answers are recordings of the conformance suites, core and plugins.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import orjson

from aiogateway.testing import Recording, load_recordings
from aiogateway.testing.upstream import Script, SeenRequest, stream, unary

ROOT = Path(__file__).parents[1]
CORE = ROOT / "tests/conformance/recordings"


class Station(NamedTuple):
    """`suffix` is what the provider's base URL ends in; `key` the header that its key is sent in.

    `path` and `streamed` (when it differs) have ``{model}`` where the model's name stands. `fields` is what a config
    says beside the key, where that is not enough to find the model.
    """

    recordings: Path
    suffix: str
    path: str
    key: str = "authorization"
    streamed: str | None = None
    fields: Mapping[str, Any] = {}
    unary: str = "chat_unary"
    stream: str = "chat_stream"

    def load(self, *, streaming: bool = False) -> Recording:
        name = f"{self.stream if streaming else self.unary}.rec"
        (found,) = [recording for recording in load_recordings(self.recordings) if recording.name == name]
        return found

    def script(self, *, streaming: bool = False) -> Script:
        """The recorded answer; a stream comes in pieces that no event ends with."""
        recording = self.load(streaming=streaming)
        media = dict(recording.headers)["content-type"]
        if not streaming:
            return unary(recording.body, media_type=media)
        pieces = [recording.body[at : at + 83] for at in range(0, len(recording.body), 83)]
        return stream(*pieces, media_type=media)

    def find_path(self, model: str, *, streaming: bool = False) -> str:
        path = self.streamed if streaming and self.streamed is not None else self.path
        return path.replace("{model}", quote(model, safe=""))


_VERTEX = "/v1/projects/harbour/locations/us-central1/publishers/google/models/{model}"

STATIONS: Mapping[str, Station] = {
    "openai": Station(CORE / "openai", "/v1", "/v1/chat/completions"),
    "anthropic": Station(CORE / "anthropic", "/v1", "/v1/messages", "x-api-key"),
    "google": Station(
        CORE / "google",
        "",
        "/v1beta/models/{model}:generateContent",
        "x-goog-api-key",
        "/v1beta/models/{model}:streamGenerateContent?alt=sse",
    ),
    "mistral-ai": Station(CORE / "mistral", "/v1", "/v1/chat/completions"),
    "groq": Station(CORE / "groq", "/openai/v1", "/openai/v1/chat/completions"),
    "azure-openai": Station(
        CORE / "azure",
        "/openai",
        "/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21",
        "api-key",
        fields={"resource_name": "harbour", "deployment_id": "gpt-4o", "api_version": "2024-10-21"},
    ),
    "bedrock": Station(
        ROOT / "plugins/bedrock/tests/recordings",
        "",
        "/model/{model}/converse",
        streamed="/model/{model}/converse-stream",
        fields={"aws_region": "eu-west-1"},
    ),
    "vertex-ai": Station(
        ROOT / "plugins/vertex/tests/recordings",
        "",
        f"{_VERTEX}:generateContent",
        streamed=f"{_VERTEX}:streamGenerateContent?alt=sse",
        fields={"vertex_project_id": "harbour", "vertex_region": "us-central1"},
        unary="gemini_unary_cached",
        stream="gemini_stream",
    ),
    "ollama": Station(ROOT / "plugins/ollama/tests/recordings", "", "/api/chat"),
}

BEHIND = {"azure": "azure-openai", "anthropic": "anthropic", "aws": "bedrock", "vertex": "vertex-ai", "groq": "groq"}
"""Whose key a virtual key of the guides is, by its first word; the others are OpenAI's."""

_KEYS = ("x-api-key", "x-goog-api-key", "api-key", "authorization")
_MODEL = re.compile(r"/models?/([^/:]+)")


def read_key(request: SeenRequest) -> tuple[str, str] | None:
    """The header that holds a key, and the key; fails if more than one does."""
    found = [(name, value.removeprefix("Bearer ")) for name, value in request.headers if name in _KEYS]
    assert len(found) <= 1, f"{len(found)} keys were sent"
    return found[0] if found else None


def read_model(request: SeenRequest) -> str:
    """Where it is: in the body, else in the path."""
    model = orjson.loads(request.body).get("model")
    found = _MODEL.search(request.path)
    return str(model if model is not None or found is None else found[1])


def replace_keys(config: dict[str, Any]) -> dict[str, Any]:
    """The config with a provider, and a key of the same name, for every virtual key."""
    for name in ("targets", "options"):
        if name in config:
            return {**config, name: [replace_keys(leaf) for leaf in config[name]]}
    if config.get("virtual_key") is None:
        return config
    rest = {name: value for name, value in config.items() if name != "virtual_key"}
    provider = rest.pop("provider", None) or whose(config["virtual_key"])
    return {**rest, "provider": provider, "api_key": config["virtual_key"], **STATIONS[provider].fields}


def whose(virtual_key: str) -> str:
    """The provider behind a virtual key."""
    return BEHIND.get(virtual_key.lower().replace("_", "-").partition("-")[0], "openai")
