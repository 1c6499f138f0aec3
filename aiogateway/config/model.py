"""The config object as it was written, parsed: a tree of `Config` nodes, and the table of the fields each may have.

Nothing is inherited here; that is `inherit`'s work.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

import msgspec

from aiogateway.config.conditions import Query
from aiogateway.types import CacheRules, CircuitRules, Origin, Recovery, Retry, Secret

MAX_DEPTH = 8
"""Levels of nodes a config may have, the root included."""
MAX_LEAVES = 64
MAX_RETRIES = 5
"""The most that `retry.attempts` may be."""


class Mode(enum.StrEnum):
    """How a strategy chooses among its targets."""

    SINGLE = "single"
    FALLBACK = "fallback"
    LOADBALANCE = "loadbalance"
    CONDITIONAL = "conditional"


class State(enum.StrEnum):
    """What becomes of a field or a header."""

    USED = "used"
    ACCEPTED = "accepted"  # harmless: what it asks for is already so
    LATER = "later"  # Portkey knows it, we don't yet: refused


class Condition(msgspec.Struct, frozen=True):
    """When `query` matches, the target called `then` is taken."""

    query: Query
    then: str


class Strategy(msgspec.Struct, frozen=True, kw_only=True):
    """`failover` is loadbalance's: draw again when the chosen target fails as a fallback would."""

    mode: Mode
    on_status_codes: frozenset[int] | None = None
    conditions: tuple[Condition, ...] = ()
    default: str | None = None
    circuit: CircuitRules | None = None
    failover: bool = False


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """One node. `path` is its address: empty for the root, ``targets[1].targets[0]``.

    A node with a `strategy` and `targets` is a branch, any other a leaf. `source` is what messages call the whole
    config. `timeouts` are milliseconds by the name of the deadline (connect, first_token, idle, client_stall, total);
    `request_timeout` is first_token's older name. `recovery` is None where the config does not say, False where it
    says off. `options` are the provider's own fields, already of the kind that its `Option` asks for.
    """

    source: str
    origin: Origin
    path: str = ""
    provider: str | None = None
    api_key: Secret | None = None
    virtual_key: str | None = None
    custom_host: str | None = None
    override_params: Mapping[str, Any] = {}
    forward_headers: tuple[str, ...] | None = None
    timeouts: Mapping[str, int] = {}
    name: str | None = None
    weight: float = 1.0
    retry: Retry | None = None
    cache: CacheRules | None = None
    recovery: Recovery | bool | None = None
    strict: bool | None = None
    strategy: Strategy | None = None
    targets: tuple[Config, ...] = ()
    options: Mapping[str, Any] = {}
    trace_id: str | None = None
    metadata: Mapping[str, Any] = {}

    def __repr__(self) -> str:  # options and override_params may hold what nobody should read in a log
        return f"<config from {self.source} {self.path}: {self.provider or 'no provider'}>"


class Field(msgspec.Struct, frozen=True):
    """A row of the table of fields."""

    name: str
    meaning: str
    state: State = State.USED


FIELD_TABLE: tuple[Field, ...] = (
    Field("provider", "which one; `aiogateway plugins` lists the packages they come from"),
    Field("api_key", "your credential for it"),
    Field("virtual_key", "the name of a key kept in a vault; there is none yet, so a call that would use it is a 400"),
    Field("custom_host", "a base URL instead of the provider's own; for `openai` up to and including its `/v1`"),
    Field("override_params", "fields that replace those of the request's body; nulls are left out"),
    Field("forward_headers", "names of your headers that the provider is to see; else calls to models carry none"),
    Field("request_timeout", "another name for `timeouts.first_token`"),
    Field("timeouts", "deadlines in milliseconds: `connect`, `first_token`, `idle`, `client_stall`, `total`"),
    Field("retry", "how often and for what one target is tried again"),
    Field("strict", "a parameter that a target's wire can't express is a 400 that names it, and not left out"),
    Field("stream_recovery", "what happens to a stream that breaks after its first token"),
    Field("cache", "checked, and without effect until there is a cache"),
    Field("strategy", "how to choose among `targets`, and when a target's circuit opens"),
    Field("targets", "configs of their own, which may have targets too"),
    Field("weight", "a target's share of its loadbalance, from 0; 1 unless given"),
    Field("name", "what `conditions` call a target; else for you to know it by"),
    Field("on_status_codes", "belongs in `strategy` or `retry`", State.ACCEPTED),
    Field("strict_open_ai_compliance", "answers keep the provider's bytes", State.ACCEPTED),
    Field("before_request_hooks", "guardrails", State.LATER),
    Field("after_request_hooks", "guardrails", State.LATER),
    Field("guardrails", "guardrails", State.LATER),
    Field("input_guardrails", "guardrails", State.LATER),
    Field("output_guardrails", "guardrails", State.LATER),
    Field("default_input_guardrails", "guardrails", State.LATER),
    Field("default_output_guardrails", "guardrails", State.LATER),
    Field("input_mutators", "guardrails", State.LATER),
    Field("output_mutators", "guardrails", State.LATER),
)
"""Every field of a node but the providers' own options."""
FIELDS: Mapping[str, State] = {field.name: field.state for field in sorted(FIELD_TABLE, key=lambda row: row.name)}
"""What becomes of each, by name, in the order in which messages list them."""
