from __future__ import annotations

import aiohttp
import pytest

from aiogateway.errors import SettingsError
from aiogateway.providers.openai import OpenAI
from aiogateway.testing import Hang, Reset, gateway, stream, unary
from aiogateway.types import Outcome, Secret
from tests.stage import DONE, event
from tests.unit.testing.toy import ToyDialect, ToyProvider

CHAT = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
ANSWER = b'{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hi"}}]}'


async def test_a_call_goes_to_the_upstream_and_comes_back() -> None:
    async with gateway(unary(ANSWER)) as live:
        answer = await live.ask(CHAT, headers={"x-portkey-trace-id": "t7"})
        assert (answer.status, answer.body) == (200, ANSWER)
        assert answer.json()["choices"][0]["message"]["content"] == "hi"
        assert answer.headers["X-Portkey-Trace-Id"] == "t7"
        (seen,) = live.upstream.requests
        assert (seen.path, seen.header("authorization")) == ("/chat/completions", "Bearer sk-testing")
        record = await live.recorded()
        assert (record.outcome, record.trace.id, live.records) == (Outcome.OK, "t7", [record])


async def test_a_provider_that_is_not_installed_brings_its_dialect() -> None:
    lines = (b'{"say":"h\xc3\xa9"}\n', b'{"say":"!"}\n', b'{"end":"stop","counts":[3,2]}\n')
    script = stream(*lines, media_type="application/x-ndjson")
    async with gateway(script, provider=ToyProvider(), dialects=(ToyDialect(),)) as live:
        answer = await live.ask({**CHAT, "stream": True})
    texts = [choice["delta"].get("content") or "" for part in answer.events() for choice in part["choices"]]
    assert (answer.status, "".join(texts)) == (200, "hé!")
    assert live.upstream.requests[0].path == "/chat"


async def test_a_provider_takes_the_place_of_the_built_in_of_its_name() -> None:
    class Other(OpenAI):
        def headers_of(self, target: object) -> tuple[tuple[str, str], ...]:
            return (("x-mine", "yes"),)

    async with gateway(unary(ANSWER), provider=Other()) as live:
        assert (await live.ask(CHAT)).status == 200
    assert live.upstream.requests[0].header("x-mine") == "yes"


async def test_config_settings_and_endpoint_are_the_tests_to_choose() -> None:
    config = {"api_key": "sk-other", "openai_organization": Secret("org-1"), "retry": {"attempts": 1}}
    replies = (unary(b"{}", status=500), unary(b'{"object":"list","data":[],"usage":{"prompt_tokens":1}}'))
    async with gateway(*replies, config=config, retry_wait=0.001) as live:
        answer = await live.ask({"model": "m", "input": "x"}, endpoint="embeddings", config={"api_key": "sk-last"})
    assert answer.status == 200
    first, second = live.upstream.requests
    assert first.path == second.path == "/embeddings"
    assert (second.header("authorization"), second.header("openai-organization")) == ("Bearer sk-last", "org-1")


async def test_a_client_may_leave_in_the_middle() -> None:
    async with gateway((*stream(event("a"), end=False), Hang())) as live:
        async with live.open({**CHAT, "stream": True}) as response:
            assert response.status == 200
            await response.content.readany()
        await live.upstream.left()
        assert (await live.recorded()).outcome is Outcome.CLIENT_LEFT


async def test_a_stream_that_breaks_is_told_by_its_last_event() -> None:
    async with gateway((*stream(event("a"), end=False), Reset()), stream(event("b", "stop"), DONE)) as live:
        broken = await live.ask({**CHAT, "stream": True})
        whole = await live.ask({**CHAT, "stream": True})
    assert "error" in broken.events()[-1]
    assert [part["choices"][0]["delta"]["content"] for part in whole.events()] == ["b"]
    assert whole.body.endswith(DONE)


async def test_no_setting_comes_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOGATEWAY_PORT", "nonsense")
    async with gateway(unary(ANSWER)) as live:
        assert [info.name for info in live.gateway.registry.plugins if not info.builtin] == ["testing-notes"]
    with pytest.raises(SettingsError, match="no plugin is called"):
        async with gateway(unary(ANSWER), plugins={"load": ["no-such-plugin"]}):
            pass


async def test_it_ends_with_the_block() -> None:
    async with gateway(unary(ANSWER)) as live:
        url = live.url
    with pytest.raises(aiohttp.ClientError):
        async with aiohttp.ClientSession() as session, session.get(url):
            pass
