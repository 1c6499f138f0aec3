"""Every config of Portkey's two guides for LlamaIndex, through a gateway: what runs answers, what can't be is named.

Providers are their recordings, played by one upstream. What names a virtual key runs with the provider and a key in its
place; so do the README's versions of the examples.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from aiogateway.testing import FakeUpstream
from aiogateway.testing.upstream import Hang, Script, unary
from tests.readme import Block, read_blocks
from tests.seeds import CURRENT, OLD
from tests.stage import DONE, Client, Stage, stage
from tests.stations import BEHIND, STATIONS, read_key, read_model, replace_keys, whose

Json = dict[str, Any]
Answer = tuple[Client, Json]

GOOD = STATIONS["openai"].script()
SLUGS = ("pc-anthropic-xx", "pc-gemini-xx", "pc-mistral-xx", "pc-azure-xx", "pc-bedrock-xx", "pc-vertex-xx", "pc-xxxx")
PROMPT = [{"role": "user", "content": "What is your name"}]
MODEL = "gpt-3.5-turbo"
NO_VAULT = "can't be used: there is no vault yet that keeps keys; send provider and api_key instead"


def bad(status: int) -> Script:
    return unary(b'{"error":{"message":"no"}}', status=status)


@contextlib.asynccontextmanager
async def serve(tmp_path: Path, *script: Script) -> AsyncIterator[tuple[Stage, FakeUpstream]]:
    """A gateway for which all providers are the upstream, so that configs which name no host run as they stand."""
    async with FakeUpstream(*(script or (GOOD,))) as up:
        ours = {name: {"base_url": f"{up.url}{station.suffix}"} for name, station in STATIONS.items()}
        async with stage(GOOD, tmp=tmp_path, providers=ours, retry_wait=0.01) as live:
            yield live, up


# -- what the configs are


def list_leaves(config: Mapping[str, Any]) -> list[Json]:
    return list(config.get("targets") or config.get("options") or [config])


def names_key(config: Mapping[str, Any]) -> bool:
    """Whether a virtual key is in it."""
    return any(leaf.get("virtual_key") for leaf in list_leaves(config))


VIRTUAL = [name for name, config in CURRENT.items() if names_key(config)]
NAMED = [name for name, config in CURRENT.items() if "provider" in config and "custom_host" not in config]
OLD_VIRTUAL = [name for name, config in OLD.items() if names_key(config)]


def move(config: Json, url: str) -> Json:
    """The config with `url` for every host that it names."""
    moved = {**config, "custom_host": url} if "custom_host" in config else config
    return {**moved, "targets": [move(leaf, url) for leaf in config["targets"]]} if "targets" in config else moved


def test_every_config_is_of_one_kind() -> None:
    assert [name for name in CURRENT if name not in {*VIRTUAL, *NAMED}] == ["ollama"]
    assert not set(VIRTUAL) & set(NAMED)
    named = {leaf["provider"] for name in VIRTUAL for leaf in list_leaves(replace_keys(CURRENT[name]))}
    assert named == {"openai", *BEHIND.values()}
    assert [name for name in OLD if name not in OLD_VIRTUAL] == ["own_key"]


# -- asking


async def ask(live: Stage, config: Json | str, **headers: str) -> Answer:
    """As LlamaIndex asks, with its own model and a key that means nothing."""
    return await read(await send(live, config, headers, streaming=False))


async def ask_stream(live: Stage, config: Json) -> tuple[Client, bytes]:
    client = await send(live, config, {}, streaming=True)
    await client.head()
    return client, await client.body()


async def send(live: Stage, config: Json | str, headers: Mapping[str, str], *, streaming: bool) -> Client:
    text = config if isinstance(config, str) else json.dumps(config)
    bare = {"x-portkey-provider": "", "x-portkey-custom-host": "", "Authorization": "Bearer OPENAI_API_KEY"}
    given = {**bare, "x-portkey-api-key": "YOUR_PORTKEY_API_KEY", "x-portkey-config": text, **headers}
    body: Json = {"model": MODEL, "messages": PROMPT, "temperature": 0.1}
    return await live.post(stream=streaming, headers=given, **body)


async def ask_old(live: Stage, config: Json | str) -> Answer:
    """As portkey-ai 0.1 asks."""
    body = orjson.dumps({"config": config, "params": {"messages": PROMPT, "stream": False}})
    headers = {"x-portkey-provider": "", "x-portkey-custom-host": "", "Authorization": "", "x-portkey-api-key": "pk"}
    return await read(await live.post(path="/v1/chatComplete", headers=headers, raw=body))


async def read(client: Client) -> Answer:
    await client.head()
    return client, orjson.loads(await client.body())


def check_answer(answer: Answer, provider: str = "openai") -> Client:
    """What the provider's recording says came back in OpenAI's wire, from the provider."""
    client, body = answer
    recording = STATIONS[provider].load()
    assert client.status == 200, body
    assert client.headers["x-portkey-provider"] == provider
    (choice,) = body["choices"]
    assert (body["object"], choice["message"]["content"]) == ("chat.completion", recording.text)
    assert (choice["finish_reason"],) == recording.finish
    assert recording.usage is not None
    usage = body["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (recording.usage.input, recording.usage.output)
    return client


def check_stream(client: Client, body: bytes, provider: str) -> None:
    """The same of a stream."""
    recording = STATIONS[provider].load(streaming=True)
    assert client.status == 200, body
    assert client.headers["x-portkey-provider"] == provider
    events = [orjson.loads(event[6:]) for event in body.split(b"\n\n") if event.startswith(b"data: {")]
    choices = [choice for event in events for choice in event["choices"]]
    assert "".join(choice.get("delta", {}).get("content") or "" for choice in choices) == recording.text
    assert tuple(choice["finish_reason"] for choice in choices if choice.get("finish_reason")) == recording.finish
    assert body.endswith(DONE)


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
    return [((read_key(request) or ("", ""))[1], read_model(request)) for request in up.requests]


def draw(live: Stage, *numbers: float) -> None:
    """What chance says, over and over."""
    numbers_again = itertools.cycle(numbers)
    live.gateway.tools.draw = lambda: next(numbers_again)


# -- the configs of the header


def check_request(up: FakeUpstream, config: Json, *, streaming: bool = False) -> Json:
    """One request went out: to the provider's own path, with the target's key and model; returns its body."""
    station = STATIONS[config["provider"]]
    (request,) = up.requests
    model = config.get("override_params", {}).get("model", MODEL)
    assert request.path == station.find_path(model, streaming=streaming)
    assert read_key(request) == ((station.key, config["api_key"]) if "api_key" in config else None)
    assert read_model(request) == model
    body: Json = orjson.loads(request.body)
    return body


LIMITS = {"google": ("generationConfig", "maxOutputTokens"), "anthropic": (None, "max_tokens")}


def read_limit(body: Json, provider: str) -> Any:
    """What became of the guides' max_tokens."""
    place, name = LIMITS.get(provider, (None, "max_tokens"))
    return (body if place is None else body[place])[name]


