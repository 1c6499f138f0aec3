from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aioresponses import aioresponses

from aiogateway.errors import ConnectFailed, UpstreamStatus
from aiogateway.providers.entra import AUTHORITY, HELD, MARGIN, SCOPE, Login, TokenBox
from aiogateway.types import Secret

LOGIN = Login(tenant="t-1", client_id="c-1", secret=Secret("canary-secret"))
URL = f"{AUTHORITY}/t-1/oauth2/v2.0/token"


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def answer(token: str = "canary-1", seconds: int = 3600) -> dict[str, Any]:
    return {"token_type": "Bearer", "access_token": token, "expires_in": seconds}


async def test_the_form_is_the_flows(http: aiohttp.ClientSession) -> None:
    with aioresponses() as fake:
        fake.post(URL, payload=answer())
        credential = await TokenBox().get(LOGIN, http)
        ((call,),) = fake.requests.values()
    assert credential.secret.reveal() == "canary-1"
    assert "canary" not in repr(credential)
    assert call.kwargs["data"] == {
        "grant_type": "client_credentials",
        "client_id": "c-1",
        "client_secret": "canary-secret",
        "scope": SCOPE,
    }


async def test_a_token_is_kept_until_shortly_before_its_end(http: aiohttp.ClientSession) -> None:
    clock = Clock()
    box = TokenBox(clock)
    with aioresponses() as fake:
        fake.post(URL, payload=answer("canary-1"))
        fake.post(URL, payload=answer("canary-2"))
        assert (await box.get(LOGIN, http)).secret.reveal() == "canary-1"
        clock.now += 3599 - MARGIN
        assert (await box.get(LOGIN, http)).secret.reveal() == "canary-1"
        clock.now += 1
        assert (await box.get(LOGIN, http)).secret.reveal() == "canary-2"


async def test_callers_at_once_wait_for_one_request(http: aiohttp.ClientSession) -> None:
    box = TokenBox()
    with aioresponses() as fake:
        fake.post(URL, payload=answer())
        tokens = await asyncio.gather(*(box.get(LOGIN, http) for _ in range(5)))
        assert len({token.secret.reveal() for token in tokens}) == 1
        ((call,),) = fake.requests.values()
    assert call is not None


async def test_a_caller_that_leaves_takes_nothing_with_it(http: aiohttp.ClientSession) -> None:
    box = TokenBox()
    with aioresponses() as fake:
        fake.post(URL, payload=answer())
        first = asyncio.ensure_future(box.get(LOGIN, http))
        second = asyncio.ensure_future(box.get(LOGIN, http))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second).secret.reveal() == "canary-1"
    assert first.cancelled()


async def test_other_logins_have_other_tokens(http: aiohttp.ClientSession) -> None:
    box = TokenBox()
    other = Login(tenant="t-1", client_id="c-1", secret=Secret("canary-other"))
    with aioresponses() as fake:
        fake.post(URL, payload=answer("canary-1"))
        fake.post(URL, payload=answer("canary-2"))
        assert (await box.get(LOGIN, http)).secret.reveal() == "canary-1"
        assert (await box.get(other, http)).secret.reveal() == "canary-2"


async def test_a_refusal_says_why_and_nothing_else(http: aiohttp.ClientSession) -> None:
    box = TokenBox()
    refusal = {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."}
    with aioresponses() as fake:
        fake.post(URL, status=401, payload=refusal)
        fake.post(URL, payload=answer())
        with pytest.raises(UpstreamStatus) as caught:
            await box.get(LOGIN, http)
        assert (caught.value.status, caught.value.error_code) == (401, "invalid_client")
        assert "AADSTS7000215" in caught.value.message
        assert "canary" not in repr(caught.value)
        assert (await box.get(LOGIN, http)).secret.reveal() == "canary-1"  # a failure is not remembered


@pytest.mark.parametrize("body", ["", "<html>", "[]", '{"access_token": 7}'])
async def test_an_answer_that_is_no_token(http: aiohttp.ClientSession, body: str) -> None:
    with aioresponses() as fake:
        fake.post(URL, body=body)
        with pytest.raises(UpstreamStatus) as caught:
            await TokenBox().get(LOGIN, http)
    assert caught.value.status == 502


async def test_no_connection(http: aiohttp.ClientSession) -> None:
    with aioresponses() as fake:
        fake.post(URL, exception=aiohttp.ServerDisconnectedError("canary-form"))
        with pytest.raises(ConnectFailed) as caught:
            await TokenBox().get(LOGIN, http)
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


async def test_no_more_than_so_many_are_kept(http: aiohttp.ClientSession) -> None:
    box = TokenBox()
    with aioresponses() as fake:
        fake.post(URL, payload=answer(), repeat=True)
        for number in range(HELD + 1):
            await box.get(Login(tenant="t-1", client_id=f"c-{number}", secret=Secret("s")), http)
        calls = len(fake.requests[next(iter(fake.requests))])
        await box.get(Login(tenant="t-1", client_id="c-0", secret=Secret("s")), http)
        assert len(fake.requests[next(iter(fake.requests))]) == calls + 1
