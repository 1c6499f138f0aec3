from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import click
import pytest

from aiogateway.contracts import Provider, RetryPolicy
from aiogateway.errors import ConnectFailed, PluginError, SettingsError
from aiogateway.hookspecs import hookimpl
from aiogateway.plugins import (
    DEFAULT_PLUGINS,
    add_commands,
    check_providers,
    load_installed,
    load_plugins,
    start_plugins,
    stop_plugins,
)
from aiogateway.providers.openai import OpenAI
from aiogateway.settings import PluginSettings, ProviderSettings, Settings
from aiogateway.telemetry.metrics import Metrics
from aiogateway.telemetry.observers import GuardedObserver
from aiogateway.types import Attempt, Call, Endpoint, Option, Record, Target, Trace

CALL = Call(id="c", trace=Trace(id="t"), received=0, clock=0, method="POST", route="/v1/chat/completions")


class Distribution:
    """As much of a distribution as an entry point's user asks for."""

    def __init__(self, name: str, version: str = "1.2.3") -> None:
        self.name = name
        self.version = version


Install = Callable[..., list[importlib.metadata.EntryPoint]]


@pytest.fixture
def install() -> Iterator[Install]:
    """Puts functions into a module of their own, found through an entry point; repeated calls add up."""
    points: list[importlib.metadata.EntryPoint] = []

    def add(*functions: Any, name: str = "acme", distribution: str = "acme-plugin") -> list[Any]:
        module = ModuleType(f"installed_{name}")
        for function in functions:
            setattr(module, function.__name__, function)
        sys.modules[module.__name__] = module
        point = importlib.metadata.EntryPoint(name, module.__name__, "aiogateway")
        vars(point)["dist"] = Distribution(distribution)
        points.append(point)
        return points

    yield add
    for point in points:
        sys.modules.pop(point.value, None)


def make_provider(name: str, options: Any = None) -> Provider:
    class Custom(OpenAI):
        pass

    provider = Custom()
    for attribute, value in {"name": name, "options": options or {}}.items():
        setattr(Custom, attribute, value)
    return cast(Provider, provider)


def providing(*providers: Any) -> Callable[..., None]:
    @hookimpl
    def register_providers(register: Callable[[Any], None]) -> None:
        for provider in providers:
            register(provider)

    return register_providers


def load(points: Any, **wanted: Any) -> Any:
    return load_plugins(Settings(plugins=PluginSettings(**wanted)), installed=points)[1]


def refuse(points: Any, **wanted: Any) -> str:
    with pytest.raises(PluginError) as caught:
        load(points, **wanted)
    return str(caught.value)


def test_the_built_ins_come_in_through_the_hooks() -> None:
    registry = load([])
    assert {"openai", "mock"} <= set(registry.providers)
    assert all(registry.client_dialect(endpoint).endpoint == endpoint for endpoint in Endpoint)
    assert list(registry.retry_policies) == ["exponential"]
    assert [info.name for info in registry.plugins] == list(DEFAULT_PLUGINS)
    assert all(info.builtin and info.distribution == "aiogateway" and info.hooks for info in registry.plugins)
    assert registry.observers == ()


def test_the_environments_entry_points_are_read() -> None:
    names = {point.name for point in importlib.metadata.entry_points(group="aiogateway")}
    _, registry = load_plugins(Settings())
    assert {info.name for info in registry.plugins if not info.builtin} == names


def test_an_installed_provider_is_found_with_where_it_is_from(install: Install) -> None:
    registry = load(install(providing(make_provider("acme"))))
    assert registry.providers["acme"].name == "acme"
    info = registry.plugins[-1]
    assert (info.name, info.distribution, info.version) == ("acme", "acme-plugin", "1.2.3")
    assert (info.hooks, info.builtin) == (("register_providers",), False)