@pytest.mark.parametrize("name", NAMED)
async def test_a_config_with_a_key_runs_as_it_stands(name: str, tmp_path: Path) -> None:
    config = CURRENT[name]
    async with serve(tmp_path, STATIONS[config["provider"]].script()) as (live, up):
        client = check_answer(await ask(live, config), config["provider"])
        body = check_request(up, config)
    assert read_limit(body, config["provider"]) == 64
    assert client.headers["x-portkey-cache-status"] == "DISABLED"
    assert "x-aiogateway-dropped-params" not in client.headers


@pytest.mark.parametrize("name", NAMED)
async def test_it_streams(name: str, tmp_path: Path) -> None:
    config = CURRENT[name]
    async with serve(tmp_path, STATIONS[config["provider"]].script(streaming=True)) as (live, up):
        check_stream(*await ask_stream(live, config), config["provider"])
        assert read_limit(check_request(up, config, streaming=True), config["provider"]) == 64


async def test_ollama_runs_but_for_its_host(tmp_path: Path) -> None:
    async with serve(tmp_path, STATIONS["ollama"].script()) as (live, up):
        check_answer(await ask(live, move(CURRENT["ollama"], up.url)), "ollama")
        check_request(up, CURRENT["ollama"])
    async with serve(tmp_path, STATIONS["ollama"].script(streaming=True)) as (live, up):
        check_stream(*await ask_stream(live, move(CURRENT["ollama"], up.url)), "ollama")


