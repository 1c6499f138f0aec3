"""The parsed config, and the table of the fields a config may have."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import msgspec

from aiogateway.types import Origin, Secret

MAX_TIMEOUT = 86_400_000
"""The longest `request_timeout`, in milliseconds: a day."""


class State(enum.StrEnum):
    """What becomes of a field or a header."""

    USED = "used"
    ACCEPTED = "accepted"  # harmless: what it asks for is already so
    LATER = "later"  # Portkey knows it, we don't yet: refused


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """A config for one target. `request_timeout` is milliseconds; `source` is what error messages call it.

    `options` are the provider's own fields, already of the kind that its `Option` asks for.
    """

    source: str
    origin: Origin
    provider: str | None = None
    api_key: Secret | None = None
    custom_host: str | None = None
    override_params: Mapping[str, Any] = {}
    forward_headers: tuple[str, ...] | None = None
    request_timeout: int | None = None
    name: str | None = None
    options: Mapping[str, Any] = {}

    def __repr__(self) -> str:  # options and override_params may hold what nobody should read in a log
        return f"<config from {self.source}: {self.provider or 'no provider'}>"


FIELDS: Mapping[str, State] = {
    **dict.fromkeys(
        (
            "provider",
            "api_key",
            "custom_host",
            "override_params",
            "forward_headers",
            "request_timeout",
            "name",
        ),
        State.USED,
    ),
    "strict_open_ai_compliance": State.ACCEPTED,
    **dict.fromkeys(
        (
            "after_request_hooks",
            "before_request_hooks",
            "cache",
            "default_input_guardrails",
            "default_output_guardrails",
            "guardrails",
            "input_guardrails",
            "input_mutators",
            "on_status_codes",
            "output_guardrails",
            "output_mutators",
            "retry",
            "strategy",
            "targets",
            "virtual_key",
            "weight",
        ),
        State.LATER,
    ),
}
"""Every field of Portkey's schema but the providers' own options (shared by all providers, top level of a config)."""
