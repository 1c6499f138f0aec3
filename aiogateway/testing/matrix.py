"""What is known of a provider, one cell a feature, out of its recordings: data for the command line and for docs.

A cell *holds* when a recording of the provider's own, whose first line names its source, shows the feature, and the
battery passes on it. It is *not offered* when `skips` says why. It is *unchecked* when no source shows it: a reason in
`skips` that begins with that word says so, and so does a source that ends with it; recordings that stand in for the
provider's own prove no more.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from ..neutral import Event
from ..types import Capability, Endpoint
from .case import Case
from .proofs import PROOFS, Proof
from .recordings import Recording
from .replay import read_events, translates

UNCHECKED = "unchecked"
_MARK = re.compile(rf"^{UNCHECKED}\W*", re.IGNORECASE)


class Feature(enum.StrEnum):
    """The rows of a matrix."""

    UNARY = "unary"
    STREAM = "stream"
    TOOLS = "tools"
    PARALLEL_TOOLS = "parallel tools"
    IMAGES = "images"
    STRUCTURED_OUTPUT = "structured output"
    REASONING = "reasoning"
    USAGE = "usage"
    EMBEDDINGS = "embeddings"
    ERRORS = "errors"
    CANCELLATION = "cancellation"
    FRAGMENTED_BYTES = "fragmented bytes"


class State(enum.StrEnum):
    """What a cell says; of several batteries for one provider the first of these counts."""

    FAILED = "failed"
    HOLDS = "holds"
    NOT_OFFERED = "not offered"
    UNCHECKED = UNCHECKED


@dataclass(frozen=True, slots=True)
class Cell:
    """One feature. `recordings` are those that show it, by name, `sources` what they were transcribed from."""

    feature: Feature
    state: State
    recordings: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    reason: str = ""

    @property
    def text(self) -> str:
        """Why the cell is as it is, in one line."""
        if self.reason:
            return _MARK.sub("", self.reason).removeprefix(State.NOT_OFFERED)
        first, *more = self.recordings
        return f"{first} and {len(more)} more" if more else first


Matrix = tuple[Cell, ...]
"""One cell for each `Feature`, in their order."""
Failures = Mapping[str, Collection[str | None]]
"""Rules of the battery that failed, by name, with the recordings they failed on; None for a rule that takes none."""

_CAPABILITIES: Mapping[Feature, Capability] = {
    feature: Capability(feature.replace(" ", "_"))
    for feature in Feature
    if feature.replace(" ", "_") in set(Capability)
}
_WAIVED: Mapping[Feature, tuple[str, ...]] = {
    Feature.UNARY: ("unary",),
    Feature.ERRORS: ("errors",),
    Feature.CANCELLATION: ("stream", "custom_host"),
    Feature.FRAGMENTED_BYTES: ("stream",),
}
"""What in `skips` says that there is nothing to show, beside the capability of the same name."""
_PROVED_BY: Mapping[Feature, frozenset[str]] = {
    Feature.CANCELLATION: frozenset({"test_a_client_that_leaves_closes_the_upstream"}),
    Feature.FRAGMENTED_BYTES: frozenset({"test_events_are_the_same_at_every_split"}),
}
"""Features that one rule is about: no other rule decides them, nor does that rule decide others."""


def _is_stream(recording: Recording, _: tuple[Event, ...]) -> bool:
    return recording.stream and recording.error is None


_NO_TEXT = (Endpoint.EMBEDDINGS, Endpoint.COUNT_TOKENS)
_PROOFS: Mapping[Feature, Proof] = {
    **{feature: PROOFS[capability] for feature, capability in _CAPABILITIES.items()},
    Feature.UNARY: lambda recording, _: not recording.stream and recording.endpoint not in _NO_TEXT,
    Feature.USAGE: lambda recording, _: not recording.usage_absent,
    Feature.CANCELLATION: _is_stream,
    Feature.FRAGMENTED_BYTES: _is_stream,
}


def read_matrix(*batteries: type[Case], failures: Mapping[type[Case], Failures] | None = None) -> Matrix:
    """The matrix of one provider, out of all its batteries. Raises RecordingError, and AssertionError for a recording
    that the provider has no route for.

    A battery is taken to pass but for its `failures`.
    """
    rows = [_read_battery(battery, (failures or {}).get(battery, {})) for battery in batteries]
    order = list(State)
    return tuple(min(cells, key=lambda cell: order.index(cell.state)) for cells in zip(*rows, strict=True))


def tell_states(matrices: Mapping[str, Matrix]) -> list[tuple[str, ...]]:
    """A table of many providers, by name: a head, and then one row each with the state of every feature."""
    head = ("provider", *map(str, Feature))
    return [head, *((name, *(str(cell.state) for cell in cells)) for name, cells in matrices.items())]


def _read_battery(battery: type[Case], failures: Failures) -> Matrix:
    case = battery()
    shown: dict[Feature, list[Recording]] = {feature: [] for feature in Feature}
    for recording in case._load():
        for feature in _list_shown(case, recording):
            shown[feature].append(recording)
    return tuple(_make_cell(case, feature, found, failures) for feature, found in shown.items())


def _list_shown(case: Case, recording: Recording) -> Iterable[Feature]:
    """What a recording shows."""
    if recording.error is not None:
        return (Feature.ERRORS,)
    dialect = case._ask(recording).dialect
    events = read_events(dialect, recording) if translates(dialect) else ()
    return tuple(feature for feature, proof in _PROOFS.items() if proof(recording, events))


def _make_cell(case: Case, feature: Feature, found: list[Recording], failures: Failures) -> Cell:
    names = tuple(recording.name for recording in found)
    capability = _CAPABILITIES.get(feature)
    listed = capability is None or capability in case.provider.capabilities
    waived = ([capability] if capability else []) + list(_WAIVED.get(feature, ()))
    reason = next((case.skips[name] for name in waived if name in case.skips), "")
    if reason or not (found and listed):
        state = State.NOT_OFFERED if reason and not _MARK.match(reason) else State.UNCHECKED
        return Cell(feature, state, reason=reason or "no recording shows it")
    sources = tuple(dict.fromkeys(recording.source for recording in found))
    failed = _find_failed(feature, names, failures)
    if failed:
        return Cell(feature, State.FAILED, names, sources, ", ".join(failed))
    if case.stand_in:
        return Cell(feature, State.UNCHECKED, names, sources, f"shown by {case.stand_in} only")
    if all(source.endswith(UNCHECKED) for source in sources):
        return Cell(feature, State.UNCHECKED, names, sources, "no source of the provider's own shows it")
    return Cell(feature, State.HOLDS, names, sources)


def _find_failed(feature: Feature, names: Collection[str], failures: Failures) -> list[str]:
    """The rules that a feature fails: those about all of the provider, and those about a recording that shows it."""
    decides: Callable[[str], bool] = _decides(feature)
    return [
        rule
        for rule, where in failures.items()
        if decides(rule) and any(name is None or name in names for name in where)
    ]


def _decides(feature: Feature) -> Callable[[str], bool]:
    own = _PROVED_BY.get(feature)
    others = frozenset[str]().union(*_PROVED_BY.values())
    return (lambda rule: rule in own) if own is not None else (lambda rule: rule not in others)
