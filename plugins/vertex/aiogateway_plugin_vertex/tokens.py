"""Access tokens for Google Cloud: a service account's, or those of application default credentials.

google-auth knows the grants and where default credentials are (key files, workload identity, the metadata server); it
waits in threads of its own, and what it asks for goes through the gateway's HTTP client (`Borrowed`).
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import google.auth
import google.auth.exceptions
import google.auth.transport
import msgspec
from google.oauth2 import service_account

from aiogateway.dialects.payload import as_text, parse_object
from aiogateway.errors import ConnectFailed, GatewayError, RequestError, UpstreamStatus
from aiogateway.tasks import start_task
from aiogateway.types import Secret

if TYPE_CHECKING:
    from aiohttp import ClientSession

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)
TOKEN_HOSTS = frozenset({"oauth2.googleapis.com", "accounts.google.com", "www.googleapis.com"})
"""A key names the address where its token is asked for: a request's key must not send us anywhere else."""
MARGIN = 300.0  # seconds before its end from which a token is renewed
HELD = 256  # identities
TIMEOUT = 30.0  # seconds for one question
THREADS = 8  # identities whose tokens are renewed at once
FIELD = "vertex_service_account_json"

Identity = Any
"""google-auth's credentials, which have no useful types."""


class _Held(msgspec.Struct):
    """An identity and its newest token; `until` is on the monotonic clock."""

    identity: Identity
    token: Secret
    until: float


class TokenBox:
    """Tokens by identity. Callers that need the same one at once wait for one question."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._held: OrderedDict[bytes, _Held] = OrderedDict()
        self._asked: dict[bytes, asyncio.Task[Secret | GatewayError]] = {}
        # Not the loop's own: what these threads wait for may need one of those to look up a name.
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="vertex-token")

    async def get(self, account: Secret | None, http: ClientSession) -> Secret:
        """`account` is a service account's key as JSON; None: application default credentials.

        Raises RequestError for a key that is none, UpstreamStatus with Google's words when it gives no token,
        ConnectFailed when it can't be asked.
        """
        key = b"" if account is None else hashlib.sha256(account.reveal().encode()).digest()
        held = self._held.get(key)
        if held is not None and self._clock() < held.until:
            self._held.move_to_end(key)
            return held.token
        task = self._asked.get(key)
        if task is None:
            task = start_task(self._renew(key, account, http), name="vertex-token")
            self._asked[key] = task
            task.add_done_callback(lambda _: self._asked.pop(key, None))
        answer = await asyncio.shield(task)  # a caller that leaves must not take the others' token with it
        if isinstance(answer, GatewayError):
            raise answer
        return answer

    async def _renew(self, key: bytes, account: Secret | None, http: ClientSession) -> Secret | GatewayError:
        """The failure is a value: several callers may wait for it, and none of them for the log."""
        held = self._held.get(key)
        loop = asyncio.get_running_loop()
        borrowed = Borrowed(loop, http)
        try:
            identity: Identity
            if held is not None:
                identity = held.identity
            elif account is not None:
                identity = read_key(account)
            else:
                identity = await loop.run_in_executor(self._threads, find_default, borrowed)
            await loop.run_in_executor(self._threads, identity.refresh, borrowed)
        except GatewayError as error:
            return error
        except Exception as error:  # google-auth's, and what broken key files make it raise
            return _explain(error)
        token = Secret(identity.token)
        self._held[key] = _Held(identity, token, self._clock() + max(_read_seconds(identity.expiry) - MARGIN, 0.0))
        self._held.move_to_end(key)
        if len(self._held) > HELD:
            self._held.popitem(last=False)
        return token


class Borrowed(google.auth.transport.Request):
    """google-auth's transport over an aiohttp session; called in threads, it asks on the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, http: ClientSession) -> None:
        self._loop = loop
        self._http = http

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **_: Any,
    ) -> google.auth.transport.Response:
        limit = min(timeout or TIMEOUT, TIMEOUT)
        future = asyncio.run_coroutine_threadsafe(self._ask(url, method, body, dict(headers or {})), self._loop)
        try:
            return future.result(limit)
        except Exception as error:  # whatever an HTTP client raises; it may hold the assertion
            future.cancel()
            raise google.auth.exceptions.TransportError(type(error).__name__) from None  # type: ignore[no-untyped-call]

    async def _ask(self, url: str, method: str, body: bytes | None, headers: dict[str, str]) -> _Answer:
        async with self._http.request(method, url, data=body, headers=headers, allow_redirects=False) as response:
            return _Answer(response.status, dict(response.headers), await response.read())


class _Answer(google.auth.transport.Response):
    def __init__(self, status: int, headers: Mapping[str, str], data: bytes) -> None:
        self._status, self._headers, self._data = status, headers, data

    @property
    def status(self) -> int:
        return self._status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._headers

    @property
    def data(self) -> bytes:
        return self._data


def read_key(account: Secret) -> Identity:
    """Raises RequestError for what is no service account's key, or names a strange place to ask for tokens."""
    try:
        info = parse_object(account.reveal().encode())
        address = urlsplit(as_text(info.get("token_uri")) or "")
        if (address.scheme, address.hostname in TOKEN_HOSTS, address.port) != ("https", True, None):
            raise RequestError(f"{FIELD}: token_uri must be one of Google's", param=FIELD)
        if info.get("universe_domain", "googleapis.com") != "googleapis.com":
            raise RequestError(f"{FIELD}: universe_domain must be googleapis.com", param=FIELD)
        make = service_account.Credentials.from_service_account_info
        return make(info, scopes=list(SCOPES))  # type: ignore[no-untyped-call]
    except RequestError:
        raise
    except Exception as error:  # its text may hold parts of the key
        raise RequestError(f"{FIELD} is no key of a service account ({type(error).__name__})", param=FIELD) from None


def find_default(borrowed: Borrowed) -> Identity:
    """Application default credentials. Looks at files and asks the metadata server: not for the event loop."""
    identity, _ = google.auth.default(scopes=list(SCOPES), request=borrowed)
    return identity


def _explain(error: Exception) -> GatewayError:
    if isinstance(error, google.auth.exceptions.TransportError):
        return ConnectFailed(f"Google could not be asked for a token ({str(error)[:100]})")
    if isinstance(error, google.auth.exceptions.DefaultCredentialsError):
        return UpstreamStatus("vertex-ai found no default credentials", status=401, error_type="authentication_error")
    if not isinstance(error, google.auth.exceptions.GoogleAuthError):
        return UpstreamStatus(f"Google gave no token ({type(error).__name__})", status=502)
    reason = str(error.args[0]) if error.args else type(error).__name__
    status = 503 if getattr(error, "retryable", False) else 401
    return UpstreamStatus(f"Google gave no token: {reason[:500]}", status=status, error_type="authentication_error")


def _read_seconds(expiry: datetime | None) -> float:
    """How long a token lasts from now; google-auth's times are UTC, without saying so."""
    if expiry is None:
        return 0.0
    return (expiry.replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds()