@pytest.mark.parametrize("wanted", ["acme", "acme-plugin", "Acme_Plugin"])
def test_loading_can_be_restricted_by_either_name(install: Install, wanted: str) -> None:
    install(providing(make_provider("acme")))
    points = install(providing(make_provider("other")), name="other", distribution="other-plugin")
    assert "other" not in load(points, load=(wanted,)).providers
    assert "acme" in load(points, load=(wanted,)).providers
    assert not {"acme", "other"} & set(load(points, load=()).providers)


def test_a_plugin_that_is_not_installed_is_an_error(install: Install) -> None:
    with pytest.raises(SettingsError, match="did you mean 'acme-plugin'") as caught:
        load(install(providing()), load=("acme-plugim",))
    assert caught.value.path == "plugins.load"


@pytest.mark.parametrize("allowed", ["acme", "acme-plugin", "Acme_Plugin"])
def test_what_is_not_allowed_is_not_even_imported(install: Install, allowed: str) -> None:
    points = install(providing(make_provider("acme")))
    bad = importlib.metadata.EntryPoint("evil", "no_such_module_anywhere", "aiogateway")
    vars(bad)["dist"] = Distribution("evil-plugin")
    registry = load([*points, bad], allow=(allowed, "not-installed"))
    assert "acme" in registry.providers
    (barred,) = registry.barred
    assert (barred.name, barred.distribution, barred.version, barred.hooks) == ("evil", "evil-plugin", "1.2.3", ())
    assert "evil" not in {info.name for info in registry.plugins}
    everything = load(points, allow=())
    assert "acme" not in everything.providers
    assert {"openai", "mock"} <= set(everything.providers)
    assert load(points).barred == ()


def test_a_plugin_that_is_to_load_has_to_be_allowed(install: Install) -> None:
    points = install(providing(make_provider("acme")))
    with pytest.raises(
        SettingsError, match=r"'acme-plugin' is not among the plugins that plugins\.allow names"
    ) as caught:
        load(points, load=("acme-plugin",), allow=("other",))
    assert caught.value.path == "plugins.load"
    registry = load(points, load=(), allow=("acme",))
    assert "acme" not in registry.providers
    assert registry.barred == ()


def test_commands_come_from_allowed_plugins_only(install: Install) -> None:
    points = install(providing(make_provider("acme")))
    assert load_installed(PluginSettings(allow=("other",)), installed=points).get_plugins() == set()
    assert len(load_installed(PluginSettings(allow=("acme",)), installed=points).get_plugins()) == 1


def test_a_plugin_may_be_given_without_being_installed() -> None:
    class Given:
        @hookimpl
        def register_providers(self, register: Callable[[Provider], None]) -> None:
            register(make_provider("acme"))
            register(make_provider("second"))

    _, registry = load_plugins(Settings(), installed=[], given={"mine": Given()})
    info = registry.plugins[-1]
    assert (info.name, info.distribution, info.builtin) == ("mine", "this process", False)
    assert (info.providers, info.module) == (("acme", "second"), __name__)
    with pytest.raises(PluginError, match=r"^plugin mine \(from this process\): implements no hook"):
        load_plugins(Settings(), installed=[], given={"mine": Nameless()})


def test_each_provider_is_told_to_be_of_the_plugin_that_brought_it(install: Install) -> None:
    points = install(providing(make_provider("openai"), make_provider("acme")))
    told = {info.name: info for info in load(points, override=("acme",)).plugins}
    assert told["acme"].providers == ("openai", "acme")
    assert told["acme"].module == "installed_acme"
    assert told["aiogateway.providers.openai"].providers == ()
    assert told["aiogateway.providers.mock"].providers == ("mock",)


def test_an_import_that_fails_names_plugin_and_distribution() -> None:
    point = importlib.metadata.EntryPoint("acme", "no_such_module_anywhere", "aiogateway")
    vars(point)["dist"] = Distribution("acme-plugin")
    assert refuse([point]).startswith("plugin acme (from acme-plugin 1.2.3) (import): ModuleNotFoundError")


