from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from aiogateway.contracts import Answer
from aiogateway.engine.local import LocalSource
from aiogateway.errors import ConnectFailed, StreamBroken, UpstreamError
from aiogateway.types import UpstreamRequest
from tests.unit.engine.fakes import Collected, make_exchange

REQUEST = UpstreamRequest(method="POST", url="local:mock/x", headers=(), body=b"{}")


class Scripted:
    name = "scripted"
    models = ()

    def __init__(self, script: Callable[[Answer], Awaitable[None]]) -> None:
        self._script = script
        self.asked: list[UpstreamRequest] = []

    async def respond(self, upstream: UpstreamRequest, answer: Answer) -> None:
        self.asked.append(upstream)
        await self._script(answer)


async def settle_down() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_an_answer_goes_through_the_exchange() -> None:
    async def script(answer: Answer) -> None:
        answer.start(201, (("content-type", "application/json"), ("x-name", "naïve")))
        await answer.send(b"{")
        await answer.send(b"}")

    provider = Scripted(script)
    exchange, _, _ = make_exchange()
    LocalSource(provider, REQUEST, exchange)
    await exchange.ready
    assert provider.asked == [REQUEST]
    assert (exchange.status, exchange.body(), exchange.over) == (201, b"{}", True)
    assert exchange.headers[1] == (b"x-name", "naïve".encode("latin-1"))
    assert exchange.source is None


async def test_an_answer_that_never_starts() -> None:
    async def script(answer: Answer) -> None:
        return

    exchange, _, _ = make_exchange()
    LocalSource(Scripted(script), REQUEST, exchange)
    with pytest.raises(StreamBroken):
        await exchange.ready


@pytest.mark.parametrize(("started", "kind"), [(False, ConnectFailed), (True, StreamBroken)])
async def test_a_cut(started: bool, kind: type[UpstreamError]) -> None:
    async def script(answer: Answer) -> None:
        if started:
            answer.start(200, ())
            await answer.send(b"half")
        raise ConnectionResetError("wished for")

    exchange, _, _ = make_exchange()
    LocalSource(Scripted(script), REQUEST, exchange)
    with pytest.raises(kind) as caught:
        await exchange.ready
    assert type(caught.value) is kind


async def test_a_plugins_mistake_is_logged_and_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    async def script(answer: Answer) -> None:
        raise KeyError("oops")

    exchange, _, _ = make_exchange()
    LocalSource(Scripted(script), REQUEST, exchange)
    with pytest.raises(UpstreamError, match="the provider's plugin failed"):
        await exchange.ready
    assert "provider scripted failed while answering" in caplog.text


async def test_a_full_client_makes_the_provider_wait() -> None:
    sent: list[bytes] = []

    async def script(answer: Answer) -> None:
        answer.start(200, ())
        for piece in (b"a", b"b", b"c"):
            await answer.send(piece)
            sent.append(piece)

    exchange, _, _ = make_exchange(whole=False)
    source = LocalSource(Scripted(script), REQUEST, exchange)
    out = Collected()
    source.pause()
    await exchange.ready
    await settle_down()
    assert sent == []
    exchange.attach(out)  # resumes
    await settle_down()
    assert (out.data, out.ends) == ([b"a", b"b", b"c"], [None])


@pytest.mark.parametrize("paused", [False, True])
async def test_a_provider_that_nobody_listens_to_is_cancelled(paused: bool) -> None:
    ends: list[str] = []

    async def script(answer: Answer) -> None:
        answer.start(200, ())
        try:
            if paused:
                await answer.send(b"x")
            else:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    exchange, _, _ = make_exchange(whole=False)
    source = LocalSource(Scripted(script), REQUEST, exchange)
    if paused:
        source.pause()
    await exchange.ready
    await settle_down()
    exchange.close()
    await settle_down()
    assert ends == ["cancelled"]


async def test_a_provider_that_ignores_its_cancellation_is_not_heard() -> None:
    errors: list[type[BaseException]] = []

    async def script(answer: Answer) -> None:
        answer.start(200, ())
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            try:
                await answer.send(b"late")
            except ConnectionError as error:
                errors.append(type(error))
        answer.start(500, ())

    exchange, _, buffers = make_exchange(whole=False)
    LocalSource(Scripted(script), REQUEST, exchange)
    await exchange.ready
    exchange.close()
    await settle_down()
    assert errors == [ConnectionResetError]
    assert (exchange.status, exchange.beats, buffers.held) == (200, 0, 0)
