"""The README's configs, sent through a real gateway to a scripted Bedrock."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from aiogateway_plugin_bedrock import Bedrock
from aiogateway_plugin_bedrock.frames import MEDIA_TYPE, write_event
from aiogateway_plugin_bedrock.identity import Keys
from aiogateway_plugin_bedrock.sign import make_signature

from aiogateway import app
from aiogateway.errors import SettingsError
from aiogateway.settings import load_settings
from aiogateway.testing import FakeUpstream, Reset, SeenRequest, Send, load_recordings, stream, unary
from aiogateway.types import Secret, UpstreamRequest

HERE = Path(__file__).parent
RECORDINGS = {recording.name.removesuffix(".rec"): recording for recording in load_recordings(HERE / "recordings")}
README = (HERE.parent / "README.md").read_text()
CONFIG, API_KEY = map(json.loads, re.findall(r"```json\n(.*?)```", README, re.DOTALL))
(SETTINGS,) = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", README, re.DOTALL))
BETA: Any = {"anthropic-beta": "a,b"}
ENVIRON = {"HOME": "/nonexistent", "AIOGATEWAY_PORT": "0", "AIOGATEWAY_PLUGINS": "bedrock"}
MODEL = CONFIG["override_params"]["model"].replace(":", "%3A")


@pytest.fixture
async def gateway() -> AsyncIterator[app.Gateway]:
    running = await app.start(load_settings({}, ENVIRON, None))
    yield running
    await running.stop()


async def post(
    gateway: app.Gateway, up: FakeUpstream, name: str, *, config: Any = CONFIG, **headers: str
) -> tuple[int, str]:
    """Sends a recording's request by a config of the README; status and body of what the client gets."""
    recording = RECORDINGS[name]
    config = {**config, "custom_host": up.url}
    if name.startswith("embed"):
        config.pop("override_params", None)
    given = {"x-portkey-config": json.dumps(config), **headers}
    url = f"{gateway.url}/v1/{recording.endpoint}"
    async with aiohttp.ClientSession() as http, http.post(url, json=dict(recording.request), headers=given) as answer:
        return answer.status, await answer.text()


def chunks(body: str) -> list[dict[str, Any]]:
    events = [event.removeprefix("data: ") for event in body.split("\n\n") if event]
    return [json.loads(event) for event in events if event != "[DONE]"]


def script(name: str, *more: bytes) -> tuple[Send, ...]:
    return stream(RECORDINGS[name].body, *more, media_type=MEDIA_TYPE)


def signature(seen: SeenRequest, region: str) -> str:
    """What the signature has to be of a request as it arrived."""
    request = UpstreamRequest(
        method=seen.method,
        url=f"http://{seen.header('host')}{seen.path}",
        headers=(("content-type", seen.header("content-type") or ""),),
        body=seen.body,
    )
    keys = Keys(CONFIG["aws_access_key_id"], Secret(CONFIG["aws_secret_access_key"]))
    return dict(make_signature(request, keys, region, "bedrock"))["authorization"]


async def test_a_stream_comes_out_as_openais_and_is_signed_for_its_host(
    gateway: app.Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import UTC, datetime

    moment = datetime.now(UTC)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: moment)
    async with FakeUpstream(script("chat_stream")) as up:
        status, body = await post(gateway, up, "chat_stream", Authorization="Bearer dummy")
    assert status == 200
    deltas = [choice for chunk in chunks(body) for choice in chunk["choices"]]
    assert "".join(choice["delta"].get("content") or "" for choice in deltas) == RECORDINGS["chat_stream"].text
    assert [choice["finish_reason"] for choice in deltas if choice["finish_reason"]] == ["stop"]
    assert body.endswith("data: [DONE]\n\n")
    (seen,) = up.requests
    assert (seen.method, seen.path) == ("POST", f"/model/{MODEL}/converse-stream")
    assert seen.header("authorization") == signature(seen, "us-east-1")
    assert "dummy" not in str(seen)
    assert json.loads(seen.body) == {"messages": [{"role": "user", "content": [{"text": "Greet the harbour master."}]}]}


