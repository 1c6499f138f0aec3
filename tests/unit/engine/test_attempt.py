from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from aiogateway.dialects.openai_chat import OpenAIChat
from aiogateway.engine import attempt as module
from aiogateway.engine.attempt import Opened, Tools, open_attempt
from aiogateway.engine.dial import Place
from aiogateway.engine.pipeline import Pipeline
from aiogateway.engine.transport import StaleConnection
from aiogateway.errors import (
    ConnectFailed,
    FirstTokenTimeout,
    GatewayError,
    PluginError,
    RequestError,
    StreamBroken,
    Unsupported,
    UpstreamError,
    UpstreamStatus,
)
from aiogateway.types import (
    Attempt,
    Call,
    Credential,
    Deadlines,
    Endpoint,
    Lane,
    Origin,
    Outcome,
    Recovery,
    Secret,
    Target,
)
from tests.unit.engine.fakes import DONE, event, make_call, make_request
from tests.unit.engine.kit import SSE, Foreign, Scripted, Wires, hang, make_pipeline, make_step, make_target, say

OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
REFUSAL = say(b'{"error":{"message":"Unknown parameter: stream_options"}}', status=400)


async def attempt(
    pipeline: Pipeline, target: Target, *, call: Call | None = None, until: float | None = None, **body: Any
) -> Opened:
    request = make_request({"model": "m", "messages": [], **body})
    tools = pipeline.tools
    end = tools.loop.time() + 60 if until is None else until
    return await open_attempt(tools, call or make_call(), request, (), make_step(target, until=end))


async def fails(pipeline: Pipeline, target: Target, **options: Any) -> tuple[GatewayError, Attempt]:
    """What an attempt raises, and how it was noted; whatever it is, nothing stays behind."""
    call = make_call()
    with pytest.raises(GatewayError) as caught:
        await attempt(pipeline, target, call=call, **options)
    assert len(call.attempts) == 1
    leftovers(pipeline.tools)
    return caught.value, call.attempts[0]


def leftovers(tools: Tools) -> None:
    assert not tools.live
    assert tools.buffers.held == 0
    assert not tools.sweeper._watches


async def test_an_answer_that_may_be_committed() -> None:
    provider = Scripted(say(b"{}"))
    pipeline = make_pipeline(provider)
    call = make_call()
    opened = await attempt(pipeline, make_target(), call=call)
    assert (opened.lane, opened.exchange.body(), opened.hide_usage) == (Lane.UNARY, b"{}", False)
    assert call.attempts == [opened.attempt]
    assert (opened.attempt.provider, opened.attempt.model, opened.attempt.status) == ("scripted", "m", 200)
    assert opened.attempt.end is not None
    assert pipeline.tools.live == {opened.exchange}
    opened.close()
    assert pipeline.tools.buffers.held == 0
    assert not pipeline.tools.sweeper._watches


async def test_observers_are_told_of_the_attempt() -> None:
    seen: list[Attempt] = []

    class Watching:
        def attempt(self, attempt: Attempt) -> None:
            seen.append(attempt)

    pipeline = make_pipeline(Scripted(say(b"{}")))
    call = make_call()
    observers: Any = (Watching(), Watching())
    opened = await open_attempt(pipeline.tools, call, make_request({}), observers, make_step(make_target()))
    assert seen == [opened.attempt, opened.attempt]
    opened.close()


# --- lanes ---


@pytest.mark.parametrize(
    ("provider", "options", "check", "lane"),
    [
        (Scripted, None, False, Lane.FRAMED),
        (Scripted, {"include_usage": True}, False, Lane.VERBATIM),
        (Scripted, None, True, Lane.CHECKED),
        (Foreign, None, False, Lane.TRANSLATED),
        (Foreign, None, True, Lane.TRANSLATED),
    ],
)
async def test_the_lane_of_a_stream(provider: type[Scripted], options: object, check: bool, lane: Lane) -> None:
    pipeline = make_pipeline(provider(say(event(), DONE, headers=SSE)), check_streams=check)
    opened = await attempt(pipeline, make_target(provider.name), stream=True, stream_options=options)
    assert opened.lane is lane
    assert opened.exchange.first == event()
    opened.close()


async def test_an_answer_that_is_no_stream_is_unary_whatever_was_asked() -> None:
    pipeline = make_pipeline(Scripted(say(b"{}")))
    opened = await attempt(pipeline, make_target(), stream=True)
    assert opened.lane is Lane.UNARY
    opened.close()


