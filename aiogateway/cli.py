"""The command line: serve, check, demo, plugins, and what installed plugins add.

A mistake of the operator's is one line on standard error and exit status 2. What a command needs is imported by that
command, so that ``--help`` is quick.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import orjson

from aiogateway.errors import ConfigError, GatewayError, PluginError

if TYPE_CHECKING:
    from aiohttp import ClientResponse, ClientSession

    from aiogateway.registry import Registry
    from aiogateway.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

_LEVELS = ("debug", "info", "warning", "error")


class StartError(click.ClickException):
    """What stops a command before it has begun."""

    exit_code = 2


@contextmanager
def _one_line() -> Iterator[None]:
    """Turns errors of the operator's making into one line."""
    try:
        yield
    except GatewayError as error:
        raise StartError(str(error)) from error


class PluginGroup(click.Group):
    """A group that asks installed plugins for commands only once it has none of that name itself."""

    _asked = False

    def list_commands(self, ctx: click.Context) -> list[str]:
        try:
            self._ask_plugins()
        except PluginError as error:  # help must not depend on other people's packages
            click.echo(f"Warning: {error}", err=True)
        return super().list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = super().get_command(ctx, cmd_name)
        if command is None and not self._asked:
            with _one_line():
                self._ask_plugins()
            command = super().get_command(ctx, cmd_name)
        return command

    def _ask_plugins(self) -> None:
        from aiogateway.plugins import add_commands, load_installed  # noqa: PLC0415
        from aiogateway.settings import load_plugin_settings  # noqa: PLC0415

        self._asked = True
        theirs = click.Group()
        add_commands(load_installed(load_plugin_settings()), theirs)
        self.commands = {**theirs.commands, **self.commands}


@click.group(cls=PluginGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="aiogateway")
def main() -> None:
    """An async streaming LLM gateway: one OpenAI-compatible door in front of many providers."""


def _takes_config(command: F) -> F:
    return click.option("--config", metavar="FILE", help="Settings as YAML, TOML or JSON.")(command)


@main.command()
@click.option("--host", help="Address or name to listen on [127.0.0.1].")
@click.option("--port", type=int, help="Port to listen on; 0 takes any free one [8787].")
@_takes_config
@click.option("--data-dir", metavar="DIR", help="Where data is kept.")
@click.option("--log-level", type=click.Choice(_LEVELS), help="The least severe messages to log [info].")
@click.option("--drain", type=float, metavar="SECONDS", help="How long open streams may go on after SIGTERM [30].")
@click.option("--allow-open", is_flag=True, default=None, help="Listen beyond loopback although no key is asked for.")
def serve(config: str | None, **flags: Any) -> None:
    """Serve until SIGTERM. Flags beat AIOGATEWAY_* variables, which beat the settings file."""
    with _one_line():
        from aiogateway.settings import load_settings  # noqa: PLC0415

        settings = load_settings(flags, file=config)
        from aiogateway import app  # noqa: PLC0415
        from aiogateway.telemetry.logs import start_logging  # noqa: PLC0415

        start_logging(settings.log_level)
        raise SystemExit(app.run(settings))


# ---------------------------------------------------------------- plugins


@main.group(invoke_without_command=True)
@_takes_config
@click.pass_context
def plugins(ctx: click.Context, config: str | None) -> None:
    """List what is loaded, from which distribution and version, and which hooks it implements."""
    if ctx.invoked_subcommand is not None:
        ctx.obj = config
        return
    registry = _load_registry(config)
    rows = [(info.name, f"{info.distribution} {info.version}", ", ".join(info.hooks)) for info in registry.plugins]
    barred = "not loaded: plugins.allow does not name it"
    rows += [(info.name, f"{info.distribution} {info.version}", barred) for info in registry.barred]
    _print_table([("PLUGIN", "DISTRIBUTION", "HOOKS"), *rows])


