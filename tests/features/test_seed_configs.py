"""Every config of Portkey's two guides for LlamaIndex, through a gateway: what runs answers, what can't be is named.

What names a virtual key runs with a provider and a key in its place; so do the README's versions of the examples.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from aiogateway import plugins
from aiogateway.contracts import Provider
from aiogateway.hookspecs import hookimpl
from aiogateway.providers.base import BaseProvider
from aiogateway.testing import FakeUpstream
from aiogateway.testing.upstream import Hang, Script, unary
from aiogateway.types import Capability, Endpoint, Route
from tests.readme import Block, read_blocks, read_text
from tests.seeds import CURRENT, OLD
from tests.stage import Client, Stage, stage

Json = dict[str, Any]
Answer = tuple[Client, Json]

TEXT = "Ahoy"
CHAT = {"id": "c", "object": "chat.completion", "choices": [{"index": 0, "message": {"content": TEXT}}]}
OLLAMA = {"model": "llama3", "message": {"role": "assistant", "content": TEXT}, "done": True, "done_reason": "stop"}
GOOD = unary(orjson.dumps(CHAT))
NOT_HERE = ("anthropic", "google", "mistral-ai")
SLUGS = ("pc-anthropic-xx", "pc-gemini-xx", "pc-mistral-xx", "pc-azure-xx", "pc-bedrock-xx", "pc-vertex-xx", "pc-xxxx")
PROMPT = [{"role": "user", "content": "What is your name"}]
NO_VAULT = "can't be used: there is no vault yet that keeps keys; send provider and api_key instead"


def bad(status: int) -> Script:
    return unary(b'{"error":{"message":"no"}}', status=status)


class StandIn(BaseProvider):
    """A provider that is not here yet, as if it spoke OpenAI's wire: its configs are what is looked at."""

    base_url = "https://stand-in.example/v1"
    capabilities = frozenset(Capability)
    routes: Mapping[Endpoint, Route] = {Endpoint.CHAT: Route("openai_chat", "/chat/completions")}

    def __init__(self, name: str) -> None:
        self.name = name


@hookimpl
def register_providers(register: Callable[[Provider], None]) -> None:
    for name in NOT_HERE:
        register(StandIn(name))


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "DEFAULT_PLUGINS", (*plugins.DEFAULT_PLUGINS, __name__))


@contextlib.asynccontextmanager
async def serve(
    tmp_path: Path, *script: Script, providers: tuple[str, ...] = ("openai",)
) -> AsyncIterator[tuple[Stage, FakeUpstream]]:
    """A gateway for which `providers` are the upstream, so that configs which name no host run as they stand."""
    async with FakeUpstream(*(script or (GOOD,))) as up:
        ours = {name: {"base_url": f"{up.url}/v1"} for name in providers}
        async with stage(GOOD, tmp=tmp_path, providers=ours, retry_wait=0.01) as live:
            yield live, up


# -- what the configs are


def list_leaves(config: Mapping[str, Any]) -> list[Json]:
    return list(config.get("targets") or config.get("options") or [config])


def names_key(config: Mapping[str, Any]) -> bool:
    """Whether a virtual key is in it."""
    return any(leaf.get("virtual_key") for leaf in list_leaves(config))


VIRTUAL = [name for name, config in CURRENT.items() if names_key(config)]
NAMED = [name for name, config in CURRENT.items() if config.get("provider") in NOT_HERE]
OLD_VIRTUAL = [name for name, config in OLD.items() if names_key(config)]


def replace_keys(config: Json) -> Json:
    """The config with a provider, and a key of the same name, for every virtual key."""
    for name in ("targets", "options"):
        if name in config:
            return {**config, name: [replace_keys(leaf) for leaf in config[name]]}
    if config.get("virtual_key") is None:
        return config
    rest = {name: value for name, value in config.items() if name != "virtual_key"}
    return {**rest, "provider": "openai", "api_key": config["virtual_key"]}


def move(config: Json, url: str) -> Json:
    """The config with `url` for every host that it names."""
    moved = {**config, "custom_host": url} if "custom_host" in config else config
    return {**moved, "targets": [move(leaf, url) for leaf in config["targets"]]} if "targets" in config else moved


def test_every_config_is_of_one_kind() -> None:
    assert [name for name in CURRENT if name not in {*VIRTUAL, *NAMED}] == ["openai", "ollama"]
    assert not set(VIRTUAL) & set(NAMED)
    assert [name for name in OLD if name not in OLD_VIRTUAL] == ["own_key"]


