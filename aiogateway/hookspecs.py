"""Every hook a plugin may implement. Registrations run once, at start; only `observe_call` runs per request.

A `register_*` hook is handed a callable: a duplicate or an unusable object raises inside the plugin that brought it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import pluggy

from .contracts import Dialect, LogSink, Observer, Provider, RetryPolicy
from .types import Call

if TYPE_CHECKING:
    import click

PROJECT = "aiogateway"

F = TypeVar("F", bound=Callable[..., Any])
_spec = pluggy.HookspecMarker(PROJECT)
_impl = pluggy.HookimplMarker(PROJECT)


def hookimpl(function: F) -> F:
    """Marks a function of a plugin as the implementation of the hook with the same name."""
    return _impl(function)


def hookspec(function: F) -> F:
    return _spec(function)


@hookspec
def register_providers(register: Callable[[Provider], None]) -> None:
    """Adds providers; `provider.name` is what configs and ``x-portkey-provider`` say."""


@hookspec
def register_dialects(register: Callable[[Dialect], None]) -> None:
    """Adds wire formats that clients may speak or providers may need."""


@hookspec
def register_retry_policies(register: Callable[[RetryPolicy], None], settings: Any) -> None:
    """Adds policies for trying a target again; ``retry.policy`` in a config names one. `settings` is frozen."""


@hookspec
def register_log_sinks(register: Callable[[LogSink], None], settings: Any) -> None:
    """Adds places where call records go, in batches. `settings` is the frozen Settings."""


@hookspec
def register_commands(cli: click.Group) -> None:
    """Adds commands to ``aiogateway``; called when the command line is read, before any server exists."""


@hookspec
def observe_call(call: Call) -> Observer | None:
    """Returns an observer of this call, or None. The only hook that runs per request; it must not wait."""


@hookspec
async def startup(gateway: Any) -> Callable[[], Any] | None:
    """Runs when the server starts, before it listens; may return a coroutine function to await at the end."""