@plugins.command("test")
@click.argument("name")
@click.option("--tests", type=click.Path(exists=True, file_okay=False), help="The folder that holds its tests.")
@click.pass_obj
def run_tests(config: str | None, name: str, tests: str | None) -> None:
    """Run the conformance battery of the provider or plugin NAME, and print what its recordings show.

    Exit status 1 when a rule fails. Needs the extra: pip install 'aiogateway[testing]'.
    """
    from aiogateway.testing.battery import BatteryError, run_battery  # noqa: PLC0415

    try:
        report = run_battery(_load_registry(config), name, Path(tests) if tests else None)
    except BatteryError as error:
        raise StartError(str(error)) from None
    if report.failed:
        click.echo(report.output)
    for provider, matrix in report.matrices.items():
        click.echo(provider)
        _print_table([(f"  {cell.feature}", str(cell.state), cell.text) for cell in matrix])
    click.echo(f"{report.passed} passed, {report.failed} failed")
    if report.failed:
        raise SystemExit(1)


@plugins.command()
@click.argument("name")
@click.option("--into", metavar="DIR", default=".", help="Where the package's folder is made [here].")
def new(name: str, into: str) -> None:
    """Write a provider package for the provider NAME, which installs, loads and passes its own tests."""
    from aiogateway.testing.scaffold import ScaffoldError, write_package  # noqa: PLC0415

    try:
        folder = write_package(name, Path(into))
    except ScaffoldError as error:
        raise StartError(str(error)) from None
    click.echo(f"{folder} is written. What to do next is in its README:\n\n  pip install -e '{folder}[test]'")
    click.echo(f"  aiogateway plugins test {name}")


def _load_registry(config: str | None) -> Registry:
    with _one_line():
        from aiogateway.plugins import load_plugins  # noqa: PLC0415
        from aiogateway.settings import load_settings  # noqa: PLC0415

        _, registry = load_plugins(load_settings(file=config))
    return registry


