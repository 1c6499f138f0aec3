"""Microsoft Entra ID: access tokens for an application's id and secret, kept until shortly before they end.

Wire: RFC 6749 4.4, client credentials, at the address and with the scope of Portkey's
``src/providers/azure-openai/utils.ts``.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from aiogateway.dialects.payload import as_count, as_text, parse_object
from aiogateway.errors import ConnectFailed, GatewayError, RequestError, UpstreamStatus
from aiogateway.tasks import start_task
from aiogateway.types import Credential, Origin, Secret

if TYPE_CHECKING:
    from aiohttp import ClientSession

AUTHORITY = "https://login.microsoftonline.com"
SCOPE = "https://cognitiveservices.azure.com/.default"
MARGIN = 300  # seconds before its end from which a token is renewed
HELD = 256  # tokens
KEYLESS = ("azure_entra_tenant_id", "azure_entra_client_id", "azure_entra_client_secret")
"""The options that say who asks for a token."""

_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,127}")


class Login(msgspec.Struct, frozen=True, kw_only=True):
    """An application that logs in: `tenant` is a GUID or a domain."""

    tenant: str
    client_id: str
    secret: Secret
    scope: str = SCOPE

    def __post_init__(self) -> None:
        if not _TENANT.fullmatch(self.tenant):
            raise RequestError("azure_entra_tenant_id must be a GUID or a domain", param="azure_entra_tenant_id")

    @property
    def key(self) -> bytes:
        """The same for the same login; says nothing of the secret."""
        said = (self.tenant, self.client_id, self.secret.reveal(), self.scope)
        return hashlib.sha256("\0".join(said).encode()).digest()


def read_login(options: Mapping[str, Any]) -> Login | Credential | None:
    """How a target's options want a token to be got: one that is there, one to ask for, or not at all.

    Raises RequestError for ways that aren't offered, and for a login that lacks a part.
    """
    mode, given = options.get("azure_auth_mode", "apiKey"), options.get("azure_ad_token")
    if given is not None:
        token = _hide(given).reveal().removeprefix("Bearer ")
        return Credential(Secret(token), Origin.OURS, "azure_ad_token")
    if mode == "apiKey":
        return None
    if mode != "entra":
        reason = "azure_auth_mode can be entra or apiKey here; managed and workload identities are not offered"
        raise RequestError(reason, param="azure_auth_mode")
    missing = [name for name in KEYLESS if not options.get(name)]
    if missing:
        raise RequestError(f"azure_auth_mode entra also needs {', '.join(missing)}", param=missing[0])
    tenant, client_id, secret = (options[name] for name in KEYLESS)
    scope = options.get("azure_entra_scope", SCOPE)
    return Login(tenant=tenant, client_id=client_id, secret=_hide(secret), scope=scope)


def _hide(value: Secret | str) -> Secret:
    return value if isinstance(value, Secret) else Secret(value)


class TokenBox:
    """Tokens by login. Callers that need the same one at once wait for one request."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._held: OrderedDict[bytes, tuple[Secret, float]] = OrderedDict()
        self._asked: dict[bytes, asyncio.Task[Secret | GatewayError]] = {}

    async def get(self, login: Login, http: ClientSession) -> Credential:
        """Raises UpstreamStatus with Entra's status and words, ConnectFailed when it can't be asked."""
        key = login.key
        token, until = self._held.get(key, (None, 0.0))
        if token is not None and self._clock() < until:
            self._held.move_to_end(key)
            return Credential(token, Origin.OURS, "Entra ID's token")
        task = self._asked.get(key)
        if task is None:
            task = start_task(self._renew(key, login, http), name="entra-token")
            self._asked[key] = task
            task.add_done_callback(lambda _: self._asked.pop(key, None))
        # Shielded: a caller that leaves must not take the others' token with it.
        answer = await asyncio.shield(task)
        if isinstance(answer, GatewayError):
            raise answer
        return Credential(answer, Origin.OURS, "Entra ID's token")

    async def _renew(self, key: bytes, login: Login, http: ClientSession) -> Secret | GatewayError:
        """The failure is a value: several callers may wait for it, and none of them for the log."""
        try:
            token, seconds = await _request_token(login, http)
        except GatewayError as error:
            return error
        self._held[key] = token, self._clock() + max(seconds - MARGIN, 0)
        self._held.move_to_end(key)
        if len(self._held) > HELD:
            self._held.popitem(last=False)
        return token


async def _request_token(login: Login, http: ClientSession) -> tuple[Secret, int]:
    form = {
        "grant_type": "client_credentials",
        "client_id": login.client_id,
        "client_secret": login.secret.reveal(),
        "scope": login.scope,
    }
    try:
        async with http.post(f"{AUTHORITY}/{login.tenant}/oauth2/v2.0/token", data=form) as response:
            status, body = response.status, await response.read()
    except Exception as error:  # whatever an HTTP client raises; it may hold the form
        raise ConnectFailed(f"Entra ID could not be asked for a token ({type(error).__name__})") from None
    answer = _parse(body)
    token = as_text(answer.get("access_token"))
    if status != 200 or not token:
        reason = as_text(answer.get("error_description")) or as_text(answer.get("error")) or f"status {status}"
        raise UpstreamStatus(
            f"Entra ID gave no token: {reason[:500]}",
            status=status if 400 <= status <= 599 else 502,
            error_type="authentication_error",
            error_code=as_text(answer.get("error")),
        )
    return Secret(token), as_count(answer.get("expires_in"))


def _parse(body: bytes) -> dict[str, Any]:
    try:
        return parse_object(body)
    except ValueError:
        return {}
