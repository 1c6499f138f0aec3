"""From a request's headers to its target, remembered: most clients send the same headers with every call."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import msgspec

from ..config.headers import CallHeaders, read_call_headers
from ..config.model import Config
from ..config.parse import ConfigCache
from ..config.resolve import names_target, resolve_target
from ..errors import ConfigError
from ..registry import Registry
from ..settings import Settings
from ..types import Headers, Target, Trace
from .auth import Caller

LIMIT = 16 * 1024 * 1024  # bytes held, by `_weigh`
OVERHEAD = 4096  # a target, its headers and the entry, beside their text

Key = tuple[Headers, str | None]


class Targets:
    """Resolves, and keeps what was resolved; refused requests are not kept. Least recently used out first."""

    def __init__(
        self,
        registry: Registry,
        settings: Settings,
        default: Config | None,
        configs: ConfigCache,
        *,
        limit: int = LIMIT,
    ) -> None:
        self._providers = registry.providers
        self._options = frozenset(name for provider in registry.providers.values() for name in provider.options)
        self._settings = settings
        self._default = default
        self._configs = configs
        self._limit = limit
        self._size = 0
        self._held: OrderedDict[Key, tuple[CallHeaders, Target]] = OrderedDict()

    def find(self, caller: Caller, new_id: Callable[[], str]) -> tuple[CallHeaders, Target]:
        """What the caller's headers say, and where the call goes. Raises ConfigError."""
        key = (caller.gateway, caller.credential.secret.reveal() if caller.credential is not None else None)
        held = self._held.get(key)
        if held is None:
            return self._resolve(key, caller, new_id)
        self._held.move_to_end(key)
        headers, target = held
        if headers.trace.id:
            return held
        trace = msgspec.structs.replace(headers.trace, id=new_id())
        return msgspec.structs.replace(headers, trace=trace), target

    def has_target(self, caller: Caller) -> bool:
        """Whether a request says, or the settings say, where it goes; True too for headers that are wrong."""
        if self._default is not None:
            return True
        try:
            return names_target(self.read(caller, str))
        except ConfigError:
            return True

    def read(self, caller: Caller, new_id: Callable[[], str]) -> CallHeaders:
        return read_call_headers(
            caller.gateway, self._options, new_id=new_id, max_config=self._settings.max_config_header
        )

    def _resolve(self, key: Key, caller: Caller, new_id: Callable[[], str]) -> tuple[CallHeaders, Target]:
        headers = self.read(caller, str)  # an id that is made up is not remembered
        target = resolve_target(
            headers,
            configs=self._configs,
            default=self._default,
            providers=self._providers,
            ours=self._settings.providers,
            caller=caller.credential,
            deadlines=self._settings.deadlines,
        )
        self._held[key] = headers, target
        self._size += _weigh(key)
        while self._size > self._limit:
            dropped, _ = self._held.popitem(last=False)
            self._size -= _weigh(dropped)
        if headers.trace.id:
            return headers, target
        return msgspec.structs.replace(headers, trace=msgspec.structs.replace(headers.trace, id=new_id())), target


def read_trace_id(gateway: Headers) -> str | None:
    """The caller's trace id where it can be echoed, for answers to headers that could not be read."""
    for name, value in gateway:
        if name.endswith("-trace-id") and 0 < len(value) <= 256 and value.isprintable():
            return value
    return None


def trace_of(call_id: str, gateway: Headers) -> Trace:
    return Trace(id=read_trace_id(gateway) or call_id)


def _weigh(key: Key) -> int:
    return OVERHEAD + 4 * sum(len(name) + len(value) for name, value in key[0])
