"""Each deadline has its own name, its own error and its own moment; what does not count for one does not reset it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from aiogateway.testing.upstream import END, Hang, Pause, Reply, Step, chunk, head, stream
from aiogateway.types import Outcome, Usage
from tests.network import silent_port
from tests.stage import DONE, GOOD, SEEN, Client, Stage, event, stage, usage_event
from tests.views import both, expect_failure, expect_truncation, read_error, read_in_band

SSE = head(200, (("content-type", "text/event-stream"), ("transfer-encoding", "chunked")))
JSON = head(200, (("content-type", "application/json"), ("transfer-encoding", "chunked")))
BODY = b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}'


def drip(data: bytes, every: float, times: int) -> tuple[Step, ...]:
    """`data` as a chunk, `times` times."""
    return tuple(step for _ in range(times) for step in (chunk(data), Pause(every)))


async def timed(answer: Any) -> tuple[float, int, bytes]:
    """Seconds that an answer took, its status and its body."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    status, body = await answer
    return loop.time() - start, status, body


# -- connect


@both
async def test_connect(stream: bool, tmp_path: Path) -> None:
    async with stage((Hang(),), tmp=tmp_path, deadlines={"connect": 0.1, "first_token": 9, "unary": 9}) as live:
        async with silent_port() as port:
            headers = {"x-portkey-custom-host": f"https://127.0.0.1:{port}/v1"}
            took, status, body = await timed(live.ask(stream=stream, headers=headers))
        error = read_error(body)
        assert (status, error["code"]) == (504, "connect_timeout")
        assert error["message"] == "no connection to the provider within 0.1 s"
        assert 0.08 < took < 1
        await expect_failure(live, 504, "connect_timeout")
        assert live.up.requests == []


@pytest.mark.parametrize(
    ("deadlines", "status", "code"),
    [
        ({"connect": 9, "first_token": 0.1}, 408, "first_token_timeout"),
        ({"connect": 9, "first_token": 9, "total": 0.1}, 504, "total_timeout"),
    ],
)
async def test_a_slow_dial_is_part_of_the_wait(
    deadlines: dict[str, float], status: int, code: str, tmp_path: Path
) -> None:
    """Who asks for an answer within a second means the connection too."""
    async with stage((Hang(),), tmp=tmp_path, deadlines=deadlines) as live:
        async with silent_port() as port:
            headers = {"x-portkey-custom-host": f"https://127.0.0.1:{port}/v1"}
            took, got, body = await timed(live.ask(headers=headers))
        assert (got, read_error(body)["code"]) == (status, code)
        assert took < 1
        await expect_failure(live, status, code)


# -- first_token, and the head of a unary answer

SILENT: dict[str, Reply] = {
    "nothing": (),
    "a head": (SSE,),
    "half an event": (SSE, *drip(b"d", 0.03, 40)),
    "comments": (SSE, *drip(b": keep-alive\n\n", 0.03, 40)),
    "empty events": (SSE, *drip(b"event: ping\ndata:\n\n", 0.03, 40)),
}


async def test_first_token(tmp_path: Path) -> None:
    """Neither bytes nor comments nor events without data are a token."""
    script: list[Reply] = [(*said, Hang()) for said in SILENT.values()]
    async with stage(*script, tmp=tmp_path, deadlines={"first_token": 0.15, "unary": 9}) as live:
        for took, status, body in await asyncio.gather(*[timed(live.ask()) for _ in SILENT]):
            error = read_error(body)
            assert (status, error["code"], error["type"]) == (408, "first_token_timeout", "timeout_error")
            assert error["message"] == "no answer from the provider within 0.15 s"
            assert 0.13 < took < 0.8
        await live.up.left(len(SILENT), limit=1)
        for record in live.records:
            assert (record.outcome, record.error) == (Outcome.FAILED, "first_token_timeout")
            assert record.first_token is None
        assert len(live.up.requests) == len(live.records) == len(SILENT)


async def test_comments_before_the_first_token_are_held_back_and_no_commit(tmp_path: Path) -> None:
    script: Reply = (SSE, *drip(b": keep-alive\n\n", 0.03, 3), chunk(GOOD), END)
    async with stage(script, tmp=tmp_path, deadlines={"first_token": 1}) as live:
        assert await live.ask() == (200, b": keep-alive\n\n" * 3 + SEEN)


async def test_the_first_token_ends_that_deadline(tmp_path: Path) -> None:
    script: Reply = (SSE, *drip(event("a"), 0.06, 4), chunk(event("", "stop") + DONE), END)
    async with stage(script, tmp=tmp_path, deadlines={"first_token": 0.12}) as live:
        assert await live.ask() == (200, event("a") * 4 + event("", "stop") + DONE)


async def test_a_unary_answer_has_its_own(tmp_path: Path) -> None:
    async with stage((Hang(),), tmp=tmp_path, deadlines={"first_token": 9, "unary": 0.15}) as live:
        took, status, body = await timed(live.ask(stream=False))
        error = read_error(body)
        assert (status, error["code"], error["type"]) == (408, "first_token_timeout", "timeout_error")
        assert 0.13 < took < 0.8
        await live.up.left(limit=1)
        await expect_failure(live, 408, "first_token_timeout")