async def test_however_the_frames_are_cut(gateway: app.Gateway) -> None:
    """Frames that come a byte at a time, or cut anywhere, go through the engine's search for the first one."""
    whole = RECORDINGS["chat_stream_tools"].body
    for size in (1, 7, 100, 257):
        pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
        async with FakeUpstream(stream(*pieces, media_type=MEDIA_TYPE)) as up:
            status, body = await post(gateway, up, "chat_stream_tools")
        (call,) = [
            call["function"]
            for chunk in chunks(body)
            for choice in chunk["choices"]
            for call in choice["delta"].get("tool_calls", ())
            if call.get("id")
        ]
        assert (status, call["name"], body.endswith("data: [DONE]\n\n")) == (200, "find_tide", True)


async def test_tool_calls_come_out_as_openais(gateway: app.Gateway) -> None:
    async with FakeUpstream(unary(RECORDINGS["chat_unary_parallel_tools"].body)) as up:
        status, body = await post(gateway, up, "chat_unary_parallel_tools")
    (choice,) = json.loads(body)["choices"]
    assert (status, choice["finish_reason"]) == (200, "tool_calls")
    assert [json.loads(call["function"]["arguments"]) for call in choice["message"]["tool_calls"]] == [
        {"port": "Wellsey"},
        {"port": "Wellsey"},
    ]
    assert json.loads(body)["usage"]["total_tokens"] == 804


async def test_a_thought_and_its_seal_go_out_and_back(gateway: app.Gateway) -> None:
    async with FakeUpstream(unary(RECORDINGS["chat_unary_thinking"].body)) as up:
        _, body = await post(gateway, up, "chat_unary_thinking")
        message = json.loads(body)["choices"][0]["message"]
        config = {**CONFIG, "custom_host": up.url}
        again = {"model": "m", "messages": [*RECORDINGS["chat_unary_thinking"].request["messages"], message]}
        async with (
            aiohttp.ClientSession() as http,
            http.post(
                f"{gateway.url}/v1/chat/completions", json=again, headers={"x-portkey-config": json.dumps(config)}
            ) as answer,
        ):
            assert answer.status == 200
    (thought, *_) = json.loads(up.requests[1].body)["messages"][1]["content"]
    assert thought == json.loads(RECORDINGS["chat_unary_thinking"].body)["output"]["message"]["content"][0]


@pytest.mark.parametrize("name", ["embed_titan", "embed_cohere", "embed_cohere_by_type"])
async def test_embeddings_come_out_as_openais(gateway: app.Gateway, name: str) -> None:
    async with FakeUpstream(unary(RECORDINGS[name].body)) as up:
        status, body = await post(gateway, up, name)
    assert status == 200
    assert json.loads(body)["data"][0]["embedding"] == [0.25, -0.0625, 0.5, 0.01]
    assert up.requests[0].path.endswith("/invoke")


async def test_a_claude_client_is_served_in_its_own_wire(gateway: app.Gateway) -> None:
    async with FakeUpstream(script("messages_stream")) as up:
        status, body = await post(gateway, up, "messages_stream", **BETA)
    assert status == 200
    events = [json.loads(line.removeprefix("data: ")) for line in body.split("\n") if line.startswith("data: ")]
    assert next(event["type"] for event in events if event["type"] != "ping") == "message_start"
    assert events[-1] == {"type": "message_stop"}
    pieces = [event["delta"]["partial_json"] for event in events if "partial_json" in event.get("delta", {})]
    assert json.loads("".join(pieces)) == {"port": "Wellsey"}
    (seen,) = up.requests
    assert seen.path == f"/model/{MODEL}/invoke-with-response-stream"
    sent = json.loads(seen.body)
    assert (sent["anthropic_version"], sent["anthropic_beta"]) == ("bedrock-2023-05-31", ["a", "b"])
    assert not {"model", "stream"} & set(sent)


