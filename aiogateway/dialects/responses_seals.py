"""Providers' seals over thoughts and calls, in the one opaque string that a wire has for them.

A client of Responses keeps a reasoning item's `encrypted_content` and sends it back unread. What another provider wants
back with its thoughts travels in it as ``aiogateway.1.`` and the base64url of a JSON object (`Seal`), unsigned and not
encrypted: it holds nothing that the provider did not mean the client to have.

The other way round a Responses provider's own `encrypted_content` is a neutral signature, or sealed thoughts, as
``openai_responses:ID:CONTENT``, whatever the client's wire: so it finds its way back to its kind and to no other.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

import msgspec

PREFIX = "aiogateway.1."
MARK = "openai_responses:"


class Seal(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a provider wants back with a thought: its `signature` over the text, or the `sealed` thought, and its own
    `id` for it. `calls`: its signatures over tool calls, by the calls' ids.
    """

    signature: str | None = None
    sealed: str | None = None
    id: str | None = None
    calls: Mapping[str, str] = {}


def wrap(seal: Seal) -> str:
    """`encrypted_content` for a client."""
    return PREFIX + base64.urlsafe_b64encode(msgspec.json.encode(seal)).decode()


def unwrap(content: str) -> Seal | None:
    """The seal in a client's `encrypted_content`; None when it is not one that `wrap` wrote."""
    if not content.startswith(PREFIX):
        return None
    try:
        return msgspec.json.decode(base64.b64decode(content[len(PREFIX) :], b"-_", validate=True), type=Seal)
    except (binascii.Error, msgspec.MsgspecError, ValueError):
        return None


def mark(content: str, identity: str | None) -> str:
    """A Responses provider's `encrypted_content` and its item's id, as one neutral seal."""
    return f"{MARK}{identity or ''}:{content}"


def unmark(seal: str | None) -> tuple[str, str | None] | None:
    """`encrypted_content` and id of what `mark` made; None when the seal is another kind of provider's."""
    if seal is None or not seal.startswith(MARK):
        return None
    identity, _, content = seal.removeprefix(MARK).partition(":")
    return content, identity or None
