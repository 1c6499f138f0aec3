"""What clients of before 2024 send: config and parameters in one body, on routes of their own (portkey.md 6)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
import pytest

from aiogateway.testing import FakeUpstream
from aiogateway.testing.upstream import stream as streamed
from aiogateway.testing.upstream import unary
from aiogateway.types import Endpoint, Outcome
from tests.stage import GOOD, SEEN, Stage, leaf, stage
from tests.views import both, read_error

# Captured from portkey-ai 0.1.53; it sends no Authorization and no config header.
HEADERS = {
    "Accept": "application/json",
    "Content-Type": "application/json",
    "x-portkey-api-key": "agw-1",
    "x-portkey-package-version": "portkey-0.1.53",
    "x-portkey-runtime": "CPython",
    "x-portkey-runtime-version": "3.11.7",
    "x-portkey-provider": "",
    "x-portkey-custom-host": "",
    "Authorization": "",
}
MESSAGES = [{"role": "user", "content": "What can you do?"}]
CHAT = orjson.dumps({
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-4",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
})  # fmt: skip
TEXT = b'{"id":"c","object":"text_completion","created":1,"model":"m","choices":[{"index":0,"text":"hi"}]}'
VECTOR = b'{"object":"list","model":"m","data":[{"object":"embedding","index":0,"embedding":[0.5]}]}'
BUSY = unary(b'{"error":{"message":"busy"}}', status=500)


def config(mode: str, *options: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"mode": mode, "options": list(options), **fields}


async def ask(
    live: Stage, given: Any, params: Any, *, path: str = "/v1/chatComplete", headers: Any = None
) -> tuple[int, bytes]:
    body = {name: value for name, value in (("config", given), ("params", params)) if value is not None}
    return await live.ask(path=path, headers={**HEADERS, **(headers or {})}, raw=orjson.dumps(body))


async def test_a_chat_completion() -> None:
    async with stage(unary(CHAT)) as live:
        option = leaf(live.up, weight=0.2, override_params={"model": "gpt-4", "temperature": None})
        params = {"messages": MESSAGES, "stream": False}
        assert await ask(live, config("single", option), params) == (200, CHAT)
        seen = live.seen()
        assert (seen.path, seen.header("authorization")) == ("/v1/chat/completions", "Bearer sk-own")
        assert live.sent_body() == {**params, "model": "gpt-4"}
        assert not [name for name, _ in seen.headers if name.lower().startswith("x-portkey")]
        record = await live.recorded()
        assert (record.endpoint, record.route, record.outcome) == (Endpoint.CHAT, "/v1/chatComplete", Outcome.OK)
        assert record.attempts[0].model == "gpt-4"


async def test_a_streamed_one_is_byte_for_byte_what_the_new_route_gives() -> None:
    async with stage(streamed(GOOD)) as live:
        params = {"messages": MESSAGES, "stream": True}
        old = await ask(live, config("single", leaf(live.up)), params)
        assert old == (200, SEEN)
        sent = live.sent_body()
        assert old == await live.ask(config=leaf(live.up), raw=orjson.dumps(params))
        assert live.sent_body() == sent
        assert (await live.recorded(2)).lane is (await live.recorded()).lane


@pytest.mark.parametrize(
    ("path", "params", "upstream", "answer"),
    [
        ("/v1/complete", {"prompt": "x", "stream": False}, "/v1/completions", TEXT),
        ("/v1/embed", {"input": "x", "model": "m"}, "/v1/embeddings", VECTOR),
        ("/v1/chatComplete?x=1", {"messages": MESSAGES}, "/v1/chat/completions", CHAT),
    ],
)
async def test_every_old_route(path: str, params: dict[str, Any], upstream: str, answer: bytes) -> None:
    async with stage(unary(answer)) as live:
        assert await ask(live, config("single", leaf(live.up)), params, path=path) == (200, answer)
        assert (live.seen().path, live.sent_body()) == (upstream, params)


async def test_parameters_go_on_as_they_came() -> None:
    params = b'{ "messages":[], "big":123456789012345678901234567890, "text":"\\u00e9" }'
    async with stage(unary(CHAT)) as live:
        raw = b'{"params" : %s , "config":%s}' % (params, orjson.dumps(leaf(live.up)))
        status, _ = await live.ask(path="/v1/chatComplete", headers=HEADERS, raw=raw)
        assert (status, live.seen().body) == (200, params)


async def test_a_current_config_does_as_well() -> None:
    async with stage(unary(CHAT)) as live:
        given = {"strategy": {"mode": "single"}, "targets": [leaf(live.up)]}
        assert await ask(live, given, {"messages": []}) == (200, CHAT)
        assert await ask(live, leaf(live.up), {"messages": []}) == (200, CHAT)


async def test_an_old_config_in_the_header_of_a_new_route() -> None:
    async with stage(unary(CHAT)) as live:
        status, body = await live.ask(config=config("single", leaf(live.up)), stream=False)
        assert (status, body) == (200, CHAT)


async def test_without_a_config_in_the_body_the_headers_say_where_to() -> None:
    async with stage(unary(CHAT)) as live:
        raw = orjson.dumps({"params": {"messages": []}, "config": None})
        assert await live.ask(path="/v1/chatComplete", raw=raw) == (200, CHAT)
        assert live.seen().header("authorization") == "Bearer sk-caller"


async def test_without_any_the_settings_say(tmp_path: Path) -> None:
    async with FakeUpstream(unary(CHAT)) as up, stage(unary(b"{}"), tmp=tmp_path, default_config=leaf(up)) as live:
        assert await ask(live, None, {"messages": []}) == (200, CHAT)


async def test_the_option_that_answers_labels_the_record() -> None:
    async with stage(unary(CHAT)) as live:
        option = leaf(live.up, trace_id="llamaindex_portkey", metadata={"_user": "user", "_prompt": "test"})
        client = await live.post(
            path="/v1/chatComplete",
            headers={**HEADERS, "x-portkey-metadata": '{"_user":"header","kept":1}'},
            raw=orjson.dumps({"config": config("single", option), "params": {"messages": []}}),
        )
        assert (await client.answer())[0] == 200
        assert client.headers["x-portkey-trace-id"] == "llamaindex_portkey"
        record = await live.recorded()
        assert record.trace.id == "llamaindex_portkey"
        assert record.metadata == {"_user": "user", "_prompt": "test", "kept": 1}


async def test_retry_settings_of_options_are_no_parameters() -> None:
    retries = {"on_status_codes": [429, 500], "attempts": 0}
    async with stage(unary(CHAT)) as live:
        option = leaf(live.up, override_params={"model": "gpt-4", "retry_settings": retries})
        assert await ask(live, config("single", option), {"messages": []}) == (200, CHAT)
        assert live.sent_body() == {"messages": [], "model": "gpt-4"}


# ------------------------------------------------------------------- strategies


@both
async def test_fallback_with_retries_as_in_the_notebook(stream: bool, tmp_path: Path) -> None:
    async with (
        FakeUpstream(streamed(GOOD) if stream else unary(CHAT)) as spare,
        stage(BUSY, tmp=tmp_path, retry_wait=0.001) as live,
    ):
        given = config(
            "fallback",
            leaf(live.up, override_params={"model": "gpt-4"}, retry_settings={"on_status_codes": [500], "attempts": 2}),
            leaf(spare, override_params={"model": "gpt-3.5-turbo"}, trace_id="spare", metadata={"_user": "u"}),
        )
        client = await live.post(
            path="/v1/chatComplete",
            headers=HEADERS,
            raw=orjson.dumps({"config": given, "params": {"messages": MESSAGES, "stream": stream}}),
        )
        assert await client.answer() == (200, SEEN if stream else CHAT)
        assert client.headers["x-portkey-last-used-option-index"] == "config.targets[1]"
        assert client.headers["x-portkey-trace-id"] == "spare"
        assert (len(live.up.requests), len(spare.requests)) == (3, 1)
        record = await live.recorded()
        assert [attempt.status for attempt in record.attempts] == [500, 500, 500, 200]
        assert (record.outcome, record.metadata) == (Outcome.OK, {"_user": "u"})


async def test_load_balance_by_its_old_name() -> None:
    async with FakeUpstream(unary(CHAT)) as other, stage(unary(CHAT)) as live:
        given = config("ab_test", leaf(live.up, weight=0.2), leaf(other, weight=0.8))
        for _ in range(100):
            assert (await ask(live, given, {"messages": []}))[0] == 200
        assert 0 < len(live.up.requests) < len(other.requests)


async def test_options_in_options() -> None:
    async with FakeUpstream(unary(CHAT)) as spare, stage(BUSY) as live:
        given = config("fallback", config("ab_test", leaf(live.up)), config("single", leaf(spare)))
        assert await ask(live, given, {"messages": []}) == (200, CHAT)
        record = await live.recorded()
        assert [attempt.target for attempt in record.attempts] == [
            "config.targets[0].targets[0]", "config.targets[1].targets[0]"
        ]  # fmt: skip


# ----------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("raw", "code", "words"),
    [
        (b"{nope", "invalid_request", "the body is not JSON"),
        (b"[]", "invalid_request", "the body must be a JSON object"),
        (b"", "invalid_request", "the body is not JSON"),
        (b"{}", "invalid_request", "params is missing"),
        (b'{"config":{},"params":null}', "invalid_request", "params is missing"),
        (b'{"config":{},"params":[1]}', "invalid_request", "params must be an object"),
        (b'{"config":{},"params":"x"}', "invalid_request", "params must be an object"),
        (b'{"config":"pc-abc","params":{}}', "invalid_config", "pc-abc"),
        (b'{"config":"","params":{}}', "invalid_config", "JSON object"),
        (b'{"config":5,"params":{}}', "invalid_config", "config: must be a config as an object"),
        (b'{"config":[],"params":{}}', "invalid_config", "config: must be a config as an object"),
        (b'{"config":{"mode":"single","options":[]},"params":{}}', "invalid_config", "targets"),
        (b'{"config":{"mode":"robin","options":[{"provider":"openai"}]},"params":{}}', "invalid_config", "mode"),
        (b'{"params":{}}', "invalid_config", "x-portkey-provider"),
    ],
)
async def test_what_is_refused(raw: bytes, code: str, words: str) -> None:
    async with stage(unary(CHAT)) as live:
        client = await live.post(path="/v1/chatComplete", headers={**HEADERS, "x-portkey-trace-id": "mine"}, raw=raw)
        status, body = await client.answer()
        error = read_error(body)
        assert (status, error["code"]) == (400, code)
        assert words in error["message"]
        assert client.headers["x-portkey-trace-id"] == "mine"
        assert not live.up.requests
        record = await live.recorded()
        assert (record.outcome, record.trace.id, record.route) == (Outcome.REFUSED, "mine", "/v1/chatComplete")


async def test_every_mistake_of_an_old_config_at_once() -> None:
    async with stage(unary(CHAT)) as live:
        given = config("single", {"provider": "openai", "retry": 9, "cache_status": "HIT", "trace_id": 5})
        status, body = await ask(live, given, {"messages": []})
        assert status == 400
        errors = orjson.loads(body)["errors"]
        assert [error.partition(", message")[0] for error in errors] == [
            "path: targets,0,trace_id", "path: targets,0,retry,attempts", "path: targets,0,cache,mode"
        ]  # fmt: skip


async def test_the_captured_bodies_name_virtual_keys() -> None:
    """portkey.md 6: what the old client sent, to the letter. Until there is a vault, the answer says what lacks."""
    options = [
        {"provider": "openai", "virtual_key": "vk-a", "weight": 0.2, "override_params": {"model": "gpt-4"}},
        {"provider": "openai", "virtual_key": "vk-b", "cache_age": "max-age=60", "cache_status": "semantic",
         "cache_force_refresh": True, "trace_id": "tr", "metadata": {"_user": "u"}, "weight": 0.8,
         "retry": {"attempts": 2, "on_status_codes": [429]}, "override_params": {"model": "gpt-3.5-turbo"}},
    ]  # fmt: skip
    async with stage(unary(CHAT)) as live:
        for mode, count in (("single", 1), ("fallback", 2), ("ab_test", 2)):
            given = config(mode, *options[:count])
            status, body = await ask(live, given, {"messages": MESSAGES, "stream": False})
            assert status == 400
            message = read_error(body)["message"]
            assert [key in message for key in ("vk-a", "vk-b")] == [True, count == 2]
            assert "vault" in message


async def test_a_config_in_the_body_and_one_in_a_header() -> None:
    async with stage(unary(CHAT)) as live:
        header = {"x-portkey-config": '{"provider":"openai"}'}
        status, body = await ask(live, leaf(live.up), {"messages": []}, headers=header)
        assert status == 400
        assert "x-portkey-config" in read_error(body)["message"]


async def test_a_config_from_the_body_gets_no_credential_of_ours(tmp_path: Path) -> None:
    async with stage(unary(CHAT), tmp=tmp_path, providers={"openai": {"api_key": "sk-ours"}}) as live:
        option = {"provider": "openai", "custom_host": f"{live.up.url}/v1"}
        status, body = await ask(live, config("single", option), {"messages": []})
        assert status == 400
        assert "is ours and never goes to a host from" in read_error(body)["message"]
        assert not live.up.requests


async def test_other_methods_are_not_the_old_routes() -> None:
    async with stage(unary(b"{}")) as live:
        client = await live.connect()
        client.send("GET", "/v1/chatComplete", live.target())
        assert (await client.answer())[0] == 200
        assert (live.seen().method, live.seen().path) == ("GET", "/v1/chatComplete")
