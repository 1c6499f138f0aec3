"""Everything under /v1/ that we don't understand goes through as it is, both ways, and is never held in memory."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from aiogateway.testing.upstream import END, Cut, Hang, Pause, Reset, Script, Send, Stall, chunk, head, stream, unary
from aiogateway.types import Lane, Outcome
from tests.process import serve
from tests.stage import Client, Stage, stage

MIB = 1 << 20
BINARY = bytes(range(256)) * 40
CHUNKED = {"Content-Length": "", "Transfer-Encoding": "chunked"}


async def call(
    live: Stage, method: str, path: str = "/v1/files", body: bytes = b"", **headers: Any
) -> tuple[int, bytes, Client]:
    client = await live.connect()
    client.send(method, path, live.target(**{name.replace("_", "-"): value for name, value in headers.items()}), body)
    await client.head()
    return client.status, b"" if method == "HEAD" else await client.body(), client


# ---------------------------------------------------------------- as it is


@pytest.mark.parametrize("body", [b"", BINARY], ids=["empty", "binary"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
async def test_every_method_and_body_passes(method: str, body: bytes) -> None:
    async with stage(unary(BINARY, media_type="application/octet-stream")) as live:
        status, got, client = await call(live, method, body=body, Content_Type="application/x-unheard-of")
        assert (status, got) == (200, BINARY)
        seen = live.seen()
        assert (seen.method, seen.path, seen.body) == (method, "/v1/files", body)
        assert seen.header("content-type") == "application/x-unheard-of"
        assert seen.header("authorization") == "Bearer sk-caller"
        assert client.headers["content-type"] == "application/octet-stream"
        record = await live.recorded()
        assert (record.lane, record.outcome, record.sent) == (Lane.PASSTHROUGH, Outcome.OK, len(BINARY))


@pytest.mark.parametrize(
    "path",
    [
        "/v1/files/a%2Fb%20c/content",
        "/v1//files///x",
        "/v1/files/%zz",
        "/v1/files/a;b=c,d/@:$&'()*+",
        "/v1/files?after=%2B%20+&limit=10&&x&=y",
        "/v1/files?",
        "/v1/files/%C3%A9?q=%E2%82%AC",
        "/v1/assistants?order=desc#not-a-fragment",
        "/v1/" + "x" * 6000,
    ],
)
async def test_path_and_query_keep_every_byte(path: str) -> None:
    async with stage(unary(b"{}")) as live:
        assert (await call(live, "GET", path))[0] == 200
        assert live.seen().path == path
        assert path.partition("?")[0][:256] == (await live.recorded()).route, "a query is never recorded"


@pytest.mark.parametrize("path", ["/v1/../admin", "/v1/files/../../admin", "/v1/files/%2e%2e/x"])
async def test_a_path_is_not_resolved_on_the_way(path: str) -> None:
    async with stage(unary(b"{}")) as live:
        status, _, _ = await call(live, "GET", path)
        assert status != 200 or live.seen().path == path


async def test_the_client_s_headers_pass_but_for_those_that_are_ours() -> None:
    async with stage(unary(b"{}")) as live:
        theirs: dict[str, Any] = {
            "User-Agent": "curl/8",
            "Accept-Encoding": "br",
            "OpenAI-Beta": "assistants=v2",
            "X-Any": "é",
        }
        await call(live, "GET", **theirs, Cookie="a=b", x_portkey_trace_id="t1", x_portkey_metadata='{"a":1}')
        sent = dict(live.seen().headers)
        assert {name: sent[name.lower()] for name in theirs} == theirs
        assert "cookie" not in sent
        assert not [name for name in sent if name.startswith("x-portkey")]


async def test_a_multipart_body_keeps_its_boundary_and_bytes() -> None:
    body = (
        b'--xYz\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n' + BINARY + b"\r\n--xYz--\r\n"
    )
    async with stage(unary(b"{}")) as live:
        await call(live, "POST", "/v1/audio/transcriptions", body, Content_Type="multipart/form-data; boundary=xYz")
        assert live.seen().body == body
        assert live.seen().header("content-type") == "multipart/form-data; boundary=xYz"
        assert live.seen().header("content-length") == str(len(body))


async def test_a_chunked_upload_stays_one() -> None:
    async with stage(unary(b"{}")) as live:
        client = await live.connect()
        client.send("POST", "/v1/files", {**live.target(), **CHUNKED})
        for piece in (b"one", b"two" * 1000, b"x"):
            client.writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            await asyncio.sleep(0.01)
        client.writer.write(b"0\r\n\r\n")
        assert await client.answer() == (200, b"{}")
        assert live.seen().body == b"one" + b"two" * 1000 + b"x"
        assert live.seen().header("content-length") is None


async def test_a_compressed_body_stays_compressed_both_ways() -> None:
    packed = gzip.compress(BINARY)
    async with stage(unary(packed, headers=(("content-encoding", "gzip"), ("etag", '"1"')))) as live:
        status, body, client = await call(live, "POST", body=packed, Content_Encoding="gzip")
        assert (status, body) == (200, packed)
        assert (client.headers["content-encoding"], client.headers["etag"]) == ("gzip", '"1"')
        assert live.seen().body == packed
        assert live.seen().header("content-encoding") == "gzip"


@pytest.mark.parametrize("status", [201, 400, 404, 418, 429, 500, 503])
async def test_a_provider_s_status_and_error_are_its_own(status: int) -> None:
    async with stage(unary(b'{"error":"odd"}', status=status, headers=(("retry-after", "7"),))) as live:
        got, body, client = await call(live, "GET")
        assert (got, body, client.headers["retry-after"]) == (status, b'{"error":"odd"}', "7")
        assert client.headers["x-portkey-provider"] == "openai"


async def test_an_event_stream_passes_as_it_comes() -> None:
    async with stage((*stream(b"data: 1\n\n", end=False), Stall(), chunk(b"data: 2\n\n"), END)) as live:
        client = await live.post(path="/v1/threads/t/runs")
        await client.head()
        assert await client.chunk() == b"data: 1\n\n"
        live.up.resume()
        assert await client.body() == b"data: 2\n\n"


# ---------------------------------------------------------------- answers without a body


async def test_head_204_and_304_have_no_body_and_leave_the_connection_usable() -> None:
    length = (("content-length", "1234"), ("etag", '"1"'))
    async with stage((head(200, length),), (head(204),), (head(304, length),), unary(b"{}")) as live:
        client = await live.connect()
        for method, status, told in (("HEAD", 200, "1234"), ("GET", 204, None), ("GET", 304, "1234")):
            client.send(method, "/v1/files/f", live.target())
            assert await client.head() == status
            assert client.headers.get("content-length") == told
            assert "transfer-encoding" not in client.headers
        client.send("GET", "/v1/files/f", live.target())
        assert await client.answer() == (200, b"{}")


# ---------------------------------------------------------------- what breaks


@pytest.mark.parametrize("ending", [(Cut(),), (Reset(),)], ids=["fin", "rst"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_an_answer_cut_short_does_not_look_whole(framing: str, ending: tuple[Cut | Reset, ...]) -> None:
    cut: Script = (head(200, (("content-length", "100"),)), Send(b"part"), Pause(0.03), *ending)
    if framing == "chunked":
        cut = (*stream(b"part", end=False), Pause(0.03), *ending)
    async with stage(cut) as live:
        client = await live.post(path="/v1/files")
        assert await client.head() == 200
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await client.body()
        record = await live.recorded()
        assert (record.outcome, record.error) == (Outcome.TRUNCATED, "stream_truncated")


async def test_an_answer_that_comes_before_the_end_of_the_upload_is_handed_on_at_once() -> None:
    async with stage(unary(b"too big", status=413), read_bodies=False) as live:
        client = await live.connect()
        client.send("POST", "/v1/files", {**live.target(), "Content-Length": str(50 * MIB)})
        client.writer.write(bytes(1000))
        assert await client.answer() == (413, b"too big")
        assert client.headers["connection"] == "close", "the rest of the upload would be the next request"
        assert live.gateway.pool.count_idle() == 0
        assert (await live.recorded()).status == 413


async def test_a_provider_that_stops_taking_an_upload_is_given_up(tmp_path: Path) -> None:
    async with stage((Hang(),), read_bodies=False, tmp=tmp_path, deadlines={"idle": 0.2}) as live:
        client = await live.connect()
        client.send("POST", "/v1/files", {**live.target(), "Content-Length": str(50 * MIB)})
        client.writer.write(bytes(50 * MIB))
        status, body = await client.answer()
        assert (status, orjson.loads(body)["error"]["code"]) == (504, "idle_timeout")
        assert (await live.recorded()).error == "idle_timeout"


async def test_an_upload_that_breaks_off_is_not_taken_for_a_whole_one(tmp_path: Path) -> None:
    async with stage(unary(b"{}"), tmp=tmp_path, body_timeout=0.1) as live:
        for headers in ({"Content-Length": "1000"}, CHUNKED):
            client = await live.connect()
            client.send("POST", "/v1/files", {**live.target(), **headers})
            client.writer.write(b"5\r\n12345\r\n")
            status, body = await client.answer()
            assert (status, orjson.loads(body)["error"]["code"]) == (408, "request_timeout")
        await live.up.left(2, limit=1)
        assert live.up.requests == [], "neither was ever complete"


async def test_a_pooled_connection_that_died_unheard_costs_one_more_try_if_no_body_was_taken() -> None:
    async with stage(unary(b"1"), (Reset(),), unary(b"2"), (Reset(),), unary(b"4")) as live:
        assert (await call(live, "GET"))[1] == b"1"
        status, body, _ = await call(live, "GET")
        assert (status, body) == (200, b"2")
        assert len(live.up.requests) == 3
        status, body, _ = await call(live, "POST", body=b"once only")
        assert status == 502
        assert len(live.up.requests) == 4
        assert (await live.recorded(3)).attempts[0].closed_by == "upstream"


async def test_a_fresh_connection_that_dies_is_not_tried_again() -> None:
    async with stage((Reset(),)) as live:
        assert (await call(live, "GET"))[0] == 502
        assert len(live.up.requests) == 1


async def test_a_silent_provider_meets_its_deadline(tmp_path: Path) -> None:
    async with stage((Hang(),), tmp=tmp_path, deadlines={"unary": 0.1}) as live:
        for method, body in (("GET", b""), ("POST", BINARY)):
            status, said, _ = await call(live, method, body=body)
            assert (status, orjson.loads(said)["error"]["code"]) == (408, "first_token_timeout")
        await live.up.left(2, limit=1)


# ---------------------------------------------------------------- what is not passed


@pytest.mark.parametrize("path", ["/v1/realtime?model=x", "/v1/files"])
async def test_an_upgrade_is_not_there_yet(path: str) -> None:
    async with stage(unary(b"{}")) as live:
        status, body, _ = await call(live, "GET", path, Connection="Upgrade", Upgrade="websocket")
        assert (status, orjson.loads(body)["error"]["code"]) == (501, "not_implemented")
        assert live.up.connections == []


RESERVED = (
    "configs virtual-keys providers integrations api-keys admin prompts labels collections feedback logs analytics "
    "traces guardrails audit-logs model-configs mcp"
)


@pytest.mark.parametrize("segment", RESERVED.split())
async def test_paths_that_will_be_ours_are_never_passed_on(segment: str) -> None:
    async with stage(unary(b"{}")) as live:
        for path in (f"/v1/{segment}", f"/v1/{segment}/x/y?a=b", f"/v1/{segment}/"):
            for method in ("GET", "POST", "DELETE"):
                status, body, _ = await call(live, method, path)
                assert status == 501
                assert segment in orjson.loads(body)["error"]["message"]
        assert live.up.connections == []
        assert (await call(live, "GET", f"/v1/{segment}x"))[0] == 200, "only whole segments are"


async def test_models_are_the_target_s_or_else_ours() -> None:
    async with stage(unary(b'{"object":"list","data":["theirs"]}')) as live:
        for path in ("/v1/models", "/v1/models/gpt-x", "/v1/models?limit=1"):
            assert b"theirs" in (await call(live, "GET", path))[1]
            assert live.seen().path == path
        assert (await call(live, "DELETE", "/v1/models/ft:x"))[0] == 200
        assert live.seen().method == "DELETE"
        count = len(live.up.requests)
        nobody: dict[str, Any] = {"x_portkey_provider": "", "x_portkey_custom_host": ""}
        listed = orjson.loads((await call(live, "GET", "/v1/models", **nobody))[1])
        assert "mock" in [model["id"] for model in listed["data"]]
        assert orjson.loads((await call(live, "GET", "/v1/models/mock", **nobody))[1])["id"] == "mock"
        assert (await call(live, "GET", "/v1/models/unheard-of", **nobody))[0] == 404
        assert len(live.up.requests) == count


# ---------------------------------------------------------------- big ones

BIG = 50


@contextlib.asynccontextmanager
async def sponge() -> AsyncIterator[str]:
    """A provider that answers POST with the digest of what it took, and anything else with 50 MB."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(b"\r\n\r\n")
        if asked.startswith(b"POST"):
            left = int(asked.lower().partition(b"content-length: ")[2].split()[0])
            digest = hashlib.sha256()
            while left:
                piece = await reader.read(min(left, MIB))
                digest.update(piece)
                left -= len(piece)
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 64\r\n\r\n" + digest.hexdigest().encode())
        else:
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % (BIG * MIB))
            for number in range(BIG):
                writer.write(bytes([number]) * MIB)
                await writer.drain()
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


