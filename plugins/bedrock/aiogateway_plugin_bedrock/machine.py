"""The machine's own AWS credentials, by botocore's default chain: environment, profile, container, metadata service.

botocore may read files, start programs and wait for the network for them, so it does in a thread. It renews temporary
keys by itself, from 15 minutes before their end on, each time it is asked for them; we ask once a minute.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

from botocore.session import Session  # type: ignore[import-untyped,import-not-found,unused-ignore]
from botocore.utils import get_token_from_environment  # type: ignore[import-untyped,import-not-found,unused-ignore]

from aiogateway.errors import UpstreamError
from aiogateway.types import Secret
from aiogateway_plugin_bedrock.identity import Keys
from aiogateway_plugin_bedrock.leases import Lease
from aiogateway_plugin_bedrock.sign import SERVICE

log = logging.getLogger(__name__)

FRESH = 60.0
VALID = 300.0  # botocore insists on renewing keys that have ten minutes left: these have five at the least


class Machine:
    """What botocore finds; nothing is looked for before the first use."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._credentials: Any = None

    async def fetch_keys(self) -> Lease[Keys | Secret]:
        """An access key. Raises UpstreamError when there is none."""
        return await _fetch(self._find_keys, "no AWS credentials are found on the gateway's machine")

    async def fetch_bearer(self) -> Lease[Keys | Secret]:
        """The Bedrock API key of the environment. Raises UpstreamError when there is none."""
        return await _fetch(_find_bearer, "no Bedrock API key is found on the gateway's machine")

    async def fetch_any(self) -> Lease[Keys | Secret]:
        """The Bedrock API key of the environment if there is one, else an access key: as AWS's own clients do."""
        find = _find_bearer if _find_bearer() is not None else self._find_keys
        return await _fetch(find, "no AWS credentials are found on the gateway's machine")

    def _find_keys(self) -> Keys | None:
        with self._lock:
            if self._credentials is None:
                self._credentials = Session().get_credentials()
            if self._credentials is None:
                return None
            frozen = self._credentials.get_frozen_credentials()
        token = Secret(frozen.token) if frozen.token else None
        return Keys(frozen.access_key, Secret(frozen.secret_key), token)


def _find_bearer() -> Secret | None:
    """AWS_BEARER_TOKEN_BEDROCK; a profile's single sign-on token is for other services."""
    token = get_token_from_environment(SERVICE)
    return Secret(token) if token else None


async def _fetch(find: Callable[[], Keys | Secret | None], missing: str) -> Lease[Keys | Secret]:
    try:
        found = await asyncio.to_thread(find)
    except Exception as error:  # botocore's own, and whatever a profile's file or program may bring
        log.warning("botocore's credential chain failed: %s", type(error).__name__)
        raise UpstreamError("the gateway's own AWS credentials could not be had") from error
    if found is None:
        raise UpstreamError(missing)
    return Lease(found, FRESH, VALID)
