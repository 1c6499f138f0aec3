"""Thoughts of another provider in a request that goes out in the client's own wire: they are left out.

They came from an earlier target of the same client and mean nothing to this one, which would refuse the whole request
for them. A strict target refuses the request itself, by the path of the first one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec
import orjson

from aiogateway.dialects.responses_seals import PREFIX
from aiogateway.dialects.seals import Kept, drop_blocks, drop_items
from aiogateway.errors import Unsupported
from aiogateway.types import Request, Target


def drop_foreign(request: Request, target: Target) -> Request:
    """The same value where nothing is to be left out. Raises Unsupported under a strict target."""
    sift = _SIFTS.get(request.dialect)
    if sift is None:
        return request
    field, mark, drop = sift
    if mark not in request.raw:
        return request
    kept, lost = drop(request, target)
    if not lost:
        return request
    if target.strict:
        raise Unsupported(f"{target.provider} can't use thoughts of another provider: {', '.join(lost)}", param=lost[0])
    body = {**request.body, field: kept}
    return msgspec.structs.replace(request, body=body, raw=orjson.dumps(body))


def _drop_items(request: Request, target: Target) -> Kept:
    return drop_items(request.body.get("input"))


def _drop_blocks(request: Request, target: Target) -> Kept:
    """Some hosts of this wire seal nothing, and want their thoughts back as they are."""
    return drop_blocks(request.body.get("messages"), unsealed=target.host is None)


_SIFTS: Mapping[str, tuple[str, bytes, Callable[[Request, Target], Kept]]] = {
    "openai_responses": ("input", PREFIX.encode(), _drop_items),
    "anthropic": ("messages", b"thinking", _drop_blocks),
    "anthropic_tokens": ("messages", b"thinking", _drop_blocks),
}
"""By dialect: the field, and bytes without which there is nothing to look for."""

__all__ = ["drop_foreign"]
