"""Plugins, built-in and installed, to one `Registry`. Every error names the plugin that caused it.

Built-ins come in through the same door as everyone else's. A broken plugin stops the start; one that raises while it
watches a call is isolated, counted and named in the log.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import pluggy

from aiogateway import hookspecs
from aiogateway.config.fields import read_option, show, suggest
from aiogateway.config.headers import HEADERS
from aiogateway.config.model import FIELDS
from aiogateway.contracts import Dialect, LogSink, Provider, RetryPolicy
from aiogateway.errors import ConfigError, PluginError, SettingsError
from aiogateway.registry import PluginInfo, Registry
from aiogateway.retries.guarded import GuardedPolicy
from aiogateway.settings import PluginSettings, ProviderSettings, Settings
from aiogateway.telemetry.observers import GuardedObserver, Report
from aiogateway.types import Option

if TYPE_CHECKING:
    import click

GROUP = "aiogateway"
"""The entry-point group of installed plugins."""

DEFAULT_PLUGINS = (
    "aiogateway.providers.anthropic",
    "aiogateway.providers.azure",
    "aiogateway.providers.cohere",
    "aiogateway.providers.compatible",
    "aiogateway.providers.google",
    "aiogateway.providers.groq",
    "aiogateway.providers.huggingface",
    "aiogateway.providers.mistral",
    "aiogateway.providers.openai",
    "aiogateway.providers.mock",
    "aiogateway.dialects.builtin",
    "aiogateway.retries.exponential",
    "aiogateway.telemetry.sinks",
)

T = TypeVar("T")
log = logging.getLogger(__name__)

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_OPTION_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")

Closer = Callable[[], Awaitable[Any]]
_Point = importlib.metadata.EntryPoint
_Points = Iterable[_Point]


class _Plugin(NamedTuple):
    """A plugin before it is registered."""

    name: str
    distribution: str
    version: str
    builtin: bool
    value: Any

    @property
    def origin(self) -> str:
        """The distribution and its version."""
        return f"{self.distribution} {self.version}".rstrip()

    @property
    def label(self) -> str:
        """What errors, the log and pluggy call it."""
        return self.name if self.builtin else f"{self.name} (from {self.origin})"


def load_plugins(
    settings: Settings,
    *,
    installed: Iterable[importlib.metadata.EntryPoint] | None = None,
    given: Mapping[str, object] = MappingProxyType({}),
    report: Report | None = None,
) -> tuple[pluggy.PluginManager, Registry]:
    """Imports and registers all plugins, and fills the registry.

    `installed` defaults to the entry points of this environment; `given` are plugins that were not installed, by name;
    `report` hears how long plugins hold up calls, and when they raise. Raises PluginError for a plugin that is broken,
    and SettingsError for settings about plugins or providers that are not there.
    """
    manager = _new_manager()
    points, barred = _choose(settings.plugins, installed)
    plugins = [*_import_builtins(), *map(_import_installed, points), *_take_given(given)]
    for plugin in plugins:
        _register(manager, plugin)
    providers: _Shelf[Provider] = _Shelf("provider", settings.plugins.override)
    dialects: _Shelf[Dialect] = _Shelf("dialect", settings.plugins.override)
    policies: _Shelf[RetryPolicy] = _Shelf("retry policy", settings.plugins.override)
    sinks: _Shelf[LogSink] = _Shelf("log sink", settings.plugins.override)
    for plugin in plugins:
        _run(manager, plugin, "register_dialects", register=dialects.door(plugin, _check_dialect))
        _run(manager, plugin, "register_providers", register=providers.door(plugin, _check_provider))
        _run(
            manager,
            plugin,
            "register_retry_policies",
            register=policies.door(plugin, _check_policy),
            settings=settings,
        )
        _run(manager, plugin, "register_log_sinks", register=sinks.door(plugin, _check_sink), settings=settings)
    check_providers(settings.providers, providers.values)
    registry = Registry(
        providers=providers.values,
        dialects=dialects.values,
        retry_policies={
            name: GuardedPolicy(policies.owner(name), policy, report=report) for name, policy in policies.values.items()
        },
        sinks=tuple(sinks.values.values()),
        observers=tuple(
            GuardedObserver(impl.plugin_name, impl.function, takes_call=bool(impl.argnames), report=report)
            for impl in manager.hook.observe_call.get_hookimpls()
        ),
        plugins=tuple(_describe(manager, plugin, providers.of(plugin)) for plugin in plugins),
        barred=tuple(_describe(manager, _name_plugin(point)) for point in barred),
    )
    return manager, registry


def load_installed(
    settings: PluginSettings, *, installed: Iterable[importlib.metadata.EntryPoint] | None = None
) -> pluggy.PluginManager:
    """Installed plugins alone: what the command line needs to know which commands there are."""
    manager = _new_manager()
    points, _ = _choose(settings, installed)
    for plugin in map(_import_installed, points):
        _register(manager, plugin)
    return manager


def add_commands(manager: pluggy.PluginManager, cli: click.Group) -> None:
    """Adds the plugins' commands to `cli`."""
    for impl in manager.hook.register_commands.get_hookimpls():
        with _blaming(impl.plugin_name, "register_commands"):
            impl.function(*[cli] * len(impl.argnames))