# --- usage ---


@pytest.mark.parametrize(("stream", "asked"), [(True, True), (False, False)])
async def test_usage_is_asked_for_in_streams_only(stream: bool, asked: bool) -> None:
    provider = Scripted(say(event(), DONE, headers=SSE))
    opened = await attempt(make_pipeline(provider), make_target(), stream=stream)
    assert (b"include_usage" in provider.asked[0].body) is asked
    assert opened.hide_usage is asked
    opened.close()


async def test_usage_is_not_asked_for_where_it_is_no_capability() -> None:
    provider = Scripted(say(event(), DONE, headers=SSE))
    provider.capabilities = frozenset()
    opened = await attempt(make_pipeline(provider), make_target(), stream=True)
    assert b"include_usage" not in provider.asked[0].body
    assert opened.lane is Lane.VERBATIM
    opened.close()


async def test_a_client_that_asked_gets_its_own_bytes_on() -> None:
    provider = Scripted(say(event(), DONE, headers=SSE))
    options = {"include_usage": True, "x": 1}
    opened = await attempt(make_pipeline(provider), make_target(), stream=True, stream_options=options)
    assert provider.asked[0].body == opened.request.raw
    opened.close()


async def test_a_refusal_of_stream_options_is_remembered_for_its_host() -> None:
    provider = Scripted(REFUSAL, say(event(), DONE, headers=SSE))
    pipeline = make_pipeline(provider)
    for _ in range(2):
        call = make_call()
        opened = await attempt(pipeline, make_target(), call=call, stream=True)
        assert (opened.lane, len(call.attempts)) == (Lane.VERBATIM, 1)
        opened.close()
        pipeline.tools.live.clear()
    assert [b"stream_options" in request.body for request in provider.asked] == [True, False, False]
    leftovers(pipeline.tools)


async def test_a_400_for_another_reason_is_the_clients() -> None:
    provider = Scripted(say(b'{"error":{"message":"bad model"}}', status=400))
    error, noted = await fails(make_pipeline(provider), make_target(), stream=True)
    assert (type(error), error.status, noted.status) == (UpstreamStatus, 400, 400)
    assert len(provider.asked) == 1


async def test_a_client_that_asked_itself_hears_the_refusal() -> None:
    provider = Scripted(REFUSAL)
    error, _ = await fails(make_pipeline(provider), make_target(), stream=True, stream_options={"include_usage": True})
    assert error.status == 400
    assert len(provider.asked) == 1


async def test_refusals_are_remembered_in_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 2)
    tools = make_pipeline().tools
    for number in range(3):
        tools.remember_refusal((f"h{number}", False))
    assert [tools.refuses_stream_options((f"h{number}", False)) for number in range(3)] == [False, True, True]
    assert not tools.refuses_stream_options(("h2", True))


# --- what goes out ---


async def test_overrides_are_merged_before_the_provider_is_asked() -> None:
    provider = Scripted(say(b"{}"))
    call = make_call()
    opened = await attempt(make_pipeline(provider), make_target(override_params={"model": "ours"}), call=call)
    assert orjson.loads(provider.asked[0].body)["model"] == "ours"
    assert call.attempts[0].model == "ours"
    opened.close()


async def test_forwarded_headers_replace_the_providers_own() -> None:
    provider = Scripted(say(b"{}"))
    pipeline = make_pipeline(provider)
    headers = (("user-agent", "theirs"), ("x-a", "1"), ("x-a", "2"), ("x-b", "3"))
    request = make_request({"model": "m"}, headers=headers)
    target = make_target(forward_headers=("user-agent", "x-a", "x-none"))
    opened = await open_attempt(pipeline.tools, make_call(), request, (), make_step(target))
    sent = provider.asked[0].headers
    assert [value for name, value in sent if name in ("user-agent", "x-a", "x-b")] == ["theirs", "1", "2"]
    opened.close()


async def test_the_credential_goes_in_last() -> None:
    provider = Scripted(say(b"{}"))
    credential = Credential(Secret("sk-1"), Origin.REQUEST, "authorization")
    opened = await attempt(make_pipeline(provider), make_target(credential=credential))
    assert ("authorization", "Bearer sk-1") in provider.asked[0].headers
    opened.close()


