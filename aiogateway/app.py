"""The composition root: the one place where the classes meet.

`start` gives a running gateway inside an event loop (demo, tests), `run` one process until it is told to end.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import importlib.metadata
import logging
import os
import random
import resource
import signal
import ssl
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING

import aiohttp
import orjson
import pluggy
from aiohttp import http_parser

from .config.bounds import Bounds
from .config.hosts import AddressPolicy
from .config.model import Config
from .config.parse import ConfigCache
from .config.resolve import check_default
from .engine.attempt import Tools
from .engine.breaker import LocalBreakers
from .engine.buffers import Buffers
from .engine.dial import Dialer
from .engine.pipeline import Pipeline
from .engine.transport import Pool
from .errors import ConfigError, SettingsError
from .plugins import Closer, load_plugins, start_plugins, stop_plugins
from .registry import Registry
from .server.door import Door
from .server.health import Health
from .server.inference import Inference
from .server.routes import Routes
from .server.runner import Runner
from .server.targets import Targets
from .settings import Settings
from .telemetry.metrics import Metrics
from .telemetry.recorder import Recorder
from .types import Origin, Record

if TYPE_CHECKING:
    from aiohttp.abc import AbstractResolver

log = logging.getLogger(__name__)

DOCS = "https://pypi.org/project/aiogateway/"
RESOLVERS = "64"
FLUSH = 5.0  # seconds that records may take to reach their sinks at the end


class Ledger:
    """Where the engine puts finished calls: metrics and records."""

    def __init__(self, metrics: Metrics, recorder: Recorder) -> None:
        self._recorder = recorder
        self._metrics = metrics
        self.begin_call = metrics.begin_call
        self.open_stream = metrics.open_stream
        self.close_stream = metrics.close_stream

    def put(self, record: Record) -> None:
        self._metrics.end_call(record)
        self._recorder.put(record)


class Gateway:
    """A gateway: what `startup` hooks are handed. Tests inject a `resolver`, and `given`, plugins by name."""

    def __init__(
        self,
        settings: Settings,
        *,
        resolver: AbstractResolver | None = None,
        given: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        check_extensions()
        self.settings = settings
        self.manager: pluggy.PluginManager
        self.registry: Registry
        self.metrics = Metrics()
        self.manager, self.registry = load_plugins(settings, given=given, report=self.metrics)
        for barred in self.registry.barred:
            log.warning("plugin %s is installed but not loaded: plugins.allow does not name it", barred.name)
        for sink in self.registry.sinks:
            self.metrics.add_sink(sink.name)
        self.recorder = Recorder(self.registry.sinks, self.metrics)
        self.health = Health(version=importlib.metadata.version("aiogateway"), docs=DOCS)
        configs = make_configs(settings, self.registry)
        default = read_default(settings, configs)  # whatever may be wrong is found before anything is opened
        policy = AddressPolicy(loopback=settings.loopback, trusted=settings.trusted_hosts)
        dialer = Dialer(policy, tls=make_tls(settings), proxy=settings.proxy, resolver=resolver)
        self.pool = Pool(dialer)
        self.http = aiohttp.ClientSession()
        self.tools = Tools(
            self.registry,
            self.pool,
            self.http,
            buffers=Buffers(settings.max_buffered),
            unary_buffer=settings.unary_buffer,
            max_event=settings.max_event,
            check_streams=settings.check_streams,
            breakers=LocalBreakers(),
            draw=random.random,
        )
        self.pipeline = Pipeline(self.tools, Ledger(self.metrics, self.recorder))
        targets = Targets(self.registry, settings, default, configs)
        inference = Inference(self.pipeline, settings, targets)
        routes = Routes(inference, Door(settings), self.health, self.metrics, self.recorder, self.pipeline)
        self.runner = Runner(settings, routes, self.health)
        self._plugins: list[tuple[str, Closer]] = []

    @property
    def port(self) -> int:
        return self.runner.port

    @property
    def url(self) -> str:
        host = self.settings.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"

    async def start(self) -> None:
        self.recorder.start()
        try:
            self._plugins = await start_plugins(self.manager, self)
            await self.runner.start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self, drain: float = 0.0) -> None:
        """Drains for up to `drain` seconds, then ends everything; records are flushed."""
        await self.runner.stop(drain)
        await stop_plugins(self._plugins)
        await self.recorder.close(FLUSH)
        self.tools.sweeper.close()
        await self.pool.close()
        await self.http.close()


async def start(settings: Settings, *, resolver: AbstractResolver | None = None) -> Gateway:
    """A gateway that answers. Raises SettingsError or PluginError when it can't."""
    gateway = Gateway(settings, resolver=resolver)
    await gateway.start()
    return gateway


def run(settings: Settings) -> int:
    """Serves until SIGTERM, SIGINT or SIGHUP; a second one forces. Returns the exit status."""
    raise_file_limit()
    with asyncio.Runner(loop_factory=choose_loop()) as runner:
        return runner.run(_serve(settings))


def choose_loop() -> Callable[[], asyncio.AbstractEventLoop]:
    """uvloop's, where there is one.

    It resolves names in libuv's pool, whose four threads a few slow names would hold, and with them everybody's calls.
    """
    os.environ.setdefault("UV_THREADPOOL_SIZE", RESOLVERS)
    try:
        return importlib.import_module("uvloop").new_event_loop  # type: ignore[no-any-return]
    except ImportError:  # Windows
        return asyncio.new_event_loop


async def _serve(settings: Settings) -> int:
    gateway = await start(settings)
    log.info("listening on %s", gateway.url)
    told = asyncio.Event()

    def on_signal() -> None:
        if told.is_set():
            gateway.runner.force()
        told.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal)
    gc.collect()
    gc.freeze()  # what was imported lives as long as the process: never walk it again
    gc.set_threshold(5_000, 10, 10)  # at the default of 700 the collector takes 4 % of a call's time
    await told.wait()
    await gateway.stop(settings.drain)
    return 0


def make_configs(settings: Settings, registry: Registry) -> ConfigCache:
    """What reads configs, with everything that they may name."""
    options = {name: provider.options for name, provider in registry.providers.items()}
    bounds = Bounds(max_attempts=settings.max_attempts, policies=frozenset(registry.retry_policies))
    return ConfigCache(options, bounds=bounds)


def read_default(settings: Settings, configs: ConfigCache) -> Config | None:
    """The settings' `default_config`, by the same code as a request's. Raises SettingsError."""
    if settings.default_config is None:
        return None
    try:
        text = orjson.dumps(settings.default_config).decode()
        config = configs.parse(text, origin=Origin.OURS, source="default_config")
        check_default(config)
    except ConfigError as error:
        raise SettingsError(str(error), path="default_config") from error
    return config


def make_tls(settings: Settings) -> ssl.SSLContext | None:
    """What upstreams' certificates must meet: `ca_file`, or None for the system's trust, which aiohttp has loaded."""
    if settings.ca_file is None:
        return None
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(f"can't read certificates from {settings.ca_file!r}: {error}", path="ca_file") from error
    context.set_alpn_protocols(["http/1.1"])
    return context


def raise_file_limit() -> None:
    """Every stream holds two descriptors; the soft limit is often 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (ValueError, OSError) as error:
            log.warning("the limit of open files stays at %d: %s", soft, error)


def check_extensions() -> None:
    """aiohttp's pure-Python parser costs half as much again per request: a broken install stops the start."""
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise SettingsError("aiohttp's C extensions are missing: reinstall aiohttp from a wheel for this platform")
