from __future__ import annotations

import aiohttp
import pytest
from aioresponses import aioresponses
from yarl import URL

TOKEN_URL = "https://tokens.example/oauth/token"


async def test_unary_answer() -> None:
    with aioresponses() as fake:
        fake.post(TOKEN_URL, status=201, payload={"access_token": "t"}, headers={"x-request-id": "r"})
        async with aiohttp.ClientSession() as http, http.post(TOKEN_URL, json={"grant": "x"}) as answer:
            assert (answer.status, answer.headers["x-request-id"]) == (201, "r")
            assert await answer.json() == {"access_token": "t"}
    (request,) = fake.requests["POST", URL(TOKEN_URL)]
    assert request.kwargs["json"] == {"grant": "x"}


async def test_failure() -> None:
    with aioresponses() as fake:
        fake.get(TOKEN_URL, exception=aiohttp.ClientConnectionError("down"))
        async with aiohttp.ClientSession() as http:
            with pytest.raises(aiohttp.ClientConnectionError, match="down"):
                await http.get(TOKEN_URL)


async def test_status_error() -> None:
    with aioresponses() as fake:
        fake.get(TOKEN_URL, status=403)
        async with aiohttp.ClientSession(raise_for_status=True) as http:
            with pytest.raises(aiohttp.ClientResponseError) as caught:
                await http.get(TOKEN_URL)
    assert caught.value.status == 403