async def start_plugins(manager: pluggy.PluginManager, gateway: Any) -> list[tuple[str, Closer]]:
    """Runs every `startup` in the order of loading; what they return goes to `stop_plugins` at the end.

    Raises PluginError, after closing what had been started.
    """
    closers: list[tuple[str, Closer]] = []
    for impl in manager.hook.startup.get_hookimpls():
        try:
            with _blaming(impl.plugin_name, "startup"):
                start: Callable[..., Any] = impl.function
                closer: Closer | None = await start(*[gateway] * len(impl.argnames))
                if closer is not None:
                    closers.append((impl.plugin_name, closer))
        except PluginError:
            await stop_plugins(closers)
            raise
    return closers


async def stop_plugins(closers: list[tuple[str, Closer]]) -> None:
    """Awaits the closers, last started first; one that raises is logged and keeps no other from running."""
    for label, closer in reversed(closers):
        try:
            await closer()
        except Exception:
            log.exception("plugin %s failed to close", label)


def check_providers(settings: Mapping[str, ProviderSettings], providers: Mapping[str, Provider]) -> None:
    """Raises SettingsError for settings of a provider or of an option that nobody registered."""
    for name, own in settings.items():
        if name not in providers:
            there = ", ".join(sorted(providers))
            raise SettingsError(
                f"no such provider{suggest(name, providers)} (there are: {there})", path=f"providers.{name}"
            )
        known = providers[name].options
        for option, value in own.options.items():
            path = f"providers.{name}.options.{option}"
            if option not in known:
                raise SettingsError(f"is not an option of {name}{suggest(option, known)}", path=path)
            try:
                read_option(value, known[option], path)
            except ConfigError as error:
                raise SettingsError(error.reason, path=path) from None


def _new_manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


@contextmanager
def _blaming(label: str, hook: str = "") -> Iterator[None]:
    """Turns what a plugin raises into a PluginError that names it."""
    try:
        yield
    except PluginError:
        raise
    except Exception as error:
        raise PluginError(f"{type(error).__name__}: {error}", plugin=label, hook=hook) from error


# ---------------------------------------------------------------- finding


def _import_builtins() -> Iterator[_Plugin]:
    version = importlib.metadata.version("aiogateway")
    for path in DEFAULT_PLUGINS:
        yield _Plugin(path, "aiogateway", version, True, importlib.import_module(path))


def _take_given(given: Mapping[str, object]) -> Iterator[_Plugin]:
    for name, value in given.items():
        yield _Plugin(name, "this process", "", False, value)


def _choose(settings: PluginSettings, installed: _Points | None) -> tuple[list[_Point], list[_Point]]:
    """The installed plugins to load, and those that `plugins.allow` bars. Raises SettingsError."""
    points = list(importlib.metadata.entry_points(group=GROUP) if installed is None else installed)
    found = {_normalize(name) for point in points for name in _names(point)}
    allowed = None if settings.allow is None else set(map(_normalize, settings.allow))
    wanted = None if settings.load is None else set(map(_normalize, settings.load))
    barred = [point for point in points if not _is_named(point, allowed)]
    for name in settings.load or ():
        if _normalize(name) not in found:
            raise SettingsError(f"no plugin is called {name!r}{suggest(_normalize(name), found)}", path="plugins.load")
        if any(_is_named(point, {_normalize(name)}) for point in barred):
            raise SettingsError(f"{name!r} is not among the plugins that plugins.allow names", path="plugins.load")
    return [point for point in points if _is_named(point, wanted) and point not in barred], barred


def _is_named(point: _Point, names: set[str] | None) -> bool:
    """Whether a plugin goes by one of the normalized `names`; None is everybody's."""
    return names is None or any(_normalize(name) in names for name in _names(point))


def _name_plugin(point: _Point) -> _Plugin:
    """An installed plugin that is not imported yet."""
    distribution, version = (point.dist.name, point.dist.version) if point.dist else ("unknown", "unknown")
    return _Plugin(point.name, distribution, version, False, None)


def _import_installed(point: _Point) -> _Plugin:
    plugin = _name_plugin(point)
    with _blaming(plugin.label, "import"):
        return plugin._replace(value=point.load())


def _names(point: importlib.metadata.EntryPoint) -> tuple[str, ...]:
    return (point.name, point.dist.name) if point.dist else (point.name,)


