"""Control characters and headers that belong to one connection: neither gets through us to the other side."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from aiogateway.testing.upstream import Cut, Send, head, stream, unary
from aiogateway.types import Outcome
from tests.stage import GOOD, SEEN, Stage, stage

ANSWER = b'{"object":"chat.completion","choices":[]}'
CHAT = "/v1/chat/completions"
HOSTILE = ["a\r\nx-evil: 1", "a\nx-evil: 1", "a\rx-evil: 1", "a\x00b", "a\x0bb", "a\x7fb"]
NAMES = ["crlf", "lf", "cr", "nul", "vt", "del"]


async def refused(live: Stage, headers: dict[str, str], **call: Any) -> None:
    """A 400 before any upstream, by us or by the HTTP parser."""
    status, body = await live.ask(headers=headers, **call)
    assert status == 400
    assert orjson.loads(body)["error"]["type"] == "invalid_request_error"
    assert live.up.connections == []


@pytest.mark.parametrize("bad", HOSTILE, ids=NAMES)
async def test_control_characters_in_the_fields_of_a_config_are_refused(bad: str) -> None:
    async with stage(unary(ANSWER)) as live:
        base = {"provider": "openai", "custom_host": f"{live.up.url}/v1"}
        for field in (
            {"api_key": bad},
            {"openai_organization": bad},
            {"openai_project": bad},
            {"forward_headers": [bad]},
            {"custom_host": f"{live.up.url}/v1{bad}"},
            {"provider": bad},
        ):
            text = json.dumps({**base, **field})  # escaped, so that HTTP itself does not object
            await refused(live, {"x-portkey-config": text, "x-portkey-provider": "", "x-portkey-custom-host": ""})


@pytest.mark.parametrize("bad", HOSTILE[3:], ids=NAMES[3:])
@pytest.mark.parametrize(
    "name",
    [
        "x-portkey-trace-id",
        "x-portkey-custom-host",
        "x-portkey-provider",
        "x-portkey-openai-organization",
        "Authorization",
    ],
)
async def test_control_characters_in_headers_are_refused(name: str, bad: str) -> None:
    async with stage(unary(ANSWER)) as live:
        await refused(live, {name: f"Bearer {bad}" if name == "Authorization" else bad})


async def test_control_characters_in_metadata_do_no_harm() -> None:
    async with stage(unary(ANSWER)) as live:
        given = {"user": "a\r\nx-evil: 1\x00"}
        assert await live.ask(headers={"x-portkey-metadata": json.dumps(given)}) == (200, ANSWER)
        assert (await live.recorded()).metadata == given  # as data, to whom it concerns
        assert "evil" not in str(live.seen().headers)


@pytest.mark.parametrize("bad", HOSTILE, ids=NAMES)
async def test_control_characters_in_a_model_s_name_stay_in_the_body(bad: str) -> None:
    async with stage(unary(ANSWER)) as live:
        client = await live.post(stream=False, model=bad)
        assert await client.answer() == (200, ANSWER)
        assert live.sent_body()["model"] == bad
        assert "x-evil" not in client.headers
        assert "evil" not in live.seen().path + str(live.seen().headers)
        assert (await live.recorded()).attempts[0].model == bad


@pytest.mark.parametrize("path", ["/v1/files/a%0d%0ax-evil:1", "/v1/files/a%00b"])
async def test_escaped_control_characters_in_a_path_stay_escaped(path: str) -> None:
    async with stage(unary(ANSWER)) as live:
        assert await live.ask(path=path) == (200, ANSWER)
        assert live.seen().path == path


# ---------------------------------------------------------------- hop by hop

HOP_BY_HOP = {
    "Keep-Alive": "timeout=5",
    "Proxy-Authorization": "Basic cHJveHk6a2V5",
    "Proxy-Connection": "keep-alive",
    "TE": "trailers",
    "Trailer": "x-checksum",
    "Cookie": "session=1",
    "X-Named": "1",
    "X-Also-Named": "2",
    "Connection": "keep-alive, X-Named , x-also-named",
}


@pytest.mark.parametrize("path", [CHAT, "/v1/files"])
async def test_headers_of_the_client_s_connection_go_no_further(path: str) -> None:
    async with stage(unary(ANSWER)) as live:
        headers = {**HOP_BY_HOP, "x-portkey-forward-headers": "x-named,x-also-named,x-kept", "X-Kept": "3"}
        assert await live.ask(path=path, stream=False, headers=headers) == (200, ANSWER)
        names = [name for name, _ in live.seen().headers]
        assert "x-kept" in names
        assert not {name.lower() for name in HOP_BY_HOP} & set(names)
        assert not [name for name in names if name.startswith(("x-portkey-", "x-aiogateway-"))]
        assert len(names) == len(set(names))
        assert live.seen().header("host") == f"127.0.0.1:{live.up.port}"


@pytest.mark.parametrize("name", [*sorted(HOP_BY_HOP.keys() - {"X-Named", "X-Also-Named"}), "Host", "Content-Length"])
async def test_they_can_not_be_asked_for_either(name: str) -> None:
    async with stage(unary(ANSWER)) as live:
        await refused(live, {"x-portkey-forward-headers": name})


@pytest.mark.parametrize("streaming", [True, False], ids=["stream", "unary"])
@pytest.mark.parametrize("path", [CHAT, "/v1/files"])
async def test_headers_of_the_provider_s_connection_go_no_further(path: str, streaming: bool) -> None:
    mine = (
        ("connection", "keep-alive, x-named"),
        ("x-named", "1"),
        ("keep-alive", "timeout=5"),
        ("proxy-authenticate", "Basic"),
        ("trailer", "x-checksum"),
        ("upgrade", "h2c"),
        ("set-cookie", "session=1"),
        ("alt-svc", 'h3=":443"'),
        ("strict-transport-security", "max-age=1"),
        ("x-portkey-trace-id", "forged"),
        ("x-aiogateway-anything", "forged"),
        ("x-request-id", "r1"),
    )
    async with stage(stream(GOOD, headers=mine) if streaming else unary(ANSWER, headers=mine)) as live:
        client = await live.post(path=path, stream=streaming)
        status, body = await client.answer()
        assert (status, body) == (200, (SEEN if path == CHAT else GOOD) if streaming else ANSWER)
        assert client.headers["x-request-id"] == "r1"
        dropped = {name for name, _ in mine} - {"x-request-id", "x-portkey-trace-id"}
        assert not dropped & set(client.headers)
        assert client.headers["x-portkey-trace-id"] != "forged"


async def test_a_provider_s_header_with_a_bare_line_feed_is_not_split_into_two() -> None:
    wire = head(200, (("content-type", "application/json"), ("content-length", "2"), ("x-a", "1\nx-evil: 1")))
    async with stage((wire, Send(b"{}"), Cut())) as live:
        client = await live.post(stream=False)
        status, _ = await client.answer()
        assert (status, (await live.recorded()).outcome) == (502, Outcome.FAILED)
        assert "x-evil" not in client.headers
