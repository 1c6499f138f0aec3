"""From a request's headers to the tree of its targets, remembered: most clients send the same headers every time."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec

from ..config.headers import CallHeaders, read_call_headers
from ..config.model import Config
from ..config.parse import ConfigCache
from ..config.resolve import names_target, resolve_tree
from ..config.shelf import Shelf
from ..config.tree import Branch, Tree
from ..errors import ConfigError
from ..registry import Registry
from ..settings import Settings
from ..types import GATEWAY_PREFIXES, Headers, Trace
from .auth import Caller

LIMIT = 8 * 1024 * 1024  # bytes each of the two shelves holds, by `_weigh`
OVERHEAD = 2048  # a target, or an entry with its headers, beside their text
ITEM = 128  # a key and its place in a mapping that a target has to itself
IDLE = 600.0  # seconds without use after which an entry goes: it may hold a credential

# What differs from call to call and says nothing about where it goes
LABELS = frozenset(
    prefix + suffix
    for prefix in GATEWAY_PREFIXES
    for suffix in ("explain", "metadata", "parent-span-id", "span-id", "span-name", "trace-id")
)

Key = tuple[Headers, str | None]
Found = tuple[CallHeaders, Tree]


class Targets:
    """Resolves, and keeps what was resolved; refused requests are not kept.

    Two shelves: one by all headers, for clients that always send the same, and one by those that say where to go, for
    clients that name each call.
    """

    def __init__(
        self,
        registry: Registry,
        settings: Settings,
        default: Config | None,
        configs: ConfigCache,
        *,
        limit: int = LIMIT,
        idle: float = IDLE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._providers = registry.providers
        self._options = frozenset(name for provider in registry.providers.values() for name in provider.options)
        self._settings = settings
        self._default = default
        self._configs = configs
        self._found: Shelf[Key, Found] = Shelf(limit, idle, clock, period=idle / 10)
        self._trees: Shelf[Key, tuple[Tree, int]] = Shelf(limit, idle, clock, period=idle / 10)

    def find(self, caller: Caller, new_id: Callable[[], str], *, config: str | None = None) -> Found:
        """What the caller's headers say, and where the call goes. Raises ConfigError.

        `config` is the text of a config (or a slug) that came in the body, in place of the header.
        """
        secret = caller.credential.secret.reveal() if caller.credential is not None else None
        if config is not None:
            found = self._read_body_config(config, caller, secret)
        else:
            key = (caller.gateway, secret)
            known = self._found.get(key)
            found = known if known is not None else self._read_headers(key, caller)
        headers, tree = found
        if headers.trace.id:
            return found
        return msgspec.structs.replace(headers, trace=msgspec.structs.replace(headers.trace, id=new_id())), tree

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

    def _read_headers(self, key: Key, caller: Caller) -> Found:
        headers = self.read(caller, str)  # an id that is made up is not remembered
        pairs = tuple(pair for pair in caller.gateway if pair[0] not in LABELS)
        tree, weight = self._find_tree((pairs, key[1]), headers, caller)
        found = headers, tree
        self._found.put(key, found, _weigh(key) + weight)
        return found

    def _read_body_config(self, text: str, caller: Caller, secret: str | None) -> Found:
        """As if the body's config had come in the headers; messages call it ``config``, as the body does."""
        headers = self.read(caller, str)
        if headers.config is not None:
            path = headers.name_of("config")
            raise ConfigError("is given beside the config in the body: send one of them", path=path)
        limit = self._settings.max_config_header
        if len(text.encode("utf-8", "surrogatepass")) > limit:
            raise ConfigError(f"must be at most {limit} bytes", path="config")
        headers = msgspec.structs.replace(headers, config=text, names={**headers.names, "config": "config"})
        pairs = tuple(pair for pair in caller.gateway if pair[0] not in LABELS)
        return headers, self._find_tree(((*pairs, ("config", text)), secret), headers, caller)[0]

    def _find_tree(self, key: Key, headers: CallHeaders, caller: Caller) -> tuple[Tree, int]:
        """The tree, and the bytes that it holds."""
        known = self._trees.get(key)
        if known is None:
            tree = resolve_tree(
                headers,
                configs=self._configs,
                default=self._default,
                providers=self._providers,
                ours=self._settings.providers,
                caller=caller.credential,
                deadlines=self._settings.deadlines,
            )
            known = tree, _weigh_tree(tree)
            self._trees.put(key, known, _weigh(key) + known[1])
        return known


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


def _weigh_tree(tree: Tree) -> int:
    if isinstance(tree, Branch):
        return OVERHEAD + sum(map(_weigh_tree, tree.children))
    return OVERHEAD + ITEM * (len(tree.override_params) + len(tree.options) + len(tree.forward_headers))
