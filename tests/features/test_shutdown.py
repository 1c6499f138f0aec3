"""SIGTERM, in a real process: not ready at once, what runs may end, what does not end is told, the exit is clean."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import orjson
import pytest

from aiogateway.testing import FakeUpstream
from aiogateway.testing.upstream import END, Hang, Stall, chunk, stream, unary
from tests.process import Served, serve, until
from tests.stage import DONE, Client, event

CHAT = "/v1/chat/completions"
BODY = b'{"model":"m","stream":true}'
HALF = stream(event("a"), end=False)
REST = (chunk(event("b", "stop")), chunk(DONE), END)


async def begin(served: Served, up: FakeUpstream) -> Client:
    """A stream whose first event has come."""
    client = await served.connect()
    headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": f"{up.url}/v1"}
    client.send("POST", CHAT, headers, BODY)
    assert await client.head() == 200
    assert await client.chunk() == event("a")
    return client


async def ready(served: Served) -> tuple[int, str | None]:
    """What /readyz says on a connection of its own, and whether that is closed afterwards."""
    client = await served.connect()
    client.send("GET", "/readyz", {})
    status, _ = await client.answer()
    client.leave()
    return status, client.headers.get("connection")


async def terminate(served: Served) -> None:
    served.process.send_signal(signal.SIGTERM)
    await served.says("draining")


async def test_live_streams_end_by_themselves(tmp_path: Path) -> None:
    async with FakeUpstream((*HALF, Stall(), *REST)) as up, serve(tmp_path, "--drain", "20") as served:
        assert await ready(served) == (200, None)
        clients = [await begin(served, up) for _ in range(3)]
        idle = await served.connect()
        idle.send("GET", "/healthz", {})
        assert (await idle.answer())[0] == 200
        await terminate(served)
        assert await ready(served) == (503, "close")

        late = await served.connect()  # it was under way to us when we were told
        late.send("GET", "/v1/models", {})
        assert (await late.answer())[0] == 200
        assert late.headers["connection"] == "close"
        assert await late.reader.read() == b""
        idle.send("GET", "/healthz", {})
        assert (await idle.answer(), idle.headers["connection"]) == ((200, b'{"status":"ok"}'), "close")

        assert served.process.returncode is None
        up.resume()
        for client in clients:
            assert await client.body() == event("b", "stop") + DONE
        assert await served.ended() == 0
    assert not [line for line in served.lines if '"error"' in line or "Traceback" in line]


async def test_an_idle_gateway_ends_at_once(tmp_path: Path) -> None:
    async with serve(tmp_path, "--drain", "60") as served:
        idle = await served.connect()
        idle.send("GET", "/healthz", {})
        await idle.answer()
        served.process.terminate()
        async with asyncio.timeout(3):
            assert await served.ended() == 0
        assert await idle.reader.read() == b""


async def test_what_the_drain_does_not_end_is_told_in_band(tmp_path: Path) -> None:
    log = tmp_path / "calls.jsonl"
    async with (
        FakeUpstream((*HALF, Hang())) as up,
        serve(tmp_path, "--drain", "0.3", call_log=str(log)) as served,
    ):
        client = await begin(served, up)
        await terminate(served)
        said = await client.body()
        assert said.startswith(b"data: {")
        assert orjson.loads(said.removeprefix(b"data: "))["error"]["code"] == "overloaded"
        assert b"[DONE]" not in said
        assert await served.ended() == 0
        await up.left(limit=1)
    record = orjson.loads(log.read_bytes())
    assert (record["outcome"], record["status"]) == ("truncated", 200)


@pytest.mark.parametrize("path", [CHAT, "/v1/files"])
async def test_a_call_without_an_answer_yet_gets_a_503(path: str, tmp_path: Path) -> None:
    async with FakeUpstream((Hang(),)) as up, serve(tmp_path, "--drain", "0.3") as served:
        client = await served.connect()
        headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": f"{up.url}/v1"}
        client.send("POST", path, headers, BODY)
        await up.requested()
        await terminate(served)
        status, body = await client.answer()
        assert (status, orjson.loads(body)["error"]["code"]) == (503, "overloaded")
        assert await served.ended() == 0


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_second_signal_forces(first: signal.Signals, tmp_path: Path) -> None:
    async with FakeUpstream((*HALF, Hang())) as up, serve(tmp_path, "--drain", "600") as served:
        client = await begin(served, up)
        served.process.send_signal(first)
        await served.says("draining")
        assert served.process.returncode is None
        served.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(5):
            assert b"overloaded" in await client.body()
            assert await served.ended() == 0


async def test_records_under_way_to_their_sink_are_not_lost(tmp_path: Path) -> None:
    log = tmp_path / "calls.jsonl"
    async with FakeUpstream(unary(b"{}")) as up, serve(tmp_path, call_log=str(log)) as served:
        client = await served.connect()
        for _ in range(50):
            headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": f"{up.url}/v1"}
            client.send("POST", CHAT, headers, b'{"model":"m"}')
            assert (await client.answer())[0] == 200
        served.process.terminate()
        assert await served.ended() == 0
    assert len(log.read_bytes().splitlines()) == 50
    await until(lambda: up.open == 0)