def _print_table(rows: list[tuple[str, str, str]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for first, second, rest in rows:
        click.echo(f"{first:{widths[0]}}  {second:{widths[1]}}  {rest}".rstrip())


# ---------------------------------------------------------------- check


class FileError(click.ClickException):
    """A config that can't be read."""

    exit_code = 1


@main.command()
@click.argument("file")
@click.option("--explain", is_flag=True, help="Print every target, each value in force and where that comes from.")
@_takes_config
def check(file: str, explain: bool, config: str | None) -> None:
    """Say what is wrong with the config (for x-portkey-config) in FILE, or on standard input when FILE is "-".

    Exit status 1 and the mistakes, as a call would be told them, or 0 and warnings. Needs no running gateway.
    """
    with _one_line():
        from aiogateway.settings import load_settings  # noqa: PLC0415

        settings = load_settings(file=config)
        from aiogateway.plugins import load_plugins  # noqa: PLC0415

        _, registry = load_plugins(settings)
    from aiogateway.dialects.failures import write_error_body  # noqa: PLC0415

    try:
        lines = _examine(_read_text(file), settings, registry, explain)
    except ConfigError as error:
        for line in orjson.loads(write_error_body(error))["errors"]:
            click.echo(line)
        raise SystemExit(1) from None
    for line in lines:
        click.echo(line)


def _examine(text: str, settings: Settings, registry: Registry, explain: bool) -> list[str]:
    """What there is to say about a config that is right. Raises ConfigError for one that isn't."""
    from aiogateway.app import make_configs  # noqa: PLC0415
    from aiogateway.config.inherit import inherit, iterate_leaves  # noqa: PLC0415
    from aiogateway.config.outline import Outline  # noqa: PLC0415
    from aiogateway.config.resolve import check_leaves  # noqa: PLC0415
    from aiogateway.config.review import review  # noqa: PLC0415
    from aiogateway.types import Origin  # noqa: PLC0415

    config = make_configs(settings, registry).parse(text, origin=Origin.REQUEST, source="x-portkey-config")
    check_leaves(config, registry.providers, settings.providers)
    remarks = review(config, text, deadlines=settings.deadlines, first_wait=settings.retry_wait)
    lines = [f"warning: {f'{path}: ' if path else ''}{message}" for path, message in remarks]
    count = sum(1 for _ in iterate_leaves(inherit(config)))
    lines.append(f"ok: {count} target{'s' if count != 1 else ''}")
    if explain:
        lines += Outline(registry.providers, settings.providers, settings.deadlines).write(config).splitlines()
    return lines


def _read_text(file: str) -> str:
    try:
        with click.open_file(file, "rb") as stream:
            raw: bytes = stream.read()
    except OSError as error:
        raise FileError(f"{file}: can't be read: {error.strerror or error}") from None
    return raw.decode("utf-8", "surrogateescape").removeprefix("\ufeff")  # as the gateway reads a header


# ---------------------------------------------------------------- demo

_QUESTION = "What does a streaming gateway do?"
_ANSWER = (
    "It stands between your program and a model, and hands on each token the moment it arrives. "
    "This one was made up by the mock provider, which needs no key and no network."
)
_PACE = 40  # milliseconds between tokens: slow enough to see them come
_NEXT = """
Where to go next

  aiogateway serve            the gateway on http://127.0.0.1:8787
  aiogateway plugins          which providers are there
  the README                  other clients, settings, and how to write a plugin

With a key, from LlamaIndex (pip install llama-index-llms-openai):

  from llama_index.llms.openai import OpenAI

  llm = OpenAI(
      model="gpt-4o-mini",
      api_base="http://127.0.0.1:8787/v1",
      api_key="<your OpenAI key>",
      default_headers={"x-portkey-provider": "openai"},
  )
  for part in llm.stream_complete("Hello"):
      print(part.delta, end="", flush=True)
"""


@main.command()
def demo() -> None:
    """Start a gateway, stream one chat through the mock provider, and say where to go next."""
    with _one_line():
        asyncio.run(_demonstrate())


async def _demonstrate() -> None:
    import aiohttp  # noqa: PLC0415

    from aiogateway import app  # noqa: PLC0415
    from aiogateway.settings import PluginSettings, Settings  # noqa: PLC0415

    gateway = await app.start(Settings(port=0, plugins=PluginSettings(load=())))
    try:
        click.echo(f"A gateway is listening on {gateway.url}\n")
        click.echo(f"POST /v1/chat/completions   x-portkey-provider: mock\n\n  > {_QUESTION}\n\n  ", nl=False)
        async with aiohttp.ClientSession() as session:
            await _chat(session, gateway.url)
    finally:
        await gateway.stop()
    click.echo(_NEXT, nl=False)


async def _chat(session: ClientSession, url: str) -> None:
    body = {"model": "mock", "stream": True, "messages": [{"role": "user", "content": _QUESTION}]}
    headers = {
        "x-portkey-provider": "mock",
        "x-portkey-mock-text": _ANSWER,
        "x-portkey-mock-delay-ms": str(_PACE),
    }
    start = time.monotonic()
    first: float | None = None
    count = 0
    async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as response:
        async for text in _read_tokens(response):
            first = time.monotonic() - start if first is None else first
            count += 1
            click.echo(text, nl=False)
    click.echo(f"\n\n{count} tokens, the first after {(first or 0) * 1000:.0f} ms.")


async def _read_tokens(response: ClientResponse) -> AsyncIterator[str]:
    """The text of each event. Raises GatewayError when the answer is none."""
    if response.status != 200:
        raise GatewayError(f"the gateway answered {response.status}: {await response.text()}")
    async for line in response.content:
        if not line.startswith(b"data: {"):
            continue
        event = orjson.loads(line.removeprefix(b"data: "))
        if "error" in event:
            raise GatewayError(f"the stream broke: {event['error'].get('message')}")
        for choice in event["choices"]:
            if text := choice["delta"].get("content"):
                yield text