async def test_50_megabytes_each_way_cost_no_memory(tmp_path: Path) -> None:
    async with sponge() as url, serve(tmp_path) as served:
        headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": url}
        before = served.memory("VmHWM")
        client = await served.connect(limit=MIB)
        client.send("POST", "/v1/files", {**headers, "Content-Length": str(BIG * MIB)})
        piece, digest = os.urandom(MIB), hashlib.sha256()
        for _ in range(BIG):
            digest.update(piece)
            client.writer.write(piece)
            await client.writer.drain()
        assert await client.answer() == (200, digest.hexdigest().encode())

        client.send("GET", "/v1/files/f/content", headers)
        assert await client.head() == 200
        for number in range(BIG):
            assert await client.reader.readexactly(MIB) == bytes([number]) * MIB
        assert served.memory("VmHWM") - before < 12 * MIB


@pytest.mark.parametrize("path", ["/v1/%63onfigs", "/v1//configs", "/v1/prompts%2Fpp-1/render"])
async def test_a_reserved_path_stays_ours_however_it_is_written(path: str) -> None:
    async with stage(unary(b"{}")) as live:
        client = await live.connect()
        client.send("GET", path, live.target())
        assert (await client.answer())[0] == 501
        assert live.up.requests == []


async def test_a_path_that_climbs_is_not_passed_on() -> None:
    async with stage(unary(b"{}")) as live:
        for path in ("/v1/../admin", "/v1/%2e%2e/admin", "/v1/./files"):
            client = await live.connect()
            client.send("GET", path, live.target())
            assert (await client.answer())[0] == 400
        assert live.up.requests == []


async def test_an_absolute_request_target_means_its_path() -> None:
    async with stage(unary(b"{}")) as live:
        client = await live.connect()
        client.send("GET", f"http://localhost:{live.gateway.port}/v1/files?a=%2F", live.target())
        assert (await client.answer())[0] == 200
        assert live.seen().path == "/v1/files?a=%2F"


async def test_upgrade_is_refused_on_every_route_but_an_offer_of_http2_is_ignored() -> None:
    async with stage(unary(b'{"object":"chat.completion","choices":[]}')) as live:
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket"}
        assert (await live.ask(stream=False, headers=upgrade))[0] == 501
        assert live.up.requests == []
        offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__"}
        assert (await live.ask(stream=False, headers=offer))[0] == 200