def test_a_registration_that_fails_names_plugin_and_hook(install: Install) -> None:
    @hookimpl
    def register_providers(register: Any) -> None:
        raise RuntimeError("no luck")

    message = refuse(install(register_providers))
    assert message == "plugin acme (from acme-plugin 1.2.3) (register_providers): RuntimeError: no luck"


def test_an_unknown_hook_is_an_error_with_the_nearest(install: Install) -> None:
    @hookimpl
    def register_provider(register: Any) -> None: ...

    message = refuse(install(register_provider))
    assert "(register_provider): there is no such hook; did you mean 'register_providers'?" in message


def test_an_unmarked_hook_is_an_error(install: Install) -> None:
    def register_providers(register: Any) -> None: ...

    assert "(register_providers): is not marked with @hookimpl" in refuse(install(register_providers))


def test_a_plugin_without_hooks_is_an_error(install: Install) -> None:
    assert "implements no hook" in refuse(install())


def test_a_hook_with_unknown_arguments_is_an_error(install: Install) -> None:
    @hookimpl
    def register_providers(register: Any, surprise: Any) -> None: ...

    message = refuse(install(register_providers))
    assert message.startswith("plugin acme (from acme-plugin 1.2.3)")
    assert "surprise" in message


def test_two_plugins_of_one_name_are_an_error(install: Install) -> None:
    install(providing(), distribution="one")
    assert "acme" in refuse(install(providing(), distribution="one"))


class Nameless:
    pass


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (Nameless(), "lacks name, capabilities, options"),
        (SimpleNamespace(**dict.fromkeys(vars(Provider))), "the name of a provider must match"),
        (make_provider("Bad Name"), "must match"),
        (make_provider("@slug"), "must match"),
        (make_provider("acme", {"Bad-Name": Option()}), "snake_case"),
        (make_provider("acme", {"region": str}), "snake_case"),
        (make_provider("acme", {"api_key": Option()}), "already a field or a header"),
        (make_provider("acme", {"trace_id": Option()}), "already a field or a header"),
        (make_provider("acme", {"retry": Option()}), "already a field or a header"),
    ],
)
def test_a_bad_provider_raises_in_the_frame_of_its_plugin(install: Install, value: Any, says: str) -> None:
    with pytest.raises(PluginError) as caught:
        load(install(providing(value)))
    assert says in str(caught.value)
    cause = caught.value.__cause__
    assert cause is not None
    frames = []
    trace = cause.__traceback__
    while trace is not None:
        frames.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    assert "register_providers" in frames


def test_bad_dialects_and_sinks_are_errors_too(install: Install) -> None:
    @hookimpl
    def register_dialects(register: Any) -> None:
        register(Nameless())

    assert "is no dialect" in refuse(install(register_dialects))

    @hookimpl
    def register_log_sinks(register: Any, settings: Any) -> None:
        assert isinstance(settings, Settings)
        register(Nameless())

    assert "is no log sink" in refuse([install(register_log_sinks, name="sinks")[-1]])


def test_a_built_in_is_replaced_only_when_the_settings_say_so(install: Install) -> None:
    ours = make_provider("openai")
    points = install(providing(ours))
    assert "the provider 'openai' is built in: put 'acme' into plugins.override" in refuse(points)
    assert load(points, override=("acme",)).providers["openai"] is ours
    assert load(points, override=("acme_plugin",)).providers["openai"] is ours


class Policy:
    """A retry policy that waits three seconds, or does what it is told."""

    def __init__(self, name: str, wait: Any = None) -> None:
        self.name = name
        self.wait = wait or (lambda *_: 3)


def retrying(*policies: Any) -> Callable[..., None]:
    @hookimpl
    def register_retry_policies(register: Callable[[RetryPolicy], None], settings: Any) -> None:
        assert isinstance(settings, Settings)
        for policy in policies:
            register(policy)

    return register_retry_policies


