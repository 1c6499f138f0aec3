"""Keys: which are ours and stay here, which are the caller's and go to its provider, and where a key may go at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from aiogateway.testing.upstream import SeenRequest, unary
from aiogateway.types import Outcome
from tests.stage import Client, Stage, stage

ANSWER = b'{"object":"chat.completion","choices":[]}'
CHAT = "/v1/chat/completions"
OURS = "agw-5ecret"
NO_KEY = {"Authorization": ""}


def config(live: Stage, **fields: Any) -> dict[str, str]:
    """Headers that name the upstream by a config, and nothing else."""
    given = {"provider": "openai", "custom_host": f"{live.up.url}/v1", **fields}
    return {"x-portkey-provider": "", "x-portkey-custom-host": "", "x-portkey-config": json.dumps(given)}


def spelled(seen: SeenRequest) -> str:
    """All of a request that the upstream saw."""
    return f"{seen.method} {seen.path} {seen.headers} {seen.body!r}"


async def ask(live: Stage, headers: dict[str, str]) -> SeenRequest:
    """One call that must succeed, as the upstream saw it."""
    assert await live.ask(stream=False, headers=headers) == (200, ANSWER)
    return live.seen()


# ---------------------------------------------------------------- ours


EVERYWHERE = {
    "x-portkey-api-key": OURS,
    "x-aiogateway-api-key": OURS,
    "Authorization": f"Bearer {OURS}",
    "x-api-key": OURS,
    "x-goog-api-key": OURS,
    "api-key": OURS,
    "x-custom": OURS,
    "x-custom-bearer": f"Bearer {OURS}",
    "Cookie": f"key={OURS}",
    "Proxy-Authorization": f"Bearer {OURS}",
}
FORWARDED = "authorization,x-api-key,x-goog-api-key,api-key,x-custom,x-custom-bearer"


@pytest.mark.parametrize("path", [f"{CHAT}?key={OURS}", f"/v1/files?a=1&key={OURS}&b=2", f"/v1/files?key={OURS}"])
@pytest.mark.parametrize("forward", ["header", "config"])
async def test_our_key_in_every_place_at_once_reaches_no_provider(path: str, forward: str) -> None:
    async with stage(unary(ANSWER)) as live:
        headers = {**live.target(), **EVERYWHERE}
        if forward == "header":
            headers["x-portkey-forward-headers"] = FORWARDED
        else:
            headers |= config(live, forward_headers=FORWARDED.split(","))
        client = await live.connect()
        client.send("POST", path, headers, b'{"model":"m"}')
        status, body = await client.answer()
        assert (status, body) == (200, ANSWER)
        assert "agw" not in spelled(live.seen()).lower()
        assert "5ecret" not in spelled(live.seen()) + str(client.headers) + repr(await live.recorded())
        if path.endswith("b=2"):
            assert live.seen().path == "/v1/files?a=1&b=2"


async def test_without_keys_of_ours_anything_under_our_header_is_accepted_and_stays_here() -> None:
    async with stage(unary(ANSWER)) as live:
        seen = await ask(live, {"x-portkey-api-key": "pk-something"})
        assert "pk-something" not in spelled(seen)
        assert seen.header("authorization") == "Bearer sk-caller"


# ---------------------------------------------------------------- the caller's


@pytest.mark.parametrize("name", ["x-api-key", "x-goog-api-key"])
async def test_the_caller_s_credential_is_found_wherever_clients_put_one(name: str) -> None:
    async with stage(unary(ANSWER)) as live:
        assert (await ask(live, {**NO_KEY, name: "sk-elsewhere"})).header("authorization") == "Bearer sk-elsewhere"


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_a_bearer_is_one_in_any_case(scheme: str) -> None:
    async with stage(unary(ANSWER)) as live:
        seen = await ask(live, {"Authorization": f"{scheme} sk-caller"})
        assert seen.header("authorization") == "Bearer sk-caller"


async def test_no_credential_is_made_up() -> None:
    async with stage(unary(ANSWER)) as live:
        assert (await ask(live, NO_KEY)).header("authorization") is None


async def test_the_placeholder_that_portkey_ai_sends_is_no_credential(tmp_path: Path) -> None:
    async with stage(unary(ANSWER)) as live:
        assert (await ask(live, {"Authorization": "Bearer OPENAI_API_KEY"})).header("authorization") is None
        seen = await ask(live, {"Authorization": "Bearer OPENAI_API_KEY", "x-api-key": "sk-real"})
        assert seen.header("authorization") == "Bearer sk-real"


async def test_a_key_in_the_config_beats_the_caller_s_header_which_goes_nowhere() -> None:
    async with stage(unary(ANSWER)) as live:
        headers = {**config(live, api_key="sk-config"), "x-api-key": "sk-other"}
        headers["x-portkey-forward-headers"] = "authorization,x-api-key,api-key,x-goog-api-key"
        seen = await ask(live, headers)
        assert seen.header("authorization") == "Bearer sk-config"
        assert "sk-caller" not in spelled(seen)
        assert "sk-other" not in spelled(seen)


@pytest.mark.parametrize("path", [CHAT, "/v1/files"])
async def test_the_caller_s_credential_is_dropped_where_the_target_has_its_own(path: str, tmp_path: Path) -> None:
    async with stage(unary(ANSWER)) as other:
        ours = {"openai": {"api_key": "sk-settings", "base_url": f"{other.up.url}/v1"}}
        async with stage(unary(ANSWER), tmp=tmp_path, providers=ours) as live:
            headers = {"x-portkey-custom-host": "", "x-api-key": "sk-other"}
            assert await live.ask(path=path, stream=False, headers=headers) == (200, ANSWER)
            assert other.seen().header("authorization") == "Bearer sk-settings"
            assert "sk-caller" not in spelled(other.seen())
            assert "sk-other" not in spelled(other.seen())


async def test_a_provider_s_key_in_the_environment_is_nobody_s_unless_the_settings_name_it(tmp_path: Path) -> None:
    environ = {"OPENAI_API_KEY": "sk-environment", "MY_KEY": "sk-named"}
    async with stage(unary(ANSWER), environ=environ) as live:
        assert "sk-environment" not in spelled(await ask(live, NO_KEY))
        ours = {"openai": {"api_key": "${MY_KEY}", "base_url": f"{live.up.url}/v1"}}
        async with stage(unary(ANSWER), environ=environ, tmp=tmp_path, providers=ours) as named:
            assert (await named.ask(stream=False, headers={**NO_KEY, "x-portkey-custom-host": ""}))[0] == 200
            assert live.seen().header("authorization") == "Bearer sk-named"


@pytest.mark.parametrize("key", ["sk-a\x7fb", "sk-é", "sk-a\tb"])
async def test_a_credential_that_no_header_can_carry_is_a_400_that_does_not_show_it(key: str) -> None:
    async with stage(unary(ANSWER)) as live:
        status, body = await live.ask(stream=False, headers=config(live, api_key=key))
        assert status == 400
        assert key.encode() not in body
        assert live.up.connections == []


# ---------------------------------------------------------------- where a credential may go


@pytest.mark.parametrize("path", [CHAT, "/v1/files"])
@pytest.mark.parametrize("how", ["header", "our header", "config"])
async def test_a_key_of_ours_never_goes_to_a_host_from_the_request(how: str, path: str, tmp_path: Path) -> None:
    ours = {"openai": {"api_key": "sk-settings"}}
    async with stage(unary(ANSWER), tmp=tmp_path, providers=ours) as live:
        headers = {"x-portkey-custom-host": "", **NO_KEY}
        host = f"{live.up.url}/v1"
        if how == "config":
            headers |= config(live)
            names = ("x-portkey-config custom_host",)
        else:
            name = "x-portkey-custom-host" if how == "header" else "x-aiogateway-custom-host"
            headers[name] = host
            names = (name,)
        status, body = await live.ask(path=path, stream=False, headers=headers)
        message = orjson.loads(body)["error"]["message"]
        assert status == 400
        for name in ("providers.openai.api_key", *names):
            assert name in message
        assert "sk-settings" not in message
        assert live.up.connections == []
        assert (await live.recorded()).outcome is Outcome.REFUSED


async def test_not_even_when_the_key_comes_by_the_default_config(tmp_path: Path) -> None:
    inherited = {"provider": "openai", "api_key": "sk-default"}
    async with stage(unary(ANSWER), tmp=tmp_path, default_config=inherited) as live:
        headers = {"x-portkey-provider": "", **NO_KEY}
        status, body = await live.ask(stream=False, headers=headers)
        message = orjson.loads(body)["error"]["message"]
        assert status == 400
        assert "default_config api_key" in message
        assert "x-portkey-custom-host" in message
        assert live.up.connections == []


async def test_a_key_from_the_request_may_go_to_a_host_from_the_request_past_a_key_of_ours(tmp_path: Path) -> None:
    async with stage(unary(ANSWER), tmp=tmp_path, providers={"openai": {"api_key": "sk-settings"}}) as live:
        seen = await ask(live, config(live, api_key="sk-config"))
        assert seen.header("authorization") == "Bearer sk-config"
        assert "sk-settings" not in spelled(seen)


async def test_the_default_config_serves_clients_that_can_not_set_headers(tmp_path: Path) -> None:
    async with stage(unary(ANSWER)) as other:
        inherited = {"provider": "openai", "api_key": "sk-default", "custom_host": f"{other.up.url}/v1"}
        async with stage(unary(ANSWER), tmp=tmp_path, default_config=inherited) as live:
            client = await live.connect()
            client.send("POST", CHAT, {"Authorization": "Bearer sk-caller"}, b'{"model":"m"}')
            assert await client.answer() == (200, ANSWER)
            assert other.seen().header("authorization") == "Bearer sk-default"
            assert "sk-caller" not in spelled(other.seen())


async def test_a_call_without_a_target_is_a_400_that_names_both_headers() -> None:
    async with stage(unary(ANSWER)) as live:
        for path in (CHAT, "/v1/files"):
            client: Client = await live.connect()
            client.send("POST", path, {"Authorization": "Bearer sk-caller"}, b'{"model":"m"}')
            status, body = await client.answer()
            assert status == 400
            assert b"x-portkey-config" in body
            assert b"x-portkey-provider" in body
            assert b"sk-caller" not in body
