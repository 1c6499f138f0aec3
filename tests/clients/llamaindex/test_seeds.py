"""The interoperability examples of Portkey's guide for LlamaIndex, with nothing changed but the base URL.

The gateway's settings send each provider to a server that plays the vendor's recordings. Where the guide names a
virtual key, its credentials stand in the config instead: there is no vault yet.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai import OpenAI
from portkey_ai import createHeaders

from tests.clients.gateway import serving
from tests.clients.replay import Replay
from tests.seeds import CURRENT
from tests.tape import RECORDINGS, ROOT, Tape, read_tape

MESSAGES = [
    ChatMessage(role="system", content="You are a pirate with a colorful personality"),
    ChatMessage(role="user", content="What is your name"),
]
UNUSED = "sk-openai-not-for-this"
HOSTS = {
    "openai": "/v1",
    "anthropic": "/v1",
    "google": "",
    "mistral-ai": "/v1",
    "azure-openai": "/openai",
    "bedrock": "",
    "vertex-ai": "",
    "ollama": "",
}
"""What ends the base URL of each provider."""
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
CLAUDE_PATH = CLAUDE.replace(":", "%3A")
GEMINI_PATH = "/v1/projects/harbour/locations/europe-west4/publishers/google/models/gemini-2.5-flash"
PLUGINS = ROOT / "plugins"


@dataclass(frozen=True, slots=True)
class Example:
    """`paths` of the unary and of the streamed request; `key` is the header and how the credential stands in it."""

    config: Mapping[str, Any]
    folder: Path
    paths: tuple[str, str]
    key: tuple[str, str]
    names: tuple[str, str] = ("chat_unary", "chat_stream")
    options: Mapping[str, Any] = field(default_factory=dict)

    def play(self, *, stream: bool) -> Tape:
        return read_tape(self.folder / f"{self.names[stream]}.rec")


EXAMPLES = {
    "openai": Example(
        CURRENT["openai"],
        RECORDINGS / "openai",
        ("/v1/chat/completions",) * 2,
        ("authorization", "Bearer YOUR_OPENAI_API_KEY"),
    ),
    "anthropic": Example(
        CURRENT["anthropic"], RECORDINGS / "anthropic", ("/v1/messages",) * 2, ("x-api-key", "YOUR_ANTHROPIC_API_KEY")
    ),
    "gemini": Example(
        CURRENT["gemini"],
        RECORDINGS / "google",
        (
            "/v1beta/models/gemini-1.5-flash-latest:generateContent",
            "/v1beta/models/gemini-1.5-flash-latest:streamGenerateContent?alt=sse",
        ),
        ("x-goog-api-key", "YOUR_GOOGLE_GEMINI_API_KEY"),
    ),
    "mistral": Example(
        CURRENT["mistral"],
        RECORDINGS / "mistral",
        ("/v1/chat/completions",) * 2,
        ("authorization", "Bearer YOUR_MISTRAL_AI_API_KEY"),
    ),
    "azure": Example(
        {
            "provider": "azure-openai",
            "api_key": "azure-key",
            "resource_name": "harbour",
            "deployment_id": "pilot",
            "api_version": "2024-10-21",
        },
        RECORDINGS / "azure",
        ("/openai/deployments/pilot/chat/completions?api-version=2024-10-21",) * 2,
        ("api-key", "azure-key"),
    ),
    "bedrock": Example(
        {
            "provider": "bedrock",
            "aws_access_key_id": "AKIDEXAMPLE",
            "aws_secret_access_key": "wJalrXUtnFEMI",
            "aws_region": "eu-west-1",
            "override_params": {"model": CLAUDE},
        },
        PLUGINS / "bedrock/tests/recordings",
        (f"/model/{CLAUDE_PATH}/converse", f"/model/{CLAUDE_PATH}/converse-stream"),
        ("authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/"),
    ),
    "vertex": Example(
        {
            "provider": "vertex-ai",
            "vertex_project_id": "harbour",
            "vertex_region": "europe-west4",
            "override_params": {"model": "gemini-2.5-flash"},
        },
        PLUGINS / "vertex/tests/recordings",
        (f"{GEMINI_PATH}:generateContent", f"{GEMINI_PATH}:streamGenerateContent?alt=sse"),
        ("authorization", "Bearer YOUR_VERTEX_AI_ACCESS_TOKEN"),
        ("gemini_unary_cached", "gemini_stream"),
        {"api_key": "YOUR_VERTEX_AI_ACCESS_TOKEN"},  # as the guide says: gcloud auth print-access-token
    ),
    "ollama": Example(
        CURRENT["ollama"], PLUGINS / "ollama/tests/recordings", ("/api/chat",) * 2, ("host", "127.0.0.1")
    ),
}
both = pytest.mark.parametrize("name", EXAMPLES)


@pytest.fixture(scope="module")
def replay() -> Iterator[Replay]:
    replay = Replay()
    replay.start()
    yield replay
    replay.stop()


@pytest.fixture(scope="module")
def portkey_gateway_url(replay: Replay, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What stands in the place of `PORTKEY_GATEWAY_URL`."""
    folder = tmp_path_factory.mktemp("seeds")
    ours = {name: {"base_url": f"{replay.origin}{suffix}"} for name, suffix in HOSTS.items()}
    file = folder / "settings.yaml"
    file.write_text(json.dumps({"providers": ours}))
    with serving(folder, "--config", str(file)) as url:
        yield f"{url}/v1"


def build(name: str, url: str, replay: Replay) -> OpenAI:
    example = EXAMPLES[name]
    config = dict(example.config)
    if "custom_host" in config:  # the guide's own server, behind a tunnel
        config["custom_host"] = replay.origin
    headers = createHeaders(api_key="YOUR_PORTKEY_API_KEY", config=config)
    return OpenAI(api_base=url, default_headers=headers, max_retries=0, **{"api_key": UNUSED, **example.options})


def check_request(name: str, replay: Replay, *, stream: bool) -> None:
    example = EXAMPLES[name]
    (seen,) = replay.seen
    assert seen.path == example.paths[stream]
    header, value = example.key
    assert seen.headers[header].startswith(value)
    said = json.dumps([seen.body, seen.headers])
    assert UNUSED not in said or name == "ollama"  # a server of one's own: its key is what the client sends
    assert "YOUR_PORTKEY_API_KEY" not in said
    assert all(message.content in said for message in MESSAGES)


@both
def test_chat(name: str, portkey_gateway_url: str, replay: Replay) -> None:
    tape = EXAMPLES[name].play(stream=False)
    replay.put(tape)
    response = build(name, portkey_gateway_url, replay).chat(MESSAGES)
    assert str(response) == f"assistant: {tape.text}"
    check_request(name, replay, stream=False)


@both
def test_stream_chat(name: str, portkey_gateway_url: str, replay: Replay) -> None:
    tape = EXAMPLES[name].play(stream=True)
    replay.put(tape, seed=7)
    parts = list(build(name, portkey_gateway_url, replay).stream_chat(MESSAGES))
    assert "".join(part.delta or "" for part in parts) == tape.text
    check_request(name, replay, stream=True)


@both
async def test_astream_chat(name: str, portkey_gateway_url: str, replay: Replay) -> None:
    tape = EXAMPLES[name].play(stream=True)
    replay.put(tape, seed=8)
    stream = await build(name, portkey_gateway_url, replay).astream_chat(MESSAGES)
    assert "".join([part.delta or "" async for part in stream]) == tape.text
    check_request(name, replay, stream=True)