def ask(policy: RetryPolicy) -> float | None:
    return policy.wait(ConnectFailed("no"), 0, Target(path="config", provider="mock"), lambda: 0.0)


def test_a_retry_policy_is_found_by_its_name(install: Install) -> None:
    registry = load(install(retrying(Policy("patient"), Policy("hasty", lambda *_: 0))))
    assert sorted(registry.retry_policies) == ["exponential", "hasty", "patient"]
    assert all(policy.name == name for name, policy in registry.retry_policies.items())
    assert ask(registry.retry_policies["patient"]) == 3.0
    assert ask(registry.retry_policies["hasty"]) == 0.0
    assert registry.plugins[-1].hooks == ("register_retry_policies",)


def test_the_built_in_policy_waits_as_the_settings_say() -> None:
    _, registry = load_plugins(Settings(retry_wait=8.0), installed=[])
    assert ask(registry.retry_policies["exponential"]) == 4.0


async def never(*_: Any) -> float:
    raise AssertionError("nobody awaits a policy")


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (Nameless(), "is no retry policy: it lacks name, wait"),
        (Policy("Bad Name"), "the name of a retry policy must match"),
        (Policy("acme", wait=3), "the wait of the retry policy acme must be a plain function"),
        (Policy("acme", wait=never), "the wait of the retry policy acme must be a plain function"),
    ],
)
def test_a_bad_retry_policy_is_an_error(install: Install, value: Any, says: str) -> None:
    message = refuse(install(retrying(value)))
    assert message.startswith("plugin acme (from acme-plugin 1.2.3) (register_retry_policies): ")
    assert says in message


def test_a_retry_policy_is_replaced_only_when_the_settings_say_so(install: Install) -> None:
    points = install(retrying(Policy("exponential")))
    assert "the retry policy 'exponential' is built in: put 'acme' into plugins.override" in refuse(points)
    assert ask(load(points, override=("acme",)).retry_policies["exponential"]) == 3.0
    install(retrying(Policy("patient")), name="one")
    points = install(retrying(Policy("patient")), name="two")
    assert "already registered by one (from acme-plugin 1.2.3)" in refuse(points, load=("one", "two"))


@pytest.mark.parametrize("wait", [lambda *_: 1 / 0, lambda *_: "soon"])
def test_a_retry_policy_that_fails_at_run_time_is_counted_under_its_plugins_name(install: Install, wait: Any) -> None:
    metrics = Metrics()
    points = install(retrying(Policy("patient", wait)))
    _, registry = load_plugins(Settings(), installed=points, report=metrics)
    assert ask(registry.retry_policies["patient"]) is None
    labels = {"plugin": "acme (from acme-plugin 1.2.3)", "hook": "register_retry_policies"}
    assert metrics.registry.get_sample_value("aiogateway_plugin_failures_total", labels) == 1.0


def test_two_installed_plugins_can_not_share_a_name(install: Install) -> None:
    install(providing(make_provider("acme")))
    points = install(providing(make_provider("acme")), name="other", distribution="other-plugin")
    message = refuse(points, override=("other", "acme"))
    assert message.startswith("plugin other (from other-plugin 1.2.3)")
    assert "already registered by acme (from acme-plugin 1.2.3)" in message


@pytest.mark.parametrize(
    ("name", "options", "path", "says"),
    [
        ("opanai", {}, "providers.opanai", "did you mean 'openai'?"),
        ("acme", {"regoin": "x"}, "providers.acme.options.regoin", "did you mean 'region'?"),
        ("acme", {"region": "Not A Label"}, "providers.acme.options.region", "becomes part of a host"),
    ],
)
def test_settings_about_unknown_providers_stop_the_start(name: str, options: Any, path: str, says: str) -> None:
    known = {"openai": make_provider("openai"), "acme": make_provider("acme", {"region": Option(host=True)})}
    with pytest.raises(SettingsError) as caught:
        check_providers({name: ProviderSettings(options=options)}, known)
    assert caught.value.path == path
    assert says in str(caught.value)
    check_providers({"acme": ProviderSettings(options={"region": "eu-1"})}, known)