# -- asking


async def ask(live: Stage, config: Json | str, **headers: str) -> Answer:
    """As LlamaIndex asks, with its own model and a key that means nothing."""
    text = config if isinstance(config, str) else json.dumps(config)
    bare = {"x-portkey-provider": "", "x-portkey-custom-host": "", "Authorization": "Bearer OPENAI_API_KEY"}
    given = {**bare, "x-portkey-api-key": "YOUR_PORTKEY_API_KEY", "x-portkey-config": text, **headers}
    body: Json = {"model": "gpt-3.5-turbo", "messages": PROMPT, "temperature": 0.1}
    return await read(await live.post(stream=False, headers=given, **body))


async def ask_old(live: Stage, config: Json | str) -> Answer:
    """As portkey-ai 0.1 asks."""
    body = orjson.dumps({"config": config, "params": {"messages": PROMPT, "stream": False}})
    headers = {"x-portkey-provider": "", "x-portkey-custom-host": "", "Authorization": "", "x-portkey-api-key": "pk"}
    return await read(await live.post(path="/v1/chatComplete", headers=headers, raw=body))


async def read(client: Client) -> Answer:
    await client.head()
    return client, orjson.loads(await client.body())


def check_answer(answer: Answer) -> Client:
    client, body = answer
    assert client.status == 200, body
    assert body["choices"][0]["message"]["content"] == TEXT
    return client


def check_refusal(answer: Answer, up: FakeUpstream) -> list[str]:
    """A 400 in both shapes, and nobody was asked; returns its mistakes."""
    client, body = answer
    assert (client.status, body["status"], body["error"]["code"]) == (400, "failure", "invalid_config")
    assert body["message"] == body["error"]["message"]
    assert up.connections == []
    mistakes: list[str] = body["errors"]
    return mistakes


def list_refused(config: Mapping[str, Any]) -> list[str]:
    """What is to be said of a config's virtual keys."""
    several = "targets" in config or "options" in config
    keys = [(index, leaf["virtual_key"]) for index, leaf in enumerate(list_leaves(config)) if leaf.get("virtual_key")]
    where = "targets,{},virtual_key" if several else "virtual_key"
    return [f"path: {where.format(index)}, message: {key!r} {NO_VAULT}" for index, key in keys]


def sent(up: FakeUpstream) -> list[tuple[str, str]]:
    """Key and model of each request."""
    keys = [str(request.header("authorization")).removeprefix("Bearer ") for request in up.requests]
    return list(zip(keys, [orjson.loads(request.body)["model"] for request in up.requests], strict=True))


def draw(live: Stage, *numbers: float) -> None:
    """What chance says, over and over."""
    numbers_again = itertools.cycle(numbers)
    live.gateway.tools.draw = lambda: next(numbers_again)


# -- the configs of the header


async def test_openai_runs_as_it_stands(tmp_path: Path) -> None:
    async with serve(tmp_path) as (live, up):
        check_answer(await ask(live, CURRENT["openai"]))
        assert sent(up) == [("YOUR_OPENAI_API_KEY", "gpt-4o")]
        assert orjson.loads(up.requests[0].body)["max_tokens"] == 64


async def test_ollama_runs_but_for_its_host(tmp_path: Path) -> None:
    async with serve(tmp_path, unary(orjson.dumps(OLLAMA))) as (live, up):
        check_answer(await ask(live, move(CURRENT["ollama"], up.url)))
        assert sent(up) == [("None", "llama3")]
        assert up.requests[0].path == "/api/chat"


@pytest.mark.parametrize("name", NAMED)
async def test_a_provider_that_is_not_here_is_named(name: str, tmp_path: Path) -> None:
    async with serve(tmp_path) as (live, up):
        (mistake,) = check_refusal(await ask(live, CURRENT[name]), up)
        assert mistake.startswith(f"path: provider, message: no provider is called {CURRENT[name]['provider']!r}")


@pytest.mark.usefixtures("stand_ins")
@pytest.mark.parametrize("name", NAMED)
async def test_once_it_is_here_its_configs_run_as_they_stand(name: str, tmp_path: Path) -> None:
    config = CURRENT[name]
    async with serve(tmp_path, providers=NOT_HERE) as (live, up):
        client = check_answer(await ask(live, config))
        assert sent(up) == [(config["api_key"], config["override_params"]["model"])]
        assert orjson.loads(up.requests[0].body)["max_tokens"] == 64
        assert client.headers["x-portkey-provider"] == config["provider"]
        assert client.headers["x-portkey-cache-status"] == "DISABLED"


