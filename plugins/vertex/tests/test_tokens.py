from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import threading
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qs

import aiohttp
import google.auth
import google.auth.exceptions
import pytest
from aiogateway_plugin_vertex import tokens
from aiogateway_plugin_vertex.tokens import MARGIN, TokenBox
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.auth import compute_engine

from aiogateway.errors import ConnectFailed, GatewayError, RequestError, UpstreamStatus
from aiogateway.types import Secret

URL = "https://oauth2.googleapis.com/token"
KEY = (
    rsa.generate_private_key(public_exponent=65537, key_size=2048)
    .private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    .decode()
)


def account(**changes: Any) -> Secret:
    info = {
        "type": "service_account",
        "project_id": "harbour",
        "private_key_id": "k1",
        "private_key": KEY,
        "client_email": "tide@harbour.iam.gserviceaccount.com",
        "token_uri": URL,
        **changes,
    }
    return Secret(json.dumps({name: value for name, value in info.items() if value is not None}))


def token(name: str = "t1", seconds: int = 3600) -> tuple[int, dict[str, Any]]:
    return 200, {"access_token": name, "expires_in": seconds, "token_type": "Bearer"}


class Google:
    """In the place of the gateway's HTTP client: gives its answers in order, and keeps what it was asked."""

    def __init__(self, *answers: tuple[int, dict[str, Any]] | Exception) -> None:
        self.asked: list[tuple[str, str, bytes | None, bool]] = []
        self._answers = list(answers)

    @contextlib.asynccontextmanager
    async def request(
        self, method: str, url: str, *, data: bytes | None, headers: dict[str, str], allow_redirects: bool
    ) -> AsyncIterator[Any]:
        self.asked.append((method, url, data, allow_redirects))
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        status, payload = answer

        async def read() -> bytes:
            return json.dumps(payload).encode()

        yield SimpleNamespace(status=status, headers={"content-type": "application/json"}, read=read)


async def get(box: TokenBox, google_: Google, key: Secret | None = None) -> Secret:
    return await box.get(key, cast("aiohttp.ClientSession", google_))


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_a_service_account_shows_a_signed_claim() -> None:
    http = Google(token())
    assert await get(TokenBox(), http, account()) == Secret("t1")
    [(method, url, data, redirects)] = http.asked
    assert (method, url, redirects) == ("POST", URL, False)
    form = parse_qs((data or b"").decode())
    assert form["grant_type"] == ["urn:ietf:params:oauth:grant-type:jwt-bearer"]
    claim = json.loads(base64.urlsafe_b64decode(form["assertion"][0].split(".")[1] + "=="))
    assert claim["iss"] == "tide@harbour.iam.gserviceaccount.com"
    assert claim["aud"] == URL
    assert claim["scope"] == "https://www.googleapis.com/auth/cloud-platform"


async def test_a_token_is_kept_until_shortly_before_its_end() -> None:
    clock = Clock()
    box, http = TokenBox(clock), Google(token("t1"), token("t2"))
    assert await get(box, http, account()) == Secret("t1")
    clock.now += 3600 - MARGIN - 30
    assert await get(box, http, account()) == Secret("t1")
    clock.now += 31
    assert await get(box, http, account()) == Secret("t2")


async def test_callers_that_need_one_at_once_wait_for_one_question() -> None:
    box, http = TokenBox(), Google(token())
    first, *others = (asyncio.create_task(get(box, http, account())) for _ in range(10))
    await asyncio.sleep(0)
    first.cancel()  # one that leaves takes no token from the others
    assert set(await asyncio.gather(*others)) == {Secret("t1")}
    assert len(http.asked) == 1


async def test_the_loops_own_threads_are_not_needed() -> None:
    """Names are looked up there, for the very question that a token waits for."""
    busy, done = ThreadPoolExecutor(1), threading.Event()
    asyncio.get_running_loop().set_default_executor(busy)
    busy.submit(done.wait, 5)
    try:
        async with asyncio.timeout(2):
            assert await get(TokenBox(), Google(token()), account()) == Secret("t1")
    finally:
        done.set()


async def test_each_account_has_its_own() -> None:
    box, http = TokenBox(), Google(token("t1"), token("t2"))
    got = [await get(box, http, account(private_key_id=key)) for key in ("k1", "k2", "k1")]
    assert got == [Secret("t1"), Secret("t2"), Secret("t1")]


async def test_a_short_token_is_asked_for_anew() -> None:
    box, http = TokenBox(), Google(token("t1", 5), token("t2", 5))
    assert [await get(box, http, account()) for _ in range(2)] == [Secret("t1"), Secret("t2")]