async def test_a_unary_answers_deadline_ends_at_its_head(tmp_path: Path) -> None:
    script: Reply = (JSON, *drip(BODY[:10], 0.3, 1), chunk(BODY[10:]), END)
    async with stage(script, tmp=tmp_path, deadlines={"unary": 0.15}) as live:
        assert await live.ask(stream=False) == (200, BODY)


@both
async def test_request_timeout(stream: bool) -> None:
    """In a header, in a config, and the header wins."""
    async with stage((Hang(),)) as live:

        def config(milliseconds: int) -> dict[str, str]:
            said = {"provider": "openai", "custom_host": f"{live.up.url}/v1", "request_timeout": milliseconds}
            unsaid = {"x-portkey-provider": "", "x-portkey-custom-host": ""}
            return {**unsaid, "x-portkey-config": orjson.dumps(said).decode()}

        header = {"x-portkey-request-timeout": "150"}
        ways = [header, config(150), {**config(9000), **header}]
        answers = await asyncio.gather(*[timed(live.ask(stream=stream, headers=headers)) for headers in ways])
        for took, status, body in answers:
            error = read_error(body)
            assert (status, error["code"], error["type"]) == (408, "first_token_timeout", "timeout_error")
            assert error["message"] == "no answer from the provider within 0.15 s"
            assert 0.13 < took < 0.8
        await live.up.left(len(ways), limit=1)
        assert [record.error for record in live.records] == ["first_token_timeout"] * len(ways)
        assert len(live.up.requests) == len(ways)


# -- idle


async def test_idle(tmp_path: Path) -> None:
    async with stage((*stream(event("a"), end=False), Hang()), tmp=tmp_path, deadlines={"idle": 0.15}) as live:
        took, status, body = await timed(live.ask())
        error = read_in_band(body, event("a"))
        assert (status, error["code"], error["type"]) == (200, "idle_timeout", "timeout_error")
        assert error["message"] == "the provider sent nothing for 0.15 s"
        assert 0.13 < took < 0.8
        await live.up.left(limit=1)
        await expect_truncation(live, "idle_timeout")


@pytest.mark.parametrize("begun", [b"", BODY[:10]], ids=["head", "half"])
async def test_idle_in_a_unary_answer(begun: bytes, tmp_path: Path) -> None:
    script: Reply = (JSON, *([chunk(begun)] if begun else []), Hang())
    async with stage(script, tmp=tmp_path, deadlines={"idle": 0.15}) as live:
        took, status, body = await timed(live.ask(stream=False))
        error = read_error(body)
        assert (status, error["code"], error["type"]) == (504, "idle_timeout", "timeout_error")
        assert 0.13 < took < 0.8
        await live.up.left(limit=1)
        await expect_failure(live, 504, "idle_timeout")


@pytest.mark.parametrize("sign", [b": keep-alive\n\n", b" "], ids=["comment", "byte"])
async def test_any_byte_ends_a_silence(sign: bytes, tmp_path: Path) -> None:
    rest = b"\n\n" if sign == b" " else b""  # white space before a field name makes it unknown, and it is ignored
    script: Reply = (*stream(event("a"), end=False), *drip(sign, 0.06, 6), chunk(rest + event("", "stop") + DONE), END)
    async with stage(script, tmp=tmp_path, deadlines={"idle": 0.2}) as live:
        took, status, body = await timed(live.ask())
        assert (status, body) == (200, event("a") + sign * 6 + rest + event("", "stop") + DONE)
        assert took > 0.3
        assert (await live.recorded()).outcome is Outcome.OK


async def test_any_byte_ends_a_silence_in_a_unary_answer(tmp_path: Path) -> None:
    script: Reply = (
        JSON,
        *[step for byte in BODY[:6] for step in (chunk(bytes([byte])), Pause(0.06))],
        chunk(BODY[6:]),
        END,
    )
    async with stage(script, tmp=tmp_path, deadlines={"idle": 0.2}) as live:
        took, status, body = await timed(live.ask(stream=False))
        assert (status, body) == (200, BODY)
        assert took > 0.3


async def test_a_silence_after_the_finish_is_no_fault(tmp_path: Path) -> None:
    """The usage was told, `[DONE]` was not: there is nothing to wait for."""
    sent = event("a") + event("", "stop")
    script: Reply = (*stream(sent + usage_event(), end=False), Hang())
    async with stage(script, tmp=tmp_path, deadlines={"idle": 0.4}) as live:
        took, status, body = await timed(live.ask())
        assert (status, body) == (200, sent + DONE)
        assert took < 0.4
        record = await live.recorded()
        assert (record.outcome, record.usage) == (Outcome.OK, Usage(input=3, output=2))


# -- client_stall