def _normalize(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()  # PEP 503


# ---------------------------------------------------------------- registering


def _register(manager: pluggy.PluginManager, plugin: _Plugin) -> None:
    with _blaming(plugin.label):
        try:
            manager.register(plugin.value, name=plugin.label)
        except pluggy.PluginValidationError as error:  # its text begins with the plugin's repr
            raise PluginError(str(error).replace("\n", " "), plugin=plugin.label) from None
    known = [name for name in vars(hookspecs) if hasattr(getattr(hookspecs, name), f"{hookspecs.PROJECT}_spec")]
    callers = manager.get_hookcallers(plugin.value) or []
    for caller in callers:
        if not caller.has_spec():
            raise PluginError(
                f"there is no such hook{suggest(caller.name, known)}", plugin=plugin.label, hook=caller.name
            )
    given = {caller.name for caller in callers}
    for name in known:
        if name not in given and callable(getattr(plugin.value, name, None)):
            raise PluginError("is not marked with @hookimpl", plugin=plugin.label, hook=name)
    if not given:
        raise PluginError("implements no hook", plugin=plugin.label)


def _run(manager: pluggy.PluginManager, plugin: _Plugin, hook: str, **arguments: Any) -> None:
    """Calls one plugin's implementation of a `register_*` hook."""
    others = [other for other in manager.get_plugins() if other is not plugin.value]
    with _blaming(plugin.label, hook):
        manager.subset_hook_caller(hook, others)(**arguments)


def _describe(manager: pluggy.PluginManager, plugin: _Plugin, providers: tuple[str, ...] = ()) -> PluginInfo:
    hooks = tuple(sorted(caller.name for caller in manager.get_hookcallers(plugin.value) or ()))
    return PluginInfo(
        name=plugin.name,
        distribution=plugin.distribution,
        version=plugin.version,
        hooks=hooks,
        builtin=plugin.builtin,
        providers=providers,
        module=plugin.value.__name__ if isinstance(plugin.value, ModuleType) else type(plugin.value).__module__,
    )


class _Shelf(Generic[T]):
    """What was registered of one kind, by name, and whose it is."""

    def __init__(self, kind: str, override: tuple[str, ...]) -> None:
        self.values: dict[str, T] = {}
        self._kind = kind
        self._override = frozenset(map(_normalize, override))
        self._owners: dict[str, _Plugin] = {}

    def door(self, plugin: _Plugin, check: Callable[[T], None]) -> Callable[[T], None]:
        """The `register` that `plugin` is handed."""

        def register(value: T) -> None:
            check(value)
            name: str = value.name  # type: ignore[attr-defined]  # checked just now
            owner = self._owners.get(name)
            if owner is None or self._may_replace(owner, plugin):
                self.values[name] = value
                self._owners[name] = plugin
            elif not (owner.builtin and not plugin.builtin):
                raise ValueError(f"the {self._kind} {name!r} is already registered by {owner.label}")
            else:
                raise ValueError(
                    f"the {self._kind} {name!r} is built in: put {plugin.name!r} into plugins.override to replace it"
                )

        return register

    def owner(self, name: str) -> str:
        """What the plugin that registered `name` is called."""
        return self._owners[name].label

    def of(self, plugin: _Plugin) -> tuple[str, ...]:
        """The names that `plugin` registered and still has."""
        return tuple(name for name, owner in self._owners.items() if owner is plugin)

    def _may_replace(self, owner: _Plugin, plugin: _Plugin) -> bool:
        names = {_normalize(plugin.name), _normalize(plugin.distribution)}
        return owner.builtin and not plugin.builtin and not names.isdisjoint(self._override)


def _check_members(value: object, contract: type, kind: str) -> None:
    """Raises TypeError in the plugin's own frame, where its author sees it."""
    missing = [name for name in vars(contract) if not name.startswith("_") and not hasattr(value, name)]
    if missing:
        raise TypeError(f"{show(value)} is no {kind}: it lacks {', '.join(missing)}")
    name = getattr(value, "name", None)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f"the name of a {kind} must match {_NAME.pattern}, got {show(name)}")


def _check_provider(provider: Provider) -> None:
    _check_members(provider, Provider, "provider")
    reserved = {*FIELDS, *(header.suffix.replace("-", "_") for header in HEADERS)}
    for name, option in provider.options.items():
        if not _OPTION_NAME.fullmatch(name) or not isinstance(option, Option):
            raise ValueError(f"the options of {provider.name} must map snake_case names to Option, got {show(name)}")
        if name in reserved:
            raise ValueError(f"the option {name!r} of {provider.name} is already a field or a header of every config")


def _check_dialect(dialect: Dialect) -> None:
    _check_members(dialect, Dialect, "dialect")


def _check_policy(policy: RetryPolicy) -> None:
    _check_members(policy, RetryPolicy, "retry policy")
    wait: object = policy.wait
    if not callable(wait) or inspect.iscoroutinefunction(wait):
        raise TypeError(f"the wait of the retry policy {policy.name} must be a plain function")


def _check_sink(sink: LogSink) -> None:
    _check_members(sink, LogSink, "log sink")