@pytest.mark.parametrize("name", VIRTUAL)
async def test_a_virtual_key_is_named(name: str, tmp_path: Path) -> None:
    async with serve(tmp_path) as (live, up):
        assert check_refusal(await ask(live, CURRENT[name]), up) == list_refused(CURRENT[name])


@pytest.mark.parametrize("name", VIRTUAL)
async def test_with_a_key_in_its_place_the_rest_runs_as_it_stands(name: str, tmp_path: Path) -> None:
    config = replace_keys(CURRENT[name])
    first = list_leaves(config)[0]
    async with serve(tmp_path) as (live, up):
        draw(live, 0.0)
        check_answer(await ask(live, config))
        assert sent(up) == [(first["api_key"], first.get("override_params", {}).get("model", "gpt-3.5-turbo"))]


async def test_the_fallback_falls_back(tmp_path: Path) -> None:
    async with serve(tmp_path, bad(500), GOOD) as (live, up):
        client = check_answer(await ask(live, replace_keys(CURRENT["fallback"])))
        assert sent(up) == [("openai-virtual-key", "gpt-4o"), ("anthropic-virtual-key", "claude-3-opus-20240229")]
        assert client.headers["x-portkey-last-used-option-index"] == "config.targets[1]"


async def test_the_loadbalance_balances(tmp_path: Path) -> None:
    async with serve(tmp_path) as (live, up):
        draw(live, 0.2, 0.7, 0.49, 0.5)
        for _ in range(4):
            check_answer(await ask(live, replace_keys(CURRENT["loadbalance"])))
        assert [key[-1] for key, _ in sent(up)] == ["1", "2", "1", "2"]


async def test_the_retries_are_five(tmp_path: Path) -> None:
    config = replace_keys(CURRENT["retries"])
    async with serve(tmp_path, *[bad(503)] * 5, GOOD) as (live, up):
        client = check_answer(await ask(live, config))
        assert (len(up.requests), client.headers["x-portkey-retry-attempt-count"]) == (6, "5")
    async with serve(tmp_path, bad(503)) as (live, up):
        client, _ = await ask(live, config)
        assert (client.status, len(up.requests)) == (503, 6)
        assert client.headers["x-portkey-retry-attempt-count"] == "-1"


async def test_the_request_timeout_leads_to_the_next_target(tmp_path: Path) -> None:
    config = {**replace_keys(CURRENT["request_timeout"]), "request_timeout": 60}
    async with serve(tmp_path, (Hang(),), GOOD) as (live, up):
        check_answer(await ask(live, config))
        assert [key for key, _ in sent(up)] == ["open-ai-xxx", "azure-open-ai-xxx"]
    async with serve(tmp_path, (Hang(),)) as (live, up):
        client, body = await ask(live, config)
        assert (client.status, body["error"]["type"], len(up.requests)) == (408, "timeout_error", 2)


async def test_what_a_prompt_leaves_open_is_not_sent(tmp_path: Path) -> None:
    async with serve(tmp_path) as (live, up):
        check_answer(await ask(live, replace_keys(CURRENT["prompt"])))
        assert orjson.loads(up.requests[0].body)["temperature"] == 0.1  # the caller's own, not the template's null


@pytest.mark.parametrize("slug", SLUGS)
async def test_a_slug_is_named(slug: str, tmp_path: Path) -> None:
    async with serve(tmp_path) as (live, up):
        for answer in (await ask(live, slug), await ask_old(live, slug)):
            (mistake,) = check_refusal(answer, up)
            assert f"the slug {slug} can't be looked up" in mistake
        client = await live.connect()
        client.send("GET", f"/v1/configs/{slug}", {"x-portkey-api-key": "pk"})
        assert (await client.answer())[0] == 501


async def test_labels_in_headers_are_in_the_record(tmp_path: Path) -> None:
    labels = {"_user": "USER_ID", "environment": "production", "session_id": "1729"}
    headers = {"x-portkey-metadata": json.dumps(labels), "x-portkey-trace-id": "YOUR_TRACE_ID_HERE"}
    async with serve(tmp_path) as (live, _):
        client = check_answer(await ask(live, CURRENT["openai"], **headers))
        assert client.headers["x-portkey-trace-id"] == "YOUR_TRACE_ID_HERE"
        record = await live.recorded()
        assert (record.trace.id, record.metadata) == ("YOUR_TRACE_ID_HERE", labels)