@contextlib.asynccontextmanager
async def reluctant(live: Stage) -> AsyncIterator[Client]:
    """A client whose socket takes as little as a socket can."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", live.gateway.port))
    client = Client(*await asyncio.open_connection(sock=sock, limit=4096))
    try:
        yield client
    finally:
        client.leave()


FLOOD = chunk(event("x" * 60_000))


async def test_client_stall(tmp_path: Path) -> None:
    """A client that takes nothing is cut, and so is the provider."""
    deadlines = {"client_stall": 0.15, "idle": 0.1}
    script: Reply = (SSE, *[FLOOD] * 400, Hang())
    async with stage(script, tmp=tmp_path, deadlines=deadlines) as live, reluctant(live) as client:
        await live.post(client=client)
        record = await live.recorded()
        assert (record.status, record.outcome, record.error) == (499, Outcome.CLIENT_STALLED, "client_stalled")
        assert record.attempts[0].closed_by == "gateway"
        await live.up.left(limit=1)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await client.head()
            await client.body()


async def test_a_slow_client_is_not_a_stalled_one(tmp_path: Path) -> None:
    """While the client holds the provider back, the provider's silence does not count."""
    script: Reply = (*stream(event("a"), end=False), *[FLOOD] * 200, chunk(event("", "stop") + DONE), END)
    async with (
        stage(script, tmp=tmp_path, deadlines={"client_stall": 0.3, "idle": 0.15}) as live,
        reluctant(live) as client,
    ):
        await live.post(client=client)
        await client.head()
        got = 0
        for _ in range(8):  # a standstill of less than client_stall, but more than idle in all
            await asyncio.sleep(0.05)
            for _ in range(5):
                got += len(await client.chunk())
        rest = await client.body()
        assert rest.endswith(event("", "stop") + DONE)
        assert got + len(rest) == len(event("a")) + 200 * len(event("x" * 60_000)) + len(event("", "stop") + DONE)
        assert (await live.recorded()).outcome is Outcome.OK


# -- total


async def test_total(tmp_path: Path) -> None:
    script: Reply = (SSE, *drip(event("a"), 0.02, 200))
    async with stage(script, tmp=tmp_path, deadlines={"total": 0.2, "idle": 0.1}) as live:
        took, status, body = await timed(live.ask())
        sent = event("a") * body.count(event("a"))
        error = read_in_band(body, sent)
        assert (status, error["code"], error["type"]) == (200, "total_timeout", "timeout_error")
        assert error["message"] == "the call took longer than 0.2 s"
        assert 0.18 < took < 0.9
        await live.up.left(limit=1)
        await expect_truncation(live, "total_timeout")


@both
async def test_total_before_the_first_token(stream: bool, tmp_path: Path) -> None:
    async with stage((Hang(),), tmp=tmp_path, deadlines={"total": 0.15}) as live:
        took, status, body = await timed(live.ask(stream=stream))
        error = read_error(body)
        assert (status, error["code"], error["type"]) == (504, "total_timeout", "timeout_error")
        assert 0.13 < took < 0.8
        await live.up.left(limit=1)
        await expect_failure(live, 504, "total_timeout")


async def test_total_in_a_unary_answer(tmp_path: Path) -> None:
    script: Reply = (JSON, *drip(b" ", 0.02, 200))
    async with stage(script, tmp=tmp_path, deadlines={"total": 0.2, "idle": 0.1}) as live:
        took, status, body = await timed(live.ask(stream=False))
        assert (status, read_error(body)["code"]) == (504, "total_timeout")
        assert 0.18 < took < 0.9
        await live.up.left(limit=1)
        await expect_failure(live, 504, "total_timeout")


@pytest.mark.parametrize("kind", ["stream", "large unary"])
async def test_total_ends_the_upstream_of_a_slow_client_and_the_client_may_still_read(
    kind: str, tmp_path: Path
) -> None:
    script: Reply = (SSE if kind == "stream" else JSON, *[FLOOD] * 400, Hang())
    async with (
        stage(script, tmp=tmp_path, deadlines={"total": 0.3, "idle": 1}, unary_buffer=1 << 20) as live,
        reluctant(live) as client,
    ):
        await live.post(client=client, stream=kind == "stream")
        await live.up.left(limit=1)
        await client.head()
        if kind == "stream":
            body = await client.body()
            at = body.rindex(b"data: ")
            assert read_in_band(body, body[:at])["code"] == "total_timeout"
        else:  # it can't be said in-band, so the body must not look whole
            with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
                await client.body()
        await expect_truncation(live, "total_timeout")


async def test_a_client_that_takes_nothing_is_cut_after_total_too(tmp_path: Path) -> None:
    script: Reply = (SSE, *[FLOOD] * 400, Hang())
    async with (
        stage(script, tmp=tmp_path, deadlines={"total": 0.2, "client_stall": 0.3}) as live,
        reluctant(live) as client,
    ):
        await live.post(client=client)
        await live.up.left(limit=1)
        async with asyncio.timeout(1):
            record = await live.recorded()
        assert (record.status, record.outcome) == (499, Outcome.CLIENT_STALLED)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await client.head()
            await client.body()
