"""What a battery is about: a provider, its recordings, what is left out and why; and how the rules get at them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import aiohttp

from ..contracts import Dialect, Provider
from ..errors import GatewayError
from ..neutral import Event, Failure, Finish
from ..types import Credential, Host, Origin, Secret, Target, UpstreamRequest
from .recordings import Recording, load_recordings
from .replay import Asked, Dialects, ask, comparable, find_dialects, read_events, split_frames, translates

if TYPE_CHECKING:
    import pytest


class Case:
    """Inherit `ProviderConformance`, and set `provider` and `recordings`.

    `skips` says why a capability is missing (by its value), or waives a rule: ``credential`` (the provider takes none),
    ``custom_host`` (it has one host only), ``errors`` (it has no errors of its own), ``unary`` (it only streams). A
    reason that begins with ``unchecked`` says that no source shows it, not that the provider lacks it. `stand_in` says
    whose recordings these are where none of them is the provider's own. `dialects` are needed only where the provider's
    package doesn't register them itself. `options` are those of a target that the provider can serve, and both
    credentials have the shape it takes.
    """

    provider: ClassVar[Provider]
    recordings: ClassVar[Path]
    skips: ClassVar[Mapping[str, str]] = {}
    stand_in: ClassVar[str] = ""
    dialects: ClassVar[tuple[Dialect, ...]] = ()
    options: ClassVar[Mapping[str, Any]] = {}
    credential: ClassVar[str] = "canary-5f1e8d02c7"
    other_credential: ClassVar[str] = "canary-a90b44e613"

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Runs a rule once per recording: any (`recording`), streams, whole good answers, or errors."""
        kinds: dict[str, Callable[[Recording], bool]] = {
            "recording": lambda _: True,
            "stream": lambda recording: recording.stream,
            "answer": lambda recording: recording.ok and recording.error is None,
            "failure": lambda recording: recording.error is not None,
        }
        for kind, belongs in kinds.items():
            if kind in metafunc.fixturenames:
                chosen = [recording for recording in self._load() if belongs(recording)]
                metafunc.parametrize(kind, chosen, ids=[recording.name for recording in chosen])

    # --- how the rules get at things ---

    def _load(self) -> tuple[Recording, ...]:
        return load_recordings(Path(self.recordings))

    def _dialects(self) -> Dialects:
        return find_dialects(self.provider, self.dialects)

    def _ask(self, recording: Recording, extra: Mapping[str, Any] | None = None) -> Asked:
        return ask(self.provider, self._dialects(), recording, extra)

    def _target(self, host: Host | None = None) -> Target:
        credential = Credential(Secret(self.credential), Origin.OURS, "api_key")
        return Target(
            path="config", provider=self.provider.name, credential=credential, host=host, options=dict(self.options)
        )

    def _prepare(self, recording: Recording, host: Host | None = None) -> UpstreamRequest:
        return self.provider.prepare(self._ask(recording).request, self._target(host))

    def _authorize(self, prepared: UpstreamRequest, credential: str) -> UpstreamRequest:
        async def authorize() -> UpstreamRequest:
            async with aiohttp.ClientSession() as http:
                secret = Credential(Secret(credential), Origin.OURS, "api_key")
                return await self.provider.authorize(prepared, secret, http)

        return asyncio.run(authorize())

    def _events(self, recording: Recording) -> tuple[Event, ...] | None:
        """None: the dialect only passes through."""
        dialect = self._ask(recording).dialect
        return read_events(dialect, recording) if translates(dialect) else None

    def _read_error(self, recording: Recording) -> GatewayError:
        """The error a recording stands for, by whichever way it came."""
        if not recording.ok:
            return self.provider.read_error(recording.status, recording.headers, recording.body)
        dialect = self._ask(recording).dialect
        if not recording.stream:
            found = dialect.read_body_failure(recording.body)
            assert found is not None, f"{recording.name}: read_body_failure finds no error"
            return found
        *_, last = split_frames(dialect, (recording.body,))
        failure = dialect.read_failure(last)
        assert failure is not None, f"{recording.name}: read_failure finds no error in {last!r}"
        events = self._events(recording)
        if events is not None:
            assert not any(isinstance(event, Finish) for event in events), f"{recording.name}: a finish was invented"
            ending = events[-1:]
            assert [type(event) for event in ending] == [Failure], f"{recording.name}: the events end without a Failure"
            assert comparable(ending) == comparable((Failure(failure),)), f"{recording.name}: two errors"
        return failure

    def _assert_hidden(self, *values: object) -> None:
        for value in values:
            shown = f"{value!r} {value}"
            assert self.credential not in shown, f"a {type(value).__name__} shows the credential"
