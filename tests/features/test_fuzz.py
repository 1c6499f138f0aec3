"""Random requests and random providers: never an error of our own making, and the next caller is served as ever."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aiogateway.testing.upstream import Cut, Script, SeenRequest, Send, Step, stream, unary
from aiogateway.types import Outcome
from tests import foreign
from tests.network import Names
from tests.stage import GOOD, SEEN, Stage, stage

BODY = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}'
PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses")

fuzz = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,  # what fails here fails for everyone, and a green run stays green
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


class Provider:
    """Answers well, or with `wire` when there is one."""

    def __init__(self) -> None:
        self.wire: bytes | None = None

    def __call__(self, request: SeenRequest) -> Iterator[Step]:
        if self.wire is not None:
            yield Send(self.wire)
            yield Cut()
        elif b'"stream":true' in request.body.replace(b" ", b""):
            yield from stream(GOOD)
        else:
            yield from unary(BODY)


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
async def live(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stage]:
    foreign.install(monkeypatch)
    script: Script = provider
    async with stage(script, resolver=Names()) as running:  # a config may leave the host out
        yield running


async def still_well(live: Stage, provider: Provider) -> None:
    """Nobody else has noticed."""
    provider.wire = None
    assert await live.ask() == (200, SEEN)
    assert await live.ask(stream=False) == (200, BODY)


async def ask(live: Stage, path: str, headers: Mapping[str, str], raw: bytes) -> int:
    """The status; whatever it is, there is one record of it, and it is no fault of ours."""
    count = len(live.records)
    status, _ = await live.ask(path=path, headers=headers, raw=raw)
    record = await live.recorded(count + 1)
    assert len(live.records) == count + 1
    assert record.status == status
    assert record.error not in ("internal_error", "plugin_error")
    return status


words = st.sampled_from(["model", "messages", "stream", "stream_options", "n", "tools", "input", "prompt", "role",
                         "content", "include_usage", "tool_calls", "function", "type", "image_url", "text", "user",
                         "assistant", "system", "tool", "stop", "response_format", "tool_choice"])  # fmt: skip
leaves = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | words | st.text(max_size=20)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words | st.text(max_size=5), inner, max_size=5)
)
bodies = st.dictionaries(words | st.text(max_size=8), values, max_size=8)
messages = st.lists(
    st.fixed_dictionaries(
        {}, optional={"role": words | leaves, "content": values, "tool_calls": values, "name": values}
    ),
    max_size=3,
)


def write(body: Any) -> bytes:
    """JSON as a sloppy client writes it: NaN, halves of surrogate pairs and large numbers included."""
    return json.dumps(body).encode("utf-8", "surrogatepass")


@fuzz
@given(raw=st.binary(max_size=200), path=st.sampled_from(PATHS))
async def test_any_bytes_as_a_body(raw: bytes, path: str, live: Stage, provider: Provider) -> None:
    assert await ask(live, path, {}, raw) in (200, 400)
    await still_well(live, provider)


@fuzz
@given(body=bodies, path=st.sampled_from(PATHS))
async def test_any_json_object_passes_to_its_own_wire(
    body: dict[str, Any], path: str, live: Stage, provider: Provider
) -> None:
    raw = write(body)
    assert await ask(live, path, {}, raw) == 200
    if body.get("stream") is not True:
        assert live.seen().body == raw
    await still_well(live, provider)


@fuzz
@given(value=values.filter(lambda value: not isinstance(value, dict)))
async def test_json_that_is_no_object_is_refused(value: Any, live: Stage, provider: Provider) -> None:
    assert await ask(live, PATHS[0], {}, write(value)) == 400
    await still_well(live, provider)


@fuzz
@given(body=bodies, said=st.none() | messages)
async def test_any_json_object_to_another_wire(
    body: dict[str, Any], said: Any, live: Stage, provider: Provider
) -> None:
    """Translating needs to understand it: what it can't is the caller's to mend."""
    raw = write(body if said is None else {**body, "model": "m", "messages": said})
    assert await ask(live, PATHS[0], foreign.HEADERS, raw) in (200, 400)
    await still_well(live, provider)


# -- headers

texts = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=40)
configs = st.dictionaries(
    st.sampled_from(["provider", "api_key", "custom_host", "override_params", "forward_headers", "request_timeout",
                     "strategy", "targets", "retry", "cache", "weight"]),
    values | st.sampled_from(["openai", "mock", "foreign", "http://127.0.0.1:1/v1", "https://[::1]"]),
    max_size=5,
)  # fmt: skip
ours = st.sampled_from(["config", "provider", "custom-host", "trace-id", "metadata", "request-timeout", "span-id",
                        "forward-headers", "api-key", "cache-force-refresh", "virtual-key", "nonsense"])  # fmt: skip


@fuzz
@given(suffix=ours, text=texts | values.map(lambda value: write(value).decode()) | st.just("9" * 400))
async def test_any_value_of_our_headers(suffix: str, text: str, live: Stage, provider: Provider) -> None:
    status = await ask(live, PATHS[0], {f"x-portkey-{suffix}": text}, b'{"model":"m"}')
    assert status in (200, 400, 408, 502, 504)  # it may name a host that is not there, or no time at all
    await still_well(live, provider)


@fuzz
@given(config=configs)
async def test_any_config(config: dict[str, Any], live: Stage, provider: Provider) -> None:
    text = write(config).decode()
    status = await ask(live, PATHS[0], {"x-portkey-config": text}, b'{"model":"m","stream":true}')
    assert status in (200, 400, 408, 502, 504)
    await still_well(live, provider)


MEANT_FOR_US = frozenset(
    ("host", "content-length", "transfer-encoding", "expect", "upgrade", "connection", "origin", "content-encoding")
)
names = st.from_regex(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,20}", fullmatch=True)


@fuzz
@given(name=names.filter(lambda name: name.lower() not in MEANT_FOR_US), text=texts)
async def test_any_other_header_is_not_our_business(name: str, text: str, live: Stage, provider: Provider) -> None:
    assert await ask(live, PATHS[0], {name: text}, b'{"model":"m"}') == 200
    await still_well(live, provider)


# -- bytes on the wire


@fuzz
@given(data=st.binary(min_size=1, max_size=300) | st.sampled_from([b"POST /v1/chat/completions HTTP/1.1\r\n"]).flatmap(
    lambda start: st.binary(max_size=200).map(lambda rest: start + rest)))  # fmt: skip
async def test_any_bytes_on_a_connection(data: bytes, live: Stage, provider: Provider) -> None:
    """Answered with a 4xx or closed, as it deserves; never a 5xx."""
    client = await live.connect()
    client.writer.write(data)
    client.writer.write_eof()
    with contextlib.suppress(ConnectionError):
        async with asyncio.timeout(2):
            answer = await client.reader.read()
        assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    client.leave()
    await still_well(live, provider)


heads = st.sampled_from([
    b"",
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\n\r\n",
    b"HTTP/1.1 500 Oops\r\ncontent-type: text/html\r\n\r\n",
    b"HTTP/1.1 429 Slow\r\ncontent-type: application/json\r\ncontent-encoding: br\r\n\r\n",
    b"HTTP/1.1 204 None\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1/\r\n\r\n",
])  # fmt: skip
chunks = bodies.map(lambda body: b"data: " + write(body) + b"\n\n")
rests = st.binary(max_size=200) | chunks | bodies.map(write) | values.map(write) | st.lists(
    chunks | st.sampled_from([b"data: [DONE]\n\n", b":\n\n", b"\r\r", b"data: [", b"event: error\n"]), max_size=5
).map(b"".join)  # fmt: skip


@fuzz
@given(first=heads, rest=rests, asked=st.booleans(), translated=st.booleans())
async def test_any_answer_of_a_provider(
    first: bytes, rest: bytes, asked: bool, translated: bool, live: Stage, provider: Provider
) -> None:
    """What the provider says is the provider's fault, and the error says so."""
    provider.wire = first + rest
    raw = orjson.dumps({"model": "m", "messages": [], "stream": asked})
    headers = foreign.HEADERS if translated else {}
    count = len(live.records)
    client = await live.post(headers=headers, raw=raw)
    status = await client.head()
    body = b"" if status == 204 else await client.body()
    record = await live.recorded(count + 1)
    assert len(live.records) == count + 1
    assert (record.status, record.sent) == (status, len(body))
    assert record.error not in ("internal_error", "plugin_error")
    assert status in (200, 204, 302, 429, 500, 502) or 400 <= status <= 599
    if record.outcome is Outcome.OK:
        assert record.error is None
    elif record.outcome is Outcome.TRUNCATED:
        assert b'"error"' in body
    client.leave()
    await still_well(live, provider)