async def test_a_claude_client_may_ask_any_other_model(gateway: app.Gateway) -> None:
    nova = {**CONFIG, "override_params": {"model": "amazon.nova-lite-v1:0"}}
    async with FakeUpstream(script("chat_stream_tools")) as up:
        status, body = await post(gateway, up, "messages_stream", config=nova)
    assert (status, body.count('"input_json_delta"'), "message_stop" in body) == (200, 2, True)
    (seen,) = up.requests
    assert seen.path == "/model/amazon.nova-lite-v1%3A0/converse-stream"
    sent = json.loads(seen.body)
    assert sent["inferenceConfig"] == {"maxTokens": 64}
    assert sent["toolConfig"]["tools"][0]["toolSpec"]["name"] == "find_tide"


async def test_headers_say_the_same_as_a_config(gateway: app.Gateway) -> None:
    names = ("aws_access_key_id", "aws_secret_access_key", "aws_region")
    headers = {f"x-portkey-{name.replace('_', '-')}": CONFIG[name] for name in names}
    async with (
        FakeUpstream(unary(RECORDINGS["chat_unary"].body)) as up,
        aiohttp.ClientSession() as http,
        http.post(
            f"{gateway.url}/v1/chat/completions",
            json=dict(RECORDINGS["chat_unary"].request),
            headers={**headers, "x-portkey-provider": "bedrock", "x-portkey-custom-host": up.url},
        ) as answer,
    ):
        assert answer.status == 200
    (seen,) = up.requests
    assert f"Credential={CONFIG['aws_access_key_id']}/" in (seen.header("authorization") or "")
    assert CONFIG["aws_secret_access_key"] not in str(seen)


async def test_an_error_keeps_its_status_message_and_retry_after(gateway: app.Gateway) -> None:
    async with FakeUpstream(unary(RECORDINGS["error_throttled"].body, status=429)) as up:
        status, body = await post(gateway, up, "error_throttled")
    assert (status, json.loads(body)["error"]["message"]) == (429, "Rate exceeded")
    assert json.loads(body)["error"]["type"] == "ThrottlingException"


@pytest.mark.parametrize("name", ["error_in_stream", "messages_error_in_stream"])
async def test_an_error_in_the_stream_is_said_and_the_stream_not_finished(gateway: app.Gateway, name: str) -> None:
    async with FakeUpstream(script(name)) as up:
        _, body = await post(gateway, up, name)
    expected = RECORDINGS[name].error
    assert expected is not None
    assert expected.message in body
    assert "[DONE]" not in body
    assert "message_stop" not in body


async def test_an_error_before_the_answer_is_an_ordinary_error(gateway: app.Gateway) -> None:
    async with FakeUpstream(script("error_in_stream_throttled")) as up:
        status, body = await post(gateway, up, "error_in_stream_throttled")
    assert (status, "Too many tokens" in body) == (429, True)


@pytest.mark.parametrize("ending", [Send(b"0\r\n\r\n"), Reset()], ids=["ended", "reset"])
async def test_a_stream_that_breaks_off_is_said_to(gateway: app.Gateway, ending: Send | Reset) -> None:
    half = RECORDINGS["chat_stream"].body[:500]
    async with FakeUpstream((*stream(half, media_type=MEDIA_TYPE, end=False), ending)) as up:
        _, body = await post(gateway, up, "chat_stream")
    assert "error" in chunks(body)[-1]
    assert "[DONE]" not in body


async def test_a_frame_with_a_wrong_checksum_breaks_the_stream(gateway: app.Gateway) -> None:
    delta = b'{"contentBlockIndex":0,"delta":{"text":"%d"}}'
    good, bad = (write_event("contentBlockDelta", delta % number) for number in (1, 2))
    async with FakeUpstream(stream(good, bad[:-1] + b"\x00", media_type=MEDIA_TYPE)) as up:
        _, body = await post(gateway, up, "chat_stream")
    assert "error" in chunks(body)[-1]
    assert '"content":"1"' in body
    assert '"content":"2"' not in body


