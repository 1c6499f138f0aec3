"""Running one rule of the battery by itself, and breaking the sound specimen in one way."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from aiogateway.contracts import MAX_EVENT, Decoder, Dialect, Splitter
from aiogateway.errors import UpstreamStatus
from aiogateway.neutral import Event
from aiogateway.testing import ProviderConformance, load_recordings
from aiogateway.types import (
    Credential,
    Headers,
    Request,
    Target,
    UpstreamRequest,
)
from tests.unit.testing.toy import FILES, SKIPS, ToyDecoder, ToyDialect, ToyProvider, write_recordings

if TYPE_CHECKING:
    from aiohttp import ClientSession

KINDS: dict[str, Sequence[str]] = {
    "recording": tuple(FILES),
    "stream": ("stream", "passed", "broken"),
    "answer": ("stream", "tools", "vectors", "uncounted", "passed"),
    "failure": ("refused", "broken", "empty"),
}
RULES = {name: rule for name, rule in vars(ProviderConformance).items() if name.startswith("test_")}


def check(
    folder: Path,
    rule: str,
    name: str | None = None,
    *,
    provider: ToyProvider | None = None,
    dialect: Dialect | None = None,
    skips: Mapping[str, str] = SKIPS,
    files: Mapping[str, str] | None = None,
) -> None:
    """Runs one rule as pytest would, on the recording `name` where it takes one."""
    subject = type(
        "Subject",
        (ProviderConformance,),
        {
            "provider": provider or ToyProvider(),
            "dialects": (dialect or ToyDialect(),),
            "recordings": write_recordings(folder, {**FILES, **(files or {})}),
            "skips": skips,
        },
    )()
    if name is None:
        getattr(subject, rule)()
    else:
        (chosen,) = (recording for recording in load_recordings(folder) if recording.name == f"{name}.rec")
        getattr(subject, rule)(chosen)


def every_rule() -> list[tuple[str, str | None]]:
    cases: list[tuple[str, str | None]] = []
    for name, rule in RULES.items():
        kinds = [parameter for parameter in inspect.signature(rule).parameters if parameter != "self"]
        cases += [(name, chosen) for chosen in (KINDS[kinds[0]] if kinds else (None,))]
    return cases


def with_splitter(make: Callable[[], Splitter]) -> Dialect:
    class Odd(ToyDialect):
        def splitter(self, max_event: int = MAX_EVENT) -> Splitter:
            return make()

    return Odd()


def with_events(change: Callable[[list[Event]], Iterable[Event]]) -> Dialect:
    """Changes the events of each line."""

    class OddDecoder(ToyDecoder):
        def feed(self, frame: bytes) -> Iterable[Event]:
            return change(list(super().feed(frame)))

    class Odd(ToyDialect):
        def decoder(self) -> Decoder:
            return OddDecoder()

    return Odd()


def swap(kind: type[Event], make: Callable[[Any], Iterable[Event]]) -> Dialect:
    """Puts something else in the place of the events of one kind."""

    def change(events: list[Event]) -> Iterable[Event]:
        for event in events:
            yield from make(event) if type(event) is kind else [event]

    return with_events(change)


def replace(value: Any, **fields: Any) -> Any:
    return msgspec.structs.replace(value, **fields)


def with_error(change: Callable[[UpstreamStatus], Any]) -> ToyProvider:
    class Odd(ToyProvider):
        def read_error(self, status: int, headers: Headers, body: bytes) -> UpstreamStatus:
            changed: UpstreamStatus = change(super().read_error(status, headers, body))
            return changed

    return Odd()


def with_prepare(change: Callable[[UpstreamRequest, Request, Target], UpstreamRequest]) -> ToyProvider:
    class Odd(ToyProvider):
        def prepare(self, request: Request, target: Target) -> UpstreamRequest:
            return change(super().prepare(request, target), request, target)

    return Odd()


def with_authorize(change: Callable[[UpstreamRequest, str], UpstreamRequest]) -> ToyProvider:
    class Odd(ToyProvider):
        async def authorize(
            self, upstream: UpstreamRequest, credential: Credential | None, http: ClientSession
        ) -> UpstreamRequest:
            assert credential is not None
            return change(upstream, credential.secret.reveal())

    return Odd()
