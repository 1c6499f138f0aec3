"""From a recording to the request it answers, and to the neutral events it stands for."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..contracts import Dialect, Provider
from ..dialects.builtin import register_dialects
from ..engine.body import encode, translate
from ..errors import Unsupported
from ..neutral import Event, Failure
from ..registry import CLIENT_DIALECTS
from ..types import Request
from .recordings import Recording

Dialects = Mapping[str, Dialect]
TAIL = 4096  # bytes of a stream's end that the engine keeps at least


@dataclass(frozen=True, slots=True)
class Asked:
    """What the engine would hand to `Provider.prepare`, and the client's parameters that were dropped on the way."""

    request: Request
    dropped: tuple[str, ...]
    dialect: Dialect


def find_dialects(provider: Provider, extra: Iterable[Dialect] = ()) -> Dialects:
    """The built-in dialects, those that the provider's own package registers, and `extra`; later ones win."""
    found: dict[str, Dialect] = {}

    def register(dialect: Dialect) -> None:
        found[dialect.name] = dialect

    register_dialects(register)
    module = type(provider).__module__
    while module and not module.startswith("aiogateway."):
        hook = getattr(sys.modules.get(module), "register_dialects", None)
        if hook is not None:
            hook(register)
        module = module.rpartition(".")[0]
    for dialect in extra:
        register(dialect)
    return found


def ask(provider: Provider, dialects: Dialects, recording: Recording, extra: Mapping[str, Any] | None = None) -> Asked:
    """The recording's request, with `extra` fields, in the dialect of the provider's route."""
    body = {**recording.request, **(extra or {})}
    client = dialects[CLIENT_DIALECTS[recording.endpoint]]
    model = body["model"]
    request = Request(
        endpoint=recording.endpoint,
        dialect=client.name,
        raw=encode(body),
        body=body,
        model=model,
        stream=body.get("stream") is True,
    )
    route = provider.route(recording.endpoint, client.name, model)
    assert route is not None, f"{provider.name} offers no {recording.endpoint} for {model}, which is recorded"
    assert route.dialect in dialects, f"{provider.name} routes to a dialect nobody registered: {route.dialect}"
    dialect = dialects[route.dialect]
    if dialect is client:
        return Asked(request, (), client)
    translated, dropped = translate(request, client, dialect, recording.endpoint)
    return Asked(translated, dropped, dialect)


def split_frames(dialect: Dialect, pieces: Iterable[bytes]) -> tuple[bytes, ...]:
    """The frames of a stream that arrives in `pieces`; what follows the last one counts as one, as in the engine."""
    splitter = dialect.splitter()
    frames = [frame for piece in pieces for frame in splitter.feed(piece)]
    rest = splitter.rest()
    return (*frames, rest) if rest.strip() else tuple(frames)


def decode(dialect: Dialect, frames: Iterable[bytes]) -> tuple[Event, ...]:
    """The events of whole frames."""
    decoder = dialect.decoder()
    return tuple(event for frame in frames for event in decoder.feed(frame))


def translates(dialect: Dialect) -> bool:
    """Whether the dialect has its translating half."""
    try:
        dialect.decoder()
    except Unsupported:
        return False
    return True


def read_events(dialect: Dialect, recording: Recording) -> tuple[Event, ...]:
    """The events of a whole answer, stream or not."""
    if recording.stream:
        return decode(dialect, split_frames(dialect, (recording.body,)))
    return tuple(dialect.read_answer(recording.body))


def comparable(events: Iterable[Event]) -> list[object]:
    """Events as values: two errors are equal when they say the same."""
    return [
        (type(event.error).__name__, event.error.status, str(event.error)) if isinstance(event, Failure) else event
        for event in events
    ]