# ---------------------------------------------------------------- commands and startup


def test_commands_come_from_installed_plugins(install: Install) -> None:
    @hookimpl
    def register_commands(cli: click.Group) -> None:
        cli.add_command(click.Command("greet"))

    cli = click.Group()
    add_commands(load_installed(PluginSettings(), installed=install(register_commands)), cli)
    assert list(cli.commands) == ["greet"]


def test_commands_that_can_not_be_added_name_their_plugin(install: Install) -> None:
    @hookimpl
    def register_commands() -> None:
        raise RuntimeError("no luck")

    manager = load_installed(PluginSettings(), installed=install(register_commands))
    with pytest.raises(PluginError, match=r"acme \(from acme-plugin 1.2.3\) \(register_commands\).*no luck"):
        add_commands(manager, click.Group())


def make_startup(name: str, told: list[str], *, fails: str = "") -> Callable[..., Any]:
    @hookimpl
    async def startup(gateway: Any) -> Any:
        told.append(f"{name} starts {gateway}")
        if fails == "start":
            raise RuntimeError("no luck")

        async def close() -> None:
            told.append(f"{name} closes")
            if fails == "close":
                raise RuntimeError("no luck")

        return close

    return startup


async def test_startup_runs_in_order_and_closes_in_reverse(install: Install, caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []

    @hookimpl
    async def startup() -> None:
        told.append("quiet starts")

    install(make_startup("a", told), name="a")
    install(startup, name="quiet")
    points = install(make_startup("b", told, fails="close"), name="b")
    closers = await start_plugins(load_installed(PluginSettings(), installed=points), "G")
    await stop_plugins(closers)
    assert told == ["a starts G", "quiet starts", "b starts G", "b closes", "a closes"]
    assert "plugin b (from acme-plugin 1.2.3) failed to close" in caplog.text


async def test_a_startup_that_fails_names_its_plugin_and_closes_the_others(install: Install) -> None:
    told: list[str] = []
    install(make_startup("a", told), name="a")
    points = install(make_startup("b", told, fails="start"), name="b")
    with pytest.raises(PluginError, match=r"plugin b \(from acme-plugin 1.2.3\) \(startup\): RuntimeError: no luck"):
        await start_plugins(load_installed(PluginSettings(), installed=points), "G")
    assert told == ["a starts G", "b starts G", "a closes"]


# ---------------------------------------------------------------- observers


class Watch:
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def _tell(self, value: Any) -> None:
        self.told.append(value)

    attempt = commit = end = _tell


ATTEMPT = Attempt(target="config", provider="mock", model="m", start=0)
RECORD = cast(Record, "record")


def observing(install: Install, watch: Any) -> GuardedObserver:
    @hookimpl
    def observe_call(call: Call) -> Any:
        assert call is CALL
        return watch

    (observer,) = load(install(observe_call)).observers
    return cast(GuardedObserver, observer)


def test_an_observer_is_told_and_timed(install: Install) -> None:
    watch = Watch()
    observer = observing(install, watch)
    seen = observer(CALL)
    assert seen is not None
    seen.attempt(ATTEMPT)
    seen.commit(CALL)
    seen.end(RECORD)
    assert watch.told == [ATTEMPT, CALL, RECORD]
    assert (observer.calls, observer.failures) == (4, 0)
    assert observer.seconds > 0
    assert observer.plugin == "acme (from acme-plugin 1.2.3)"


def test_a_call_need_not_be_observed(install: Install) -> None:
    assert observing(install, None)(CALL) is None


def test_a_hook_may_leave_out_the_call(install: Install) -> None:
    watch = Watch()

    @hookimpl
    def observe_call() -> Any:
        return watch

    (observer,) = load(install(observe_call)).observers
    observer(CALL).end(RECORD)
    assert watch.told == [RECORD]
