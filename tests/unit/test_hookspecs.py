from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pluggy
import pytest

from aiogateway import hookspecs
from aiogateway.hookspecs import PROJECT, hookimpl

HOOKS: dict[str, Callable[..., Any]] = {
    name: value for name, value in vars(hookspecs).items() if hasattr(value, f"{PROJECT}_spec")
}


def make_manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def test_the_hooks_there_are() -> None:
    assert sorted(HOOKS) == [
        "observe_call",
        "register_commands",
        "register_dialects",
        "register_log_sinks",
        "register_providers",
        "register_retry_policies",
        "startup",
    ]
    assert sorted(name for name in vars(make_manager().hook) if not name.startswith("_")) == sorted(HOOKS)


@pytest.mark.parametrize("name", sorted(HOOKS))
def test_every_hook_is_documented(name: str) -> None:
    words = (inspect.getdoc(HOOKS[name]) or "").split()
    assert len(words) >= 6
    assert words[-1].endswith(".")


@pytest.mark.parametrize("name", sorted(HOOKS))
def test_every_hook_is_typed(name: str) -> None:
    signature = inspect.signature(HOOKS[name])
    assert signature.return_annotation is not inspect.Signature.empty
    assert signature.parameters
    for parameter in signature.parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty
        assert parameter.default is inspect.Parameter.empty  # pluggy never fills in defaults


def test_hookimpl_marks_and_leaves_the_function_as_it_is() -> None:
    def register_providers(register: Callable[[Any], None]) -> None:
        register("a provider")

    assert hookimpl(register_providers) is register_providers

    class Plugin:
        pass

    plugin = Plugin()
    plugin.register_providers = register_providers  # type: ignore[attr-defined]
    manager = make_manager()
    manager.register(plugin)
    registered: list[Any] = []
    manager.hook.register_providers(register=registered.append)
    assert registered == ["a provider"]


def test_an_unknown_hook_is_found_at_start() -> None:
    class Plugin:
        @staticmethod
        @hookimpl
        def register_provider(register: Callable[[Any], None]) -> None:
            """A misspelt hook."""

    manager = make_manager()
    manager.register(Plugin())
    with pytest.raises(pluggy.PluginValidationError, match="register_provider"):
        manager.check_pending()


def test_a_wrong_argument_is_found_at_registration() -> None:
    class Plugin:
        @staticmethod
        @hookimpl
        def register_providers(registry: Any) -> None:
            """An argument the hook does not have."""

    with pytest.raises(pluggy.PluginValidationError, match="registry"):
        make_manager().register(Plugin())