async def test_a_translated_request_names_what_it_dropped_and_asks_in_its_own_dialect() -> None:
    provider = Foreign(say(event("", "stop"), DONE, headers=SSE))
    call = make_call()
    opened = await attempt(make_pipeline(provider), make_target("foreign"), call=call, stream=True)
    sent = orjson.loads(provider.asked[0].body)
    assert (sent["stream"], sent["stream_options"]) == (True, {"include_usage": True})
    assert call.dropped_params == ()
    opened.close()


# --- failures ---


async def test_an_endpoint_that_is_not_offered() -> None:
    pipeline = make_pipeline(Foreign(say(b"{}")))
    call = make_call()
    request = make_request({"input": "x"}, endpoint=Endpoint.EMBEDDINGS, dialect="openai_embeddings")
    with pytest.raises(Unsupported) as caught:
        await open_attempt(
            pipeline.tools, call, request, (), make_step(make_target("foreign", path="config.targets[1]"))
        )
    assert caught.value.param == "config.targets[1].provider"
    assert (call.attempts[0].outcome, call.attempts[0].closed_by) == (Outcome.FAILED, "gateway")


@pytest.mark.parametrize("body", [b'{"error":{"message":"slow"}}', b"<html>", b""])
async def test_an_error_status_keeps_its_body_in_the_same_dialect(body: bytes) -> None:
    error, noted = await fails(make_pipeline(Scripted(say(body, status=429))), make_target(), stream=True)
    assert isinstance(error, UpstreamStatus)
    assert (error.status, error.body, dict(error.headers)["x-request-id"]) == (429, body, "r1")
    assert (noted.status, noted.outcome, noted.closed_by, noted.error) == (
        429, Outcome.FAILED, "upstream", "upstream_status"
    )  # fmt: skip


async def test_a_foreign_error_keeps_only_what_it_means() -> None:
    reply = say(b'{"error":{"message":"slow down"}}', status=429)
    error, _ = await fails(make_pipeline(Foreign(reply)), make_target("foreign"))
    assert isinstance(error, UpstreamStatus)
    assert (error.status, error.message, error.body) == (429, "slow down", b"")


@pytest.mark.parametrize("status", [199 + 102, 304])
async def test_a_redirect_is_an_error_and_is_not_followed(status: int) -> None:
    provider = Scripted(say(b"", status=status, headers=(("location", "http://169.254.169.254/"),)))
    error, _ = await fails(make_pipeline(provider), make_target())
    assert isinstance(error, UpstreamStatus)
    assert len(provider.asked) == 1


BOOM = b'data: {"error":{"message":"boom","code":"overloaded"}}\n\n'


@pytest.mark.parametrize(
    ("reply", "stream", "status"),
    [
        (say(BOOM, DONE, headers=SSE), True, 529),
        (say(b": hello\n\n", BOOM, headers=SSE, hang=True), True, 529),
        (say(b'{"error":{"message":"no","code":404}}'), False, 404),
        (say(b'{"error":{"message":"no","code":404}}'), True, 404),
    ],
)
async def test_an_error_that_comes_first_is_an_ordinary_error(reply: Any, stream: bool, status: int) -> None:
    error, noted = await fails(make_pipeline(Scripted(reply)), make_target(), stream=stream)
    assert isinstance(error, UpstreamStatus)
    assert (error.status, noted.status) == (status, status)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (say(b": only\n\n", headers=SSE), StreamBroken),
        (say(headers=SSE), StreamBroken),
        (say(event()[:9], headers=SSE, cut=True), StreamBroken),
        (say(b'{"a"', cut=True), StreamBroken),
    ],
)
async def test_a_stream_without_an_event_and_a_body_cut_short(reply: Any, kind: type[UpstreamError]) -> None:
    error, noted = await fails(make_pipeline(Scripted(reply)), make_target(), stream=True)
    assert type(error) is kind
    assert noted.error == error.code


@pytest.mark.parametrize(("stream", "limit"), [(True, "first_token"), (False, "unary")])
async def test_no_answer_in_time(stream: bool, limit: str) -> None:
    target = make_target(deadlines=Deadlines(**{"first_token": 30, "unary": 30, limit: 0.05}))
    error, noted = await fails(make_pipeline(Scripted(hang)), target, stream=stream)
    assert isinstance(error, FirstTokenTimeout)
    assert noted.error == "first_token_timeout"


async def test_a_client_that_leaves_before_the_first_token() -> None:
    pipeline = make_pipeline(Scripted(hang))
    call = make_call()
    trying = asyncio.create_task(attempt(pipeline, make_target(), call=call))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert pipeline.tools.live
    trying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await trying
    leftovers(pipeline.tools)
    assert (call.attempts[0].outcome, call.attempts[0].closed_by) == (Outcome.CLIENT_LEFT, "client")
    assert call.attempts[0].end is not None