@pytest.mark.parametrize("name", VIRTUAL)
async def test_a_virtual_key_is_named(name: str, tmp_path: Path) -> None:
    async with serve(tmp_path) as (live, up):
        assert check_refusal(await ask(live, CURRENT[name]), up) == list_refused(CURRENT[name])


@pytest.mark.parametrize("name", VIRTUAL)
async def test_with_a_key_in_its_place_the_rest_runs_as_it_stands(name: str, tmp_path: Path) -> None:
    config = replace_keys(CURRENT[name])
    first = list_leaves(config)[0]
    async with serve(tmp_path, STATIONS[first["provider"]].script()) as (live, up):
        draw(live, 0.0)
        check_answer(await ask(live, config), first["provider"])
        check_request(up, first)


@pytest.mark.parametrize("name", ["azure", "bedrock", "vertex"])
async def test_with_a_key_in_its_place_it_streams(name: str, tmp_path: Path) -> None:
    config = replace_keys(CURRENT[name])
    async with serve(tmp_path, STATIONS[config["provider"]].script(streaming=True)) as (live, up):
        check_stream(*await ask_stream(live, config), config["provider"])
        check_request(up, config, streaming=True)


async def test_the_fallback_falls_back(tmp_path: Path) -> None:
    async with serve(tmp_path, bad(500), STATIONS["anthropic"].script()) as (live, up):
        client = check_answer(await ask(live, replace_keys(CURRENT["fallback"])), "anthropic")
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
    async with serve(tmp_path, (Hang(),), STATIONS["azure-openai"].script()) as (live, up):
        check_answer(await ask(live, config), "azure-openai")
        assert [key for key, _ in sent(up)] == ["open-ai-xxx", "azure-open-ai-xxx"]
    async with serve(tmp_path, (Hang(),)) as (live, up):
        client, body = await ask(live, config)
        assert (client.status, body["error"]["type"], len(up.requests)) == (408, "timeout_error", 2)


async def test_what_a_prompt_leaves_open_is_not_sent(tmp_path: Path) -> None:
    async with serve(tmp_path, STATIONS["groq"].script()) as (live, up):
        check_answer(await ask(live, replace_keys(CURRENT["prompt"])), "groq")
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
    whom = WHOM.union(*(station.fields for station in STATIONS.values()))
    rest = {name: value for name, value in config.items() if name not in whom}
    return {**rest, "targets": [drop_whom(leaf) for leaf in config["targets"]]} if "targets" in config else rest


def seed_of(block: Block) -> Json:
    return CURRENT[block.name.removeprefix("seed-").replace("-", "_")]


@EXAMPLES
def test_an_example_is_the_guides_but_for_whom_to_ask(block: Block) -> None:
    config, seed = json.loads(block.text), seed_of(block)
    if not names_key(seed):
        assert config == seed
    else:
        assert drop_whom(config) == drop_whom(seed)
        whom = [
            (leaf["provider"], leaf.keys() & set(STATIONS[leaf["provider"]].fields)) for leaf in list_leaves(config)
        ]
        asked = [whose(leaf["virtual_key"]) for leaf in list_leaves(seed)]
        assert whom == [(provider, set(STATIONS[provider].fields)) for provider in asked]


@EXAMPLES
async def test_an_example_runs(block: Block, tmp_path: Path) -> None:
    config = json.loads(block.text)
    first = list_leaves(config)[0]
    async with serve(tmp_path, STATIONS[first["provider"]].script()) as (live, up):
        draw(live, 0.0)
        check_answer(await ask(live, move(config, up.url)), first["provider"])
        assert len(up.requests) == 1
