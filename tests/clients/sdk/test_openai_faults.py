"""The OpenAI SDK when something goes wrong: a caller is told what and never keeps half an answer as a whole one."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.clients.upstream import TOKENS, Fault, Upstream

ASK: dict[str, Any] = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Who are you?"}]}
BROKEN = [Fault.CUT, Fault.EARLY_END, Fault.ERROR_EVENT]
# What a caller has after the four events that precede a fault: the first holds only the role.
HALF = "".join(TOKENS[:3])


@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        (Fault.RATE_LIMIT, openai.RateLimitError, "rate_limit_exceeded"),
        (Fault.BAD_REQUEST, openai.BadRequestError, "context_length_exceeded"),
        (Fault.UNAVAILABLE, openai.InternalServerError, "overloaded"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_providers_error_keeps_its_class_code_and_headers(
    client: openai.OpenAI, upstream: Upstream, fault: Fault, error: type[openai.APIStatusError], code: str, stream: bool
) -> None:
    upstream.fault = fault

    with pytest.raises(error) as caught:
        client.chat.completions.create(**ASK, stream=stream)

    assert caught.value.code == code
    assert caught.value.response.headers["x-portkey-trace-id"]
    assert caught.value.response.headers["x-request-id"] == "req_upstream"
    assert caught.value.response.headers.get("retry-after") == ("7" if fault is Fault.RATE_LIMIT else None)
    assert len(upstream.seen) == 1


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_stream_raises(client: openai.OpenAI, upstream: Upstream, fault: Fault) -> None:
    upstream.fault = fault
    text = ""

    with pytest.raises(openai.APIError) as caught:
        for chunk in client.chat.completions.create(**ASK, stream=True):
            text += chunk.choices[0].delta.content or ""
            assert chunk.choices[0].finish_reason is None

    assert text == HALF
    assert caught.value.message


@pytest.mark.parametrize("fault", BROKEN)
async def test_a_broken_stream_raises_in_the_async_client(
    async_client: openai.AsyncOpenAI, upstream: Upstream, fault: Fault
) -> None:
    upstream.fault = fault
    text = ""

    with pytest.raises(openai.APIError):
        async for chunk in await async_client.chat.completions.create(**ASK, stream=True):
            text += chunk.choices[0].delta.content or ""

    assert text == HALF


@pytest.mark.parametrize("fault", BROKEN)
async def test_a_broken_response_stream_raises(
    async_client: openai.AsyncOpenAI, upstream: Upstream, fault: Fault
) -> None:
    upstream.fault = fault

    with pytest.raises(openai.APIError):
        async for event in await async_client.responses.create(model="gpt-4o-mini", input="Who?", stream=True):
            assert event.type != "response.completed"


@pytest.mark.parametrize("fault", BROKEN)
def test_a_broken_legacy_completion_raises(client: openai.OpenAI, upstream: Upstream, fault: Fault) -> None:
    upstream.fault = fault

    with pytest.raises(openai.APIError):
        list(client.completions.create(model="gpt-3.5-turbo-instruct", prompt="Who", stream=True))


def test_leaving_a_stream_closes_the_upstream(client: openai.OpenAI, upstream: Upstream) -> None:
    upstream.fault = Fault.STALL
    stream = client.chat.completions.create(**ASK, stream=True)
    next(iter(stream))

    stream.close()

    assert upstream.left.wait(1.0)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_gives_up_waiting_closes_the_upstream(
    async_client: openai.AsyncOpenAI, upstream: Upstream, stream: bool
) -> None:
    upstream.fault = Fault.SILENT

    with pytest.raises(openai.APITimeoutError):
        await async_client.chat.completions.create(**ASK, stream=stream, timeout=0.3)

    assert upstream.left.wait(1.0)


@pytest.mark.parametrize("stream", [False, True])
def test_the_gateways_own_limit_is_a_408(client: openai.OpenAI, upstream: Upstream, stream: bool) -> None:
    upstream.fault = Fault.SILENT

    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(**ASK, stream=stream, extra_headers={"x-portkey-request-timeout": "200"})

    assert caught.value.status_code == 408
    assert caught.value.response.headers["x-portkey-trace-id"]
    assert upstream.left.wait(1.0)


def test_a_call_without_a_target_names_both_headers(bare_gateway: str) -> None:
    with (
        openai.OpenAI(base_url=bare_gateway, api_key="sk-caller", max_retries=0) as client,
        pytest.raises(openai.BadRequestError) as caught,
    ):
        client.chat.completions.create(**ASK)

    assert "x-portkey-provider" in caught.value.message
    assert "x-portkey-config" in caught.value.message
    assert caught.value.response.headers["x-portkey-trace-id"]


def test_an_unreachable_provider_is_an_error_without_an_address(bare_gateway: str) -> None:
    target = {"x-portkey-provider": "openai", "x-portkey-custom-host": "http://127.0.0.1:1/v1"}
    with (
        openai.OpenAI(base_url=bare_gateway, api_key="sk-caller", default_headers=target, max_retries=0) as client,
        pytest.raises(openai.InternalServerError) as caught,
    ):
        client.chat.completions.create(**ASK)

    assert caught.value.status_code == 502
    assert "127.0.0.1" not in str(caught.value)
    assert "sk-caller" not in str(caught.value)