async def test_a_stop_ends_what_waits_for_its_first_token() -> None:
    pipeline = make_pipeline(Scripted(hang))
    trying = asyncio.create_task(attempt(pipeline, make_target()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    error = UpstreamError("the gateway is shutting down")
    pipeline.stop(error)
    with pytest.raises(UpstreamError) as caught:
        await trying
    assert caught.value is error
    leftovers(pipeline.tools)


# --- plugins' mistakes ---


@pytest.mark.parametrize("hook", ["route", "prepare", "authorize", "read_error"])
async def test_a_providers_mistake_names_it_and_shows_nothing(hook: str) -> None:
    provider = Scripted(say(b"{}", status=500))

    def oops(*_: object) -> Any:
        raise KeyError("canary")

    oops.__name__ = hook
    setattr(provider, hook, oops)
    error, noted = await fails(make_pipeline(provider), make_target())
    assert isinstance(error, PluginError)
    assert (error.plugin, error.hook) == ("scripted", hook)
    assert "canary" not in error.message
    assert (noted.outcome, noted.closed_by, noted.error) == (Outcome.FAILED, "gateway", "plugin_error")


async def test_a_refusal_of_the_providers_own_passes() -> None:
    refusal = RequestError("no such deployment")

    def refuse(*_: object) -> Any:
        raise refusal

    provider = Scripted(hang)
    provider.prepare = refuse  # type: ignore[method-assign,assignment]
    error, noted = await fails(make_pipeline(provider), make_target())
    assert error is refusal
    assert (noted.outcome, noted.closed_by) == (Outcome.FAILED, "gateway")


# --- wires ---


async def test_a_request_on_a_fresh_wire() -> None:
    wires = Wires(OK)
    target = make_target("openai", guarded=True, deadlines=Deadlines(connect=7))
    opened = await attempt(make_pipeline(pool=wires), target, n=1)
    place, timeout = wires.dialled[0]
    assert (place.origin, place.guarded, timeout) == ("http://up.example", True, 7)
    head, _, body = wires.sent[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\nhost: up.example\r\n")
    assert b"content-length: %d" % len(body) in head
    assert body == opened.request.raw
    assert wires.given == wires.upstreams  # back in the pool
    opened.close()
    assert not wires.transports[0].aborted


async def test_a_pooled_connection_that_died_costs_one_more_try() -> None:
    wires = Wires(None, OK, idle=2)
    opened = await attempt(make_pipeline(pool=wires), make_target("openai"))
    assert opened.exchange.body() == b"{}"
    assert (len(wires.upstreams), len(wires.dialled)) == (2, 1)  # the second is not another idle one
    assert wires.sent[0] == wires.sent[1]
    opened.close()


async def test_and_only_one() -> None:
    wires = Wires(None, None, None, idle=1)
    error, _ = await fails(make_pipeline(pool=wires), make_target("openai"))
    assert isinstance(error, ConnectFailed)
    assert not isinstance(error, StaleConnection)
    assert len(wires.upstreams) == 2


async def test_a_connection_that_died_after_a_byte_is_not_tried_again() -> None:
    wires = Wires(b"HTTP/1.1 2", OK, idle=1)
    pipeline = make_pipeline(pool=wires)
    trying = asyncio.create_task(attempt(pipeline, make_target("openai")))
    for _ in range(5):
        await asyncio.sleep(0)
    wires.upstreams[0].connection_lost(None)
    with pytest.raises(ConnectFailed):
        await trying
    assert len(wires.upstreams) == 1
    leftovers(pipeline.tools)


async def test_a_dialling_that_fails() -> None:
    class Failing(Wires):
        async def dial(self, place: Place, timeout: float) -> Any:
            raise ConnectFailed("the provider refused the connection")

    error, noted = await fails(make_pipeline(pool=Failing()), make_target("openai"))
    assert (error.code, noted.error, noted.closed_by) == ("connect_failed", "connect_failed", "upstream")


class Silent(Wires):
    """Nobody ever answers the dialling."""

    async def dial(self, place: Place, timeout: float) -> Any:
        await asyncio.Event().wait()


async def test_a_stop_ends_the_dialling() -> None:
    pipeline = make_pipeline(pool=Silent())
    trying = asyncio.create_task(attempt(pipeline, make_target("openai")))
    await asyncio.sleep(0)
    error = UpstreamError("the gateway is shutting down")
    pipeline.stop(error)
    with pytest.raises(UpstreamError) as caught:
        await trying
    assert caught.value is error
    assert trying.cancelling() == 0  # nothing of our interruption is left in the handler's task
    leftovers(pipeline.tools)


async def test_the_whole_calls_deadline_ends_the_dialling() -> None:
    pipeline = make_pipeline(pool=Silent())
    with pytest.raises(GatewayError) as caught:
        await attempt(pipeline, make_target("openai"), until=pipeline.tools.loop.time() + 0.05)
    assert caught.value.code == "total_timeout"
    leftovers(pipeline.tools)


async def test_a_client_that_leaves_while_we_dial() -> None:
    pipeline = make_pipeline(pool=Silent())
    for stopped in (False, True):
        call = make_call()
        trying = asyncio.create_task(attempt(pipeline, make_target("openai"), call=call))
        await asyncio.sleep(0)
        if stopped:
            pipeline.stop(UpstreamError("the gateway is shutting down"))
        trying.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trying
        assert call.attempts[0].outcome is Outcome.CLIENT_LEFT
        leftovers(pipeline.tools)


# --- whole bodies, checked ---


@pytest.mark.parametrize(("check", "recovery"), [(True, None), (False, Recovery())])
@pytest.mark.parametrize("body", [b"<html>", b'{"id":', b"[]", b""])
async def test_a_checked_answer_that_is_no_object_is_a_failed_attempt(
    check: bool, recovery: Recovery | None, body: bytes
) -> None:
    pipeline = make_pipeline(Scripted(say(body)), check_streams=check)
    error, noted = await fails(pipeline, make_target(recovery=recovery))
    assert isinstance(error, StreamBroken)
    assert (noted.outcome, noted.closed_by) == (Outcome.FAILED, "upstream")


async def test_an_answer_that_nobody_checks_is_the_clients_to_read() -> None:
    opened = await attempt(make_pipeline(Scripted(say(b"<html>"))), make_target())
    assert opened.exchange.body() == b"<html>"
    opened.close()
    pipeline = make_pipeline(Scripted(say(b"{" * 50, b"{" * 50)), check_streams=True, unary_buffer=60)
    opened = await attempt(pipeline, make_target())  # larger than what is kept: it can't be judged
    assert not opened.exchange.over
    opened.close()


# --- recovery ---


@pytest.mark.parametrize(
    ("recovery", "foreign", "lane", "recoverable"),
    [
        (None, False, Lane.FRAMED, False),
        (Recovery(), False, Lane.CHECKED, True),
        (Recovery(), True, Lane.TRANSLATED, True),
        (None, True, Lane.TRANSLATED, False),
    ],
)
async def test_a_stream_that_may_be_recovered_is_looked_at(
    recovery: Recovery | None, foreign: bool, lane: Lane, recoverable: bool
) -> None:
    provider = (Foreign if foreign else Scripted)(say(event(), DONE, headers=SSE))
    opened = await attempt(make_pipeline(provider), make_target(provider.name, recovery=recovery), stream=True)
    assert (opened.lane, opened.recoverable) == (lane, recoverable)
    opened.close()


async def test_a_wire_that_cant_be_taken_up_again_is_not_recovered() -> None:
    class OneGo(OpenAIChat):
        resumable = False

    pipeline = make_pipeline(Scripted(say(event(), DONE, headers=SSE)))
    dialects = pipeline.tools.registry.dialects
    assert isinstance(dialects, dict)
    dialects["openai_chat"] = OneGo()
    opened = await attempt(pipeline, make_target(recovery=Recovery()), stream=True)
    assert (opened.lane, opened.recoverable) == (Lane.FRAMED, False)
    opened.close()


async def test_a_whole_answer_has_nothing_to_recover() -> None:
    opened = await attempt(make_pipeline(Scripted(say(b"{}"))), make_target(recovery=Recovery()), stream=True)
    assert (opened.lane, opened.recoverable) == (Lane.UNARY, False)
    opened.close()


async def test_an_attempt_notes_which_retry_it_is() -> None:
    call = make_call()
    pipeline = make_pipeline(Scripted(say(b"{}")))
    this = make_step(make_target(), made=2, waited=1.5)
    opened = await open_attempt(pipeline.tools, call, make_request({}), (), this)
    assert (call.attempts[0].retry, call.attempts[0].waited) == (2, 1.5)
    opened.close()