async def test_only_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "HELD", 1)
    box, http = TokenBox(), Google(token("t1"), token("t2"), token("t3"))
    got = [await get(box, http, account(private_key_id=key)) for key in ("k1", "k2", "k1")]
    assert got == [Secret("t1"), Secret("t2"), Secret("t3")]


async def test_googles_refusal_is_told_and_not_kept() -> None:
    refusal = 400, {"error": "invalid_grant", "error_description": "Invalid JWT Signature."}
    box, http = TokenBox(), Google(refusal, token())
    with pytest.raises(UpstreamStatus, match="Invalid JWT Signature") as caught:
        await get(box, http, account())
    assert (caught.value.status, caught.value.error_type) == (401, "authentication_error")
    assert await get(box, http, account()) == Secret("t1")


async def test_a_google_that_is_not_there() -> None:
    with pytest.raises(ConnectFailed) as caught:
        await get(TokenBox(), Google(aiohttp.ClientConnectionError("canary")), account())
    assert "canary" not in str(caught.value)
    assert caught.value.retryable


async def test_a_google_that_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "TIMEOUT", 0.05)
    silent = Google()

    @contextlib.asynccontextmanager
    async def request(*_: object, **__: object) -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield None

    monkeypatch.setattr(silent, "request", request)
    with pytest.raises(ConnectFailed, match="TimeoutError"):
        await get(TokenBox(), silent, account())


@pytest.mark.parametrize(
    "changes",
    [
        {"token_uri": "http://oauth2.googleapis.com/token"},
        {"token_uri": "https://169.254.169.254/token"},
        {"token_uri": "https://oauth2.googleapis.com:8443/token"},
        {"token_uri": "https://oauth2.googleapis.com@example.org/token"},
        {"token_uri": "https://[/token"},
        {"token_uri": None},
        {"universe_domain": "example.org"},
        {"client_email": None},
        {"private_key": "canary"},
    ],
)
async def test_a_key_that_is_none_or_leads_elsewhere(changes: dict[str, Any]) -> None:
    http = Google()
    with pytest.raises(RequestError) as caught:
        await get(TokenBox(), http, account(**changes))
    assert caught.value.param == "vertex_service_account_json"
    assert "canary" not in str(caught.value)
    assert http.asked == []


class Lent:
    """An identity of google-auth's, as default credentials are."""

    def __init__(self, *errors: Exception) -> None:
        self.token = "lent"
        self.expiry: datetime | None = datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=1)
        self.refreshed = 0
        self._errors = list(errors)

    def refresh(self, request: object) -> None:
        self.refreshed += 1
        if self._errors:
            raise self._errors.pop(0)


def lend(monkeypatch: pytest.MonkeyPatch, identity: object) -> list[list[str]]:
    """Makes `identity` the default one; the scopes of every search for it are kept."""
    found: list[list[str]] = []

    def default(scopes: list[str], request: object) -> tuple[object, None]:
        found.append(scopes)
        return identity, None

    monkeypatch.setattr(google.auth, "default", default)
    return found


async def test_default_credentials_are_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    identity, clock = Lent(), Clock()
    found = lend(monkeypatch, identity)
    box = TokenBox(clock)
    assert await get(box, Google()) == Secret("lent")
    clock.now += 3600
    assert await get(box, Google()) == Secret("lent")
    assert found == [["https://www.googleapis.com/auth/cloud-platform"]]
    assert identity.refreshed == 2


async def test_the_metadata_server_is_asked_through_the_gateways_client(monkeypatch: pytest.MonkeyPatch) -> None:
    lend(monkeypatch, compute_engine.Credentials())  # type: ignore[no-untyped-call]
    http = Google((200, {"email": "tide@harbour", "scopes": ["a"]}), token("m1"))
    assert await get(TokenBox(), http) == Secret("m1")
    assert {url.partition("/computeMetadata/")[0] for _, url, _, _ in http.asked} == {"http://metadata.google.internal"}


NONE: Any = google.auth.exceptions.DefaultCredentialsError
FAILED: Any = google.auth.exceptions.RefreshError


@pytest.mark.parametrize(
    ("error", "status"),
    [(NONE("none"), 401), (FAILED("later", retryable=True), 503), (FAILED(), 401), (OSError("canary"), 502)],
)
async def test_what_goes_wrong_is_a_gateway_error(
    monkeypatch: pytest.MonkeyPatch, error: Exception, status: int
) -> None:
    lend(monkeypatch, Lent(error))
    with pytest.raises(GatewayError) as caught:
        await get(TokenBox(), Google())
    assert caught.value.status == status
    assert "canary" not in str(caught.value)


async def test_an_identity_without_an_end_is_asked_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    identity = Lent()
    identity.expiry = None
    lend(monkeypatch, identity)
    box = TokenBox()
    await get(box, Google())
    await get(box, Google())
    assert identity.refreshed == 2