async def test_an_api_key_is_a_bearer(gateway: app.Gateway) -> None:
    async with FakeUpstream(unary(RECORDINGS["chat_unary"].body)) as up:
        status, _ = await post(gateway, up, "chat_unary", config=API_KEY)
        assert status == 200
        await post(gateway, up, "chat_unary", config={"provider": "bedrock"}, Authorization="Bearer ABSKx")
    assert [seen.header("authorization") for seen in up.requests] == [f"Bearer {API_KEY['api_key']}", "Bearer ABSKx"]


# ---------------------------------------------------------------- the machine's own credentials


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK", raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDMACHINE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "machine-5ecret")


async def ask(gateway: app.Gateway, config: dict[str, Any], **headers: str) -> tuple[int, str]:
    body = {"model": "amazon.nova-lite-v1:0", "messages": [{"role": "user", "content": "hi"}]}
    given = {"x-portkey-config": json.dumps({"provider": "bedrock", **config}), **headers}
    url = f"{gateway.url}/v1/chat/completions"
    async with aiohttp.ClientSession() as http, http.post(url, json=body, headers=given) as answer:
        return answer.status, await answer.text()


def settings(up: FakeUpstream, **options: Any) -> Any:
    own = {**SETTINGS["providers"]["bedrock"], "base_url": up.url}
    own["options"] = {**own["options"], **options}
    return load_settings({"providers": {"bedrock": own}}, ENVIRON, None)


@pytest.mark.usefixtures("machine")
async def test_they_are_used_where_the_settings_say_so_and_nowhere_else(gateway: app.Gateway) -> None:
    async with FakeUpstream(unary(RECORDINGS["chat_unary"].body)) as up:
        mine = await app.start(settings(up))
        try:
            assert (await ask(mine, {}, Authorization="Bearer dummy"))[0] == 200
            refused = [
                await ask(mine, {"custom_host": up.url}),
                await ask(mine, {"aws_region": "us-west-2"}),
                await ask(mine, {}, **{"x-portkey-aws-region": "us-west-2"}),
                await ask(mine, {"aws_default_chain": True, "custom_host": up.url}),
                await ask(mine, {"aws_role_arn": "arn:aws:iam::123456789012:role/theirs"}),
                await ask(gateway, {"aws_default_chain": True, "custom_host": up.url}),
                await ask(gateway, {"custom_host": up.url}),
            ]
        finally:
            await mine.stop()
    assert [status for status, _ in refused] == [400] * len(refused)
    (seen,) = up.requests
    assert "Credential=AKIDMACHINE/" in (seen.header("authorization") or "")
    assert "/eu-central-1/bedrock/" in (seen.header("authorization") or "")
    assert "dummy" not in str(seen)


@pytest.mark.usefixtures("machine")
async def test_a_role_of_the_settings_is_assumed_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    granted = (
        b"<AssumeRoleResponse><AccessKeyId>ASIAROLE</AccessKeyId><SecretAccessKey>r</SecretAccessKey>"
        b"<SessionToken>t</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration></AssumeRoleResponse>"
    )
    async with FakeUpstream(unary(granted)) as sts, FakeUpstream(unary(RECORDINGS["chat_unary"].body)) as up:
        monkeypatch.setattr("aiogateway_plugin_bedrock.provider.find_url", lambda region: f"{sts.url}/")
        mine = await app.start(settings(up, aws_role_arn="arn:ours"))
        try:
            assert [(await ask(mine, {}))[0] for _ in range(3)] == [200] * 3
        finally:
            await mine.stop()
    assert len(sts.requests) == 1
    assert b"RoleArn=arn%3Aours" in sts.requests[0].body
    assert {seen.header("x-amz-security-token") for seen in up.requests} == {"t"}


async def test_settings_with_a_wrong_kind_stop_the_start() -> None:
    own = {"options": {"aws_default_chain": "yes"}}
    with pytest.raises(SettingsError, match="aws_default_chain"):
        app.Gateway(load_settings({"providers": {"bedrock": own}}, ENVIRON, None))


def test_the_table_names_every_option() -> None:
    rows = re.findall(r"^\| (`aws.*?) \|", README, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} == set(Bedrock.options)
