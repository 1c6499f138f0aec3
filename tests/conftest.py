"""What every test shares: aioresponses, mended for aiohttp 3.14."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import aiohttp
import aioresponses.core


class MendedClientResponse(aiohttp.ClientResponse):
    """aioresponses 0.7.9 doesn't know the argument that aiohttp 3.14 added to this class.

    Goes away with the fix: https://github.com/pnuckowski/aioresponses/issues/289 (pull request 288). A body arrives as
    one chunk, so this serves tests of request shapes; streams are tested against a real server.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("stream_writer", SimpleNamespace(output_size=0))
        super().__init__(*args, **kwargs)


aioresponses.core.ClientResponse = MendedClientResponse  # type: ignore[attr-defined]  # it has it from aiohttp
