"""An engine without a network: providers that follow a script, a pool of scripted wires, books that keep everything."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

from aiogateway.config.model import Mode
from aiogateway.config.tree import Branch, Tree
from aiogateway.contracts import Answer, Dialect, Provider
from aiogateway.dialects.openai_chat import OpenAIChat
from aiogateway.dialects.openai_embeddings import OpenAIEmbeddings
from aiogateway.engine.attempt import Tools
from aiogateway.engine.breaker import LocalBreakers
from aiogateway.engine.buffers import Buffers
from aiogateway.engine.dial import Place
from aiogateway.engine.pipeline import Pipeline
from aiogateway.engine.search import Step
from aiogateway.engine.transport import Pool, Upstream
from aiogateway.providers.openai import OpenAI
from aiogateway.registry import Registry
from aiogateway.retries.exponential import Exponential
from aiogateway.types import Deadlines, Endpoint, Headers, Host, Origin, Record, Route, Target, UpstreamRequest
from tests.unit.engine.fakes import FakeTransport

JSON: Headers = (("content-type", "application/json"), ("x-request-id", "r1"))
SSE: Headers = (("content-type", "text/event-stream"), ("x-request-id", "r1"))
Reply = Callable[[Answer], Awaitable[None]]


class OtherChat(OpenAIChat):
    """The same wire under another name: what is translated goes through decoder and encoder."""

    name = "other_chat"


def say(*pieces: bytes, status: int = 200, headers: Headers = JSON, cut: bool = False, hang: bool = False) -> Reply:
    """A reply in `pieces`; then it ends, or is cut, or hangs until nobody listens."""

    async def reply(answer: Answer) -> None:
        answer.start(status, headers)
        for piece in pieces:
            await answer.send(piece)
            await asyncio.sleep(0)
        if hang:
            await asyncio.Event().wait()
        if cut:
            raise ConnectionResetError

    return reply


async def hang(answer: Answer) -> None:
    await asyncio.Event().wait()


class Scripted(OpenAI):
    """Answers in this process; the last reply serves all further requests."""

    name = "scripted"
    base_url = "local:scripted"
    models = ("m",)

    def __init__(self, *replies: Reply, name: str | None = None) -> None:
        self.name = name or self.name
        self.replies = list(replies)
        self.asked: list[UpstreamRequest] = []

    async def respond(self, upstream: UpstreamRequest, answer: Answer) -> None:
        self.asked.append(upstream)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        await reply(answer)

    def passthrough(self, method: str, raw_path: str, headers: Headers, target: Target) -> UpstreamRequest | None:
        return UpstreamRequest(method=method, url=self.base_url + raw_path, headers=headers)


class Foreign(Scripted):
    """Speaks another dialect than its clients."""

    name = "foreign"

    def route(self, endpoint: Endpoint, dialect: str, model: str) -> Route | None:
        return Route("other_chat", "/chat") if endpoint is Endpoint.CHAT else None

    def prepare(self, request: Any, target: Target) -> UpstreamRequest:
        return UpstreamRequest(method="POST", url="local:scripted/chat", headers=(), body=request.raw)


class Wire(Upstream):
    """A connection that answers by itself."""

    def __init__(self, wires: Wires, place: Place, conn: Any) -> None:
        super().__init__(cast(Pool, wires), place, conn)
        self._wires = wires

    def send(self, *args: Any, **kwargs: Any) -> None:
        super().send(*args, **kwargs)
        if self._wires.answers:
            reply = self._wires.answers.pop(0)
            loop = asyncio.get_running_loop()
            if reply is None:
                loop.call_soon(self.connection_lost, None)
            else:
                loop.call_soon(self.data_received, reply)


class Wires:
    """A pool whose connections answer each request with the next of `answers`; None: they die without a word."""

    def __init__(self, *answers: bytes | None, idle: int = 0) -> None:
        self.answers = list(answers)
        self.idle = idle
        self.dialled: list[tuple[Place, float]] = []
        self.given: list[Upstream] = []
        self.transports: list[FakeTransport] = []
        self.upstreams: list[Upstream] = []

    def find(self, origin: str, *, guarded: bool) -> Place:
        return Place(origin, guarded=guarded)

    def take(self, place: Place) -> Upstream | None:
        if not self.idle:
            return None
        self.idle -= 1
        upstream = self._connect(place)
        upstream.reused = True
        return upstream

    async def dial(self, place: Place, timeout: float) -> Upstream:
        self.dialled.append((place, timeout))
        await asyncio.sleep(0)
        return self._connect(place)

    def _connect(self, place: Place) -> Upstream:
        transport = FakeTransport()
        conn = SimpleNamespace(transport=transport, protocol=None, close=lambda: None)
        upstream = Wire(self, place, conn)
        self.transports.append(transport)
        self.upstreams.append(upstream)
        return upstream

    def give(self, upstream: Upstream) -> None:
        self.given.append(upstream)

    def forget(self, upstream: Upstream) -> None:
        return None

    @property
    def sent(self) -> list[bytes]:
        """What each connection was told."""
        return [
            b"".join(part if isinstance(part, bytes) else b"".join(part) for part in transport.written)
            for transport in self.transports
        ]


class Books:
    """Keeps what is put."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.streams = 0
        self.opened = 0
        self.begun = 0

    def begin_call(self) -> None:
        self.begun += 1

    def put(self, record: Record) -> None:
        self.records.append(record)

    def open_stream(self) -> None:
        self.streams += 1
        self.opened += 1

    def close_stream(self) -> None:
        self.streams -= 1

    @property
    def record(self) -> Record:
        assert len(self.records) == 1
        return self.records[0]


def make_pipeline(*providers: Any, pool: Any = None, **options: Any) -> Pipeline:
    """A pipeline over `providers`. `options` are those of Tools, `observers`, and `retry_wait`: the first one."""
    dialects: Mapping[str, Dialect] = {
        dialect.name: dialect for dialect in (OpenAIChat(), OtherChat(), OpenAIEmbeddings())
    }
    known: dict[str, Provider] = {provider.name: provider for provider in (OpenAI(), *providers)}
    policies = {"exponential": Exponential(options.pop("retry_wait", 0.001))}
    observers = options.pop("observers", ())
    registry = Registry(providers=known, dialects=dialects, retry_policies=policies, observers=observers)
    settings: dict[str, Any] = {"buffers": Buffers(1 << 24), "unary_buffer": 1 << 16, "max_event": 1 << 16}
    settings |= {"check_streams": False, "breakers": LocalBreakers(), "draw": lambda: 0.5, **options}
    tools = Tools(registry, cast(Pool, pool or Wires()), cast(Any, None), **settings)
    return Pipeline(tools, Books())


def make_target(provider: str = "scripted", **changes: Any) -> Target:
    if provider == "openai":
        changes.setdefault("host", Host("http://up.example/v1", Origin.REQUEST, "x-portkey-custom-host"))
    return Target(**{"path": "config", "provider": provider, "deadlines": Deadlines(), **changes})


def make_step(target: Target, *, made: int = 0, waited: float = 0.0, until: float = 1e9) -> Step:
    return Step(target, made, waited, until)


def make_fallback(*children: Tree, **changes: Any) -> Branch:
    return Branch(**{"path": "config", "mode": Mode.FALLBACK, "children": children, **changes})


def make_targets(*providers: str, **changes: Any) -> tuple[Target, ...]:
    """A target for each provider, as a fallback has them."""
    return tuple(
        make_target(provider, path=f"config.targets[{number}]", **changes) for number, provider in enumerate(providers)
    )
