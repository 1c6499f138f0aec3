"""Getting to the provider: no such host, nobody there, nobody answering, bad certificates, the company's proxy."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from aiogateway.testing.upstream import Hang, Reset, stream, unary
from aiogateway.types import Outcome
from tests.network import Authority, Names, Tunnel, closed_port, full_port, plain_port, silent_port
from tests.stage import GOOD, SEEN, Stage, stage
from tests.views import both, expect_failure, read_error

OK = unary(b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}')
GOOD_STREAM = stream(GOOD)
HOST = "api.example"


def secure(live: Stage, host: str = HOST) -> dict[str, str]:
    """Headers that name the TLS upstream by `host`."""
    return {"x-portkey-custom-host": f"https://{host}:{live.up.port}/v1"}


async def expect_unreached(live: Stage, answer: tuple[int, bytes], status: int, code: str) -> str:
    """All three views of a call that never got to the provider; the message that the client got."""
    got, body = answer
    error = read_error(body)
    assert (got, error["code"]) == (status, code)
    await expect_failure(live, status, code)
    assert live.up.requests == []
    return str(error["message"])


@both
async def test_nobody_listens(stream: bool) -> None:
    async with stage((Hang(),)) as live:
        with closed_port() as port:
            headers = {"x-portkey-custom-host": f"http://127.0.0.1:{port}/v1"}
            answer = await live.ask(stream=stream, headers=headers)
        message = await expect_unreached(live, answer, 502, "connect_failed")
        assert message == "the provider refused the connection"


@both
async def test_a_name_that_does_not_exist(stream: bool) -> None:
    names = Names()
    async with stage((Hang(),), resolver=names) as live:
        headers = {"x-portkey-custom-host": f"http://missing.example:{live.up.port}/v1"}
        answer = await live.ask(stream=stream, headers=headers)
        message = await expect_unreached(live, answer, 502, "connect_failed")
        assert message == "the provider's host name does not resolve"
        assert set(names.asked) == {"missing.example"}


@both
async def test_a_name_server_that_does_not_answer(stream: bool, tmp_path: Path) -> None:
    async with stage((Hang(),), resolver=Names(), tmp=tmp_path, deadlines={"connect": 0.1}) as live:
        headers = {"x-portkey-custom-host": f"http://silent.example:{live.up.port}/v1"}
        answer = await live.ask(stream=stream, headers=headers)
        await expect_unreached(live, answer, 504, "connect_timeout")


@pytest.mark.parametrize("scheme", ["http", "https"])
@both
async def test_nobody_answers(scheme: str, stream: bool, tmp_path: Path) -> None:
    """Neither the SYN (http, a full queue) nor, once connected, the TLS handshake."""
    async with stage((Hang(),), tmp=tmp_path, deadlines={"connect": 0.1}) as live, silent_port() as silent:
        with full_port() as full:
            port = silent if scheme == "https" else full
            headers = {"x-portkey-custom-host": f"{scheme}://127.0.0.1:{port}/v1"}
            answer = await live.ask(stream=stream, headers=headers)
        message = await expect_unreached(live, answer, 504, "connect_timeout")
        assert message == "no connection to the provider within 0.1 s"


@both
async def test_a_reset_before_the_head(stream: bool) -> None:
    async with stage((Reset(),)) as live:
        status, body = await live.ask(stream=stream)
        assert (status, read_error(body)["code"]) == (502, "connect_failed")
        await expect_failure(live, 502, "connect_failed")
        assert len(live.up.requests) == 1


@both
async def test_a_pooled_connection_that_dies_unheard_costs_one_more_try(stream: bool) -> None:
    good = GOOD_STREAM if stream else OK
    async with stage(good, (Reset(),), good) as live:
        first = await live.ask(stream=stream)
        assert first[0] == 200
        assert await live.ask(stream=stream) == first
        assert [request.connection for request in live.up.requests] == [0, 0, 1]
        record = await live.recorded(2)
        assert (record.outcome, len(record.attempts)) == (Outcome.OK, 1)


@both
async def test_a_pooled_connection_is_not_replaced_twice(stream: bool) -> None:
    good = GOOD_STREAM if stream else OK
    async with stage(good, (Reset(),)) as live:
        assert (await live.ask(stream=stream))[0] == 200
        status, body = await live.ask(stream=stream)
        assert (status, read_error(body)["code"]) == (502, "connect_failed")
        await expect_failure(live, 502, "connect_failed", count=2)
        assert [request.connection for request in live.up.requests] == [0, 0, 1]


async def test_an_idle_connection_that_the_provider_closes_is_not_used_again() -> None:
    async with stage(OK) as live:
        assert (await live.ask(stream=False))[0] == 200
        live.up.connections[0].transport.close()
        await live.up.connections[0].gone.wait()
        assert (await live.ask(stream=False))[0] == 200
        assert [request.connection for request in live.up.requests] == [0, 1]


@both
@pytest.mark.parametrize("fault", ["expired", "unknown issuer", "another host"])
async def test_a_certificate_that_does_not_hold(fault: str, stream: bool, tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path), Authority(tmp_path, "theirs.pem")
    tls = {
        "expired": lambda: ours.serve_as(HOST, until=datetime.now(UTC) - timedelta(hours=1)),
        "unknown issuer": lambda: theirs.serve_as(HOST),
        "another host": lambda: ours.serve_as("other.example"),
    }[fault]()
    environ = {"SSL_CERT_FILE": str(ours.file)}
    async with stage(OK, tls=tls, resolver=Names(), environ=environ) as live:
        answer = await live.ask(stream=stream, headers=secure(live))
        message = await expect_unreached(live, answer, 502, "upstream_tls")
        assert "certificate verify failed" in message


@both
async def test_a_host_that_speaks_no_tls_is_not_asked_in_clear(stream: bool) -> None:
    heard: list[bytes] = []
    async with stage((Hang(),), resolver=Names()) as live, plain_port(heard) as port:
        answer = await live.ask(stream=stream, headers={"x-portkey-custom-host": f"https://{HOST}:{port}/v1"})
        message = await expect_unreached(live, answer, 502, "upstream_tls")
        assert message == "the provider's TLS is not acceptable: handshake failed"
        assert [data[:2] for data in heard] == [b"\x16\x03"]  # one TLS handshake, nothing else


@pytest.mark.parametrize("said", ["SSL_CERT_FILE", "ca_file"])
@both
async def test_trust_is_what_the_operator_says(said: str, stream: bool, tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    environ = {"SSL_CERT_FILE": str(ours.file)} if said == "SSL_CERT_FILE" else {}
    settings: dict[str, Any] = {"ca_file": str(ours.file)} if said == "ca_file" else {}
    script = GOOD_STREAM if stream else OK
    async with stage(
        script, tls=ours.serve_as(HOST), resolver=Names(), environ=environ, tmp=tmp_path, **settings
    ) as live:
        for _ in range(2):
            status, body = await live.ask(stream=stream, headers=secure(live))
            assert (status, body) == (200, SEEN if stream else OK[0].data.partition(b"\r\n\r\n")[2])
        assert len(live.up.connections) == 1
        assert live.seen().header("host") == f"{HOST}:{live.up.port}"
        assert (await live.recorded(2)).outcome is Outcome.OK


async def test_ca_file_beats_the_environment(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path), Authority(tmp_path, "theirs.pem")
    environ = {"SSL_CERT_FILE": str(theirs.file)}
    async with stage(
        OK, tls=ours.serve_as(HOST), resolver=Names(), environ=environ, tmp=tmp_path, ca_file=str(ours.file)
    ) as live:
        assert (await live.ask(stream=False, headers=secure(live)))[0] == 200


@both
@pytest.mark.parametrize("variable", ["HTTPS_PROXY", "https_proxy"])
async def test_the_companys_proxy_gets_a_connect_and_sees_only_tls(variable: str, stream: bool, tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    async with Tunnel() as tunnel:
        environ = {variable: f"http://user:hunter2@127.0.0.1:{tunnel.port}", "SSL_CERT_FILE": str(ours.file)}
        script = GOOD_STREAM if stream else OK
        async with stage(script, tls=ours.serve_as(HOST), resolver=Names(), environ=environ) as live:
            for _ in range(2):
                status, body = await live.ask(stream=stream, headers=secure(live))
                assert (status, body) == (200, SEEN if stream else OK[0].data.partition(b"\r\n\r\n")[2])
            assert tunnel.targets == [f"{HOST}:{live.up.port}"]  # one connection, kept
            assert "Proxy-Authorization: Basic dXNlcjpodW50ZXIy" in tunnel.heads[0]
            assert "sk-caller" not in tunnel.heads[0]
            assert tunnel.sent.startswith(b"\x16\x03")  # a TLS handshake
            assert b"chat/completions" not in tunnel.sent
            assert live.seen().header("proxy-authorization") is None
            assert (await live.recorded(2)).outcome is Outcome.OK


@pytest.mark.parametrize("direct", [HOST, ".example", "*", "unrelated, example"])
async def test_no_proxy_is_dialled_directly(direct: str, tmp_path: Path) -> None:
    ours = Authority(tmp_path)
    async with Tunnel() as tunnel:
        environ = {
            "HTTPS_PROXY": f"http://127.0.0.1:{tunnel.port}",
            "NO_PROXY": direct,
            "SSL_CERT_FILE": str(ours.file),
        }
        async with stage(OK, tls=ours.serve_as(HOST), resolver=Names(), environ=environ) as live:
            assert (await live.ask(stream=False, headers=secure(live)))[0] == 200
        assert tunnel.heads == []


async def test_plain_http_does_not_go_through_the_proxy() -> None:
    async with Tunnel() as tunnel, stage(OK, environ={"HTTPS_PROXY": f"http://127.0.0.1:{tunnel.port}"}) as live:
        assert (await live.ask(stream=False))[0] == 200
        assert tunnel.heads == []


@both
@pytest.mark.parametrize("reply", [b"HTTP/1.1 407 No\r\n\r\n", b"HTTP/1.1 502 No\r\n\r\n", b"\x00garbage\r\n\r\n", b""])
async def test_a_proxy_that_refuses(reply: bytes, stream: bool) -> None:
    async with Tunnel(reply=reply) as tunnel:
        environ = {"HTTPS_PROXY": f"http://user:hunter2@127.0.0.1:{tunnel.port}"}
        async with stage(OK, resolver=Names(), environ=environ) as live:
            answer = await live.ask(stream=stream, headers=secure(live))
            await expect_unreached(live, answer, 502, "connect_failed")
            assert len(tunnel.heads) == 1


@both
async def test_a_proxy_that_is_not_there(stream: bool) -> None:
    with closed_port() as port:
        environ = {"HTTPS_PROXY": f"http://user:hunter2@127.0.0.1:{port}"}
        async with stage(OK, resolver=Names(), environ=environ) as live:
            answer = await live.ask(stream=stream, headers=secure(live))
            await expect_unreached(live, answer, 502, "connect_failed")


@both
async def test_a_proxy_that_never_answers(stream: bool, tmp_path: Path) -> None:
    async with Tunnel(reply=None) as tunnel:
        environ = {"HTTPS_PROXY": f"http://user:hunter2@127.0.0.1:{tunnel.port}"}
        async with stage(OK, resolver=Names(), environ=environ, tmp=tmp_path, deadlines={"connect": 0.1}) as live:
            answer = await live.ask(stream=stream, headers=secure(live))
            await expect_unreached(live, answer, 504, "connect_timeout")


async def test_a_certificate_is_checked_through_the_proxy_too(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path), Authority(tmp_path, "theirs.pem")
    async with Tunnel() as tunnel:
        environ = {"HTTPS_PROXY": f"http://127.0.0.1:{tunnel.port}", "SSL_CERT_FILE": str(ours.file)}
        async with stage(OK, tls=theirs.serve_as(HOST), resolver=Names(), environ=environ) as live:
            answer = await live.ask(headers=secure(live))
            await expect_unreached(live, answer, 502, "upstream_tls")
            assert len(tunnel.heads) == 1
