"""What the plugins brought, frozen at start."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from aiogateway.contracts import Dialect, LogSink, Observer, Provider, RetryPolicy
from aiogateway.errors import PluginError
from aiogateway.types import Call, Endpoint

CLIENT_DIALECTS: Mapping[Endpoint, str] = {
    Endpoint.CHAT: "openai_chat",
    Endpoint.COMPLETIONS: "openai_completions",
    Endpoint.EMBEDDINGS: "openai_embeddings",
    Endpoint.RESPONSES: "openai_responses",
    Endpoint.MESSAGES: "anthropic",
    Endpoint.COUNT_TOKENS: "anthropic_tokens",
}
"""What a client speaks that calls an endpoint under ``/v1/``."""


class PluginInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One loaded plugin; `hooks` are the names it implements, `providers` what it registered, `module` where it is."""

    name: str
    distribution: str
    version: str
    hooks: tuple[str, ...]
    builtin: bool
    providers: tuple[str, ...] = ()
    module: str = ""


class Registry(msgspec.Struct, frozen=True, kw_only=True):
    """Name to object. `observers` has one entry per plugin that implements `observe_call`.

    Neither an observer nor a retry policy of here ever raises. `barred` are installed, but not allowed.
    """

    providers: Mapping[str, Provider] = {}
    dialects: Mapping[str, Dialect] = {}
    retry_policies: Mapping[str, RetryPolicy] = {}
    sinks: tuple[LogSink, ...] = ()
    observers: tuple[Callable[[Call], Observer | None], ...] = ()
    plugins: tuple[PluginInfo, ...] = ()
    barred: tuple[PluginInfo, ...] = ()

    def client_dialect(self, endpoint: Endpoint) -> Dialect:
        """What clients of `endpoint` speak. Raises PluginError when no plugin brought it."""
        name = CLIENT_DIALECTS[endpoint]
        try:
            return self.dialects[name]
        except KeyError:
            raise PluginError(
                f"the dialect {name} is not loaded", plugin="aiogateway.dialects.builtin", hook="register_dialects"
            ) from None