# -- the old configs, in bodies


async def test_an_old_config_with_a_key_runs_as_it_stands(tmp_path: Path) -> None:
    async with serve(tmp_path) as (live, up):
        check_answer(await ask_old(live, OLD["own_key"]))
        assert sent(up) == [("YOUR_OPENAI_API_KEY", "gpt-4")]


@pytest.mark.parametrize("name", OLD_VIRTUAL)
async def test_an_old_virtual_key_is_named(name: str, tmp_path: Path) -> None:
    async with serve(tmp_path) as (live, up):
        assert check_refusal(await ask_old(live, OLD[name]), up) == list_refused(OLD[name])


@pytest.mark.parametrize("name", OLD_VIRTUAL)
async def test_with_a_key_in_its_place_an_old_config_runs(name: str, tmp_path: Path) -> None:
    async with serve(tmp_path) as (live, up):
        draw(live, 0.0)
        check_answer(await ask_old(live, replace_keys(OLD[name])))
        (request,) = up.requests
        assert orjson.loads(request.body) == {"messages": PROMPT, "stream": False, "model": "gpt-4"}


@pytest.mark.parametrize("name", ["fallback", "fallback_settings", "fallback_overrides"])
async def test_an_old_fallback_retries_and_falls_back(name: str, tmp_path: Path) -> None:
    async with serve(tmp_path, bad(429), bad(500), bad(429), GOOD) as (live, up):
        client = check_answer(await ask_old(live, replace_keys(OLD[name])))
        assert len(up.requests) == 4  # two retries, then the other option
        assert client.headers["x-portkey-last-used-option-index"] == "config.targets[1]"


async def test_an_old_ab_test_goes_by_its_weights(tmp_path: Path) -> None:
    async with serve(tmp_path) as (live, _):
        draw(live, 0.19, 0.21)
        places = [check_answer(await ask_old(live, replace_keys(OLD["ab_test"]))).headers for _ in range(2)]
        assert [place["x-portkey-last-used-option-index"][-2] for place in places] == ["0", "1"]


async def test_an_old_options_labels_are_in_the_record(tmp_path: Path) -> None:
    (option,) = OLD["observability"]["options"]
    async with serve(tmp_path) as (live, _):
        client = check_answer(await ask_old(live, replace_keys(OLD["observability"])))
        assert client.headers["x-portkey-trace-id"] == option["trace_id"]
        record = await live.recorded()
        assert (record.trace.id, record.metadata) == (option["trace_id"], option["metadata"])


# -- the README's versions

EXAMPLES = pytest.mark.parametrize("block", read_blocks("seed"), ids=lambda block: block.name)
WHOM = frozenset(("provider", "api_key", "virtual_key", "custom_host"))


def drop_whom(config: Json) -> Json:
    """The config without whom to ask."""
    rest = {name: value for name, value in config.items() if name not in WHOM}
    return {**rest, "targets": [drop_whom(leaf) for leaf in config["targets"]]} if "targets" in config else rest


def seed_of(block: Block) -> Json:
    return CURRENT[block.name.removeprefix("seed-").replace("-", "_")]


@EXAMPLES
def test_an_example_is_the_guides_but_for_whom_to_ask(block: Block) -> None:
    config, seed = json.loads(block.text), seed_of(block)
    assert drop_whom(config) == drop_whom(seed)
    if not names_key(seed) and config["provider"] == seed["provider"]:
        assert config == seed


@EXAMPLES
async def test_an_example_runs_or_is_refused_as_it_says(block: Block, tmp_path: Path) -> None:
    config = json.loads(block.text)
    ollama = config.get("provider") == "ollama"
    async with serve(tmp_path, unary(orjson.dumps(OLLAMA)) if ollama else GOOD) as (live, up):
        answer = await ask(live, move(config, up.url if ollama else f"{up.url}/v1"))
        if names_key(config):
            (mistake,) = check_refusal(answer, up)
            assert mistake.rpartition("message: ")[2] in " ".join(read_text().split())
        else:
            check_answer(answer)
            assert len(up.requests) == 1
