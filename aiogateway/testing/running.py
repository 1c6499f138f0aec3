"""A whole gateway in this process, in front of a `FakeUpstream`: what a plugin does, as a client sees it.

::

    async with gateway(unary(b'{"id":"h1","choices":[]}'), provider=Harbor()) as live:
        answer = await live.ask({"model": "pilot", "messages": []})
        assert answer.status == 200
        assert live.upstream.requests[0].path == "/chat/completions"

As pytest fixtures: `aiogateway.testing.fixtures`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from multidict import CIMultiDictProxy

from ..app import Gateway
from ..contracts import Dialect, Observer, Provider
from ..dialects.builtin import register_dialects as register_builtins
from ..hookspecs import hookimpl
from ..settings import load_settings
from ..types import Attempt, Call, Endpoint, Record, Secret
from ..wire import sse
from .replay import find_dialects
from .upstream import PATIENCE, FakeUpstream, Script

KEY = "sk-testing"
"""The credential of a call whose config names none."""
NAME = "testing"
"""What the plugin is called that brings in the provider under test."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the client got, whole."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    def json(self) -> Any:
        """The body of an answer that is no stream."""
        return json.loads(self.body)

    def events(self) -> list[Any]:
        """The JSON in each event of a stream; ``[DONE]`` and comments are left out."""
        splitter = sse.Splitter()
        data = [sse.data_of(event) for event in (*splitter.feed(self.body), splitter.rest())]
        return [json.loads(text) for text in data if text and text != b"[DONE]"]


class Running:
    """A gateway that answers at `url`. `config` is what calls go by; `records` holds one of each call that ended."""

    def __init__(self, started: Gateway, upstream: FakeUpstream, config: Mapping[str, Any], notes: _Notes) -> None:
        self.gateway = started
        self.upstream = upstream
        self.url = started.url
        self.config = config
        self.records = notes.records
        self._notes = notes

    @asynccontextmanager
    async def open(
        self,
        body: Mapping[str, Any],
        *,
        endpoint: str = Endpoint.CHAT,
        config: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One call to ``/v1/<endpoint>``, up to its head; who leaves the block before the end leaves as a client does.

        `config` is put over the one of the gateway; None takes a field out.
        """
        sent = {"x-portkey-config": json.dumps(_merge(self.config, config or {})), **(headers or {})}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"{self.url}/v1/{endpoint}", json=dict(body), headers=sent) as response,
        ):
            yield response

    async def ask(
        self,
        body: Mapping[str, Any],
        *,
        endpoint: str = Endpoint.CHAT,
        config: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One call, read to its end. Raises aiohttp.ClientError for an answer that is cut."""
        async with self.open(body, endpoint=endpoint, config=config, headers=headers) as response:
            return Answer(response.status, response.headers, await response.read())

    async def recorded(self, count: int = 1, *, limit: float = PATIENCE) -> Record:
        """The record of the `count`-th call that ended; TimeoutError after `limit` seconds."""
        async with asyncio.timeout(limit):
            while len(self.records) < count:
                self._notes.changed.clear()
                await self._notes.changed.wait()
        return self.records[count - 1]


@asynccontextmanager
async def gateway(
    *script: Script,
    provider: Provider | str = "openai",
    dialects: Iterable[Dialect] = (),
    config: Mapping[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Running]:
    """A gateway whose calls go to `provider`, at an upstream that plays `script`.

    A provider that is an object need not be installed: its package's dialects come along. One that is a name comes from
    the built-ins, or from an installed plugin that ``plugins={"load": ["<name>"]}`` among the settings lets in.
    `config` is put over ``{"provider": …, "custom_host": <the upstream>, "api_key": KEY}``. No setting comes from the
    environment. Ends by checking that no connection to the upstream was forgotten.
    """
    name = provider if isinstance(provider, str) else provider.name
    notes = _Notes()
    given: dict[str, object] = {"testing-notes": notes}
    if not isinstance(provider, str):
        given[NAME] = _Plugin(provider, tuple(dialects))
    plugins = {"load": [], "override": [NAME], **settings.pop("plugins", {})}
    chosen = load_settings({"port": 0, **settings, "plugins": plugins}, {"HOME": "/nonexistent"})
    async with FakeUpstream(*script) as upstream:
        base = {"provider": name, "custom_host": upstream.url, "api_key": KEY}
        started = Gateway(chosen, given=given)
        await started.start()
        try:
            yield Running(started, upstream, _merge(base, config or {}), notes)
        finally:
            await started.stop()
        assert not started.tools.live, "a call to the upstream goes on although the gateway has ended"


def _merge(base: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """`config` over `base`, as JSON can say it."""
    merged = {**base, **config}
    shown = {name: value.reveal() if isinstance(value, Secret) else value for name, value in merged.items()}
    return {name: value for name, value in shown.items() if value is not None}


class _Plugin:
    """The plugin that brings in a provider which is not installed."""

    def __init__(self, provider: Provider, dialects: Iterable[Dialect]) -> None:
        builtin: list[Dialect] = []
        register_builtins(builtin.append)
        known = {(type(dialect), dialect.name) for dialect in builtin}
        found = find_dialects(provider, dialects).values()
        self._provider = provider
        self._dialects = [dialect for dialect in found if (type(dialect), dialect.name) not in known]

    @hookimpl
    def register_dialects(self, register: Callable[[Dialect], None]) -> None:
        for dialect in self._dialects:
            register(dialect)

    @hookimpl
    def register_providers(self, register: Callable[[Provider], None]) -> None:
        register(self._provider)


class _Notes:
    """Keeps the record of each call."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.changed = asyncio.Event()

    @hookimpl
    def observe_call(self, call: Call) -> Observer:
        return self

    def attempt(self, attempt: Attempt) -> None:
        """Of no interest here."""

    def commit(self, call: Call) -> None:
        """Of no interest here."""

    def end(self, record: Record) -> None:
        self.records.append(record)
        self.changed.set()
