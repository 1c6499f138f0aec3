"""For authors of plugins: a battery that every provider has to pass, and an upstream that misbehaves on command.

Install with the extra ``aiogateway[testing]``. Nothing in the gateway imports this package.
"""

from .conformance import ProviderConformance
from .matrix import Cell, Feature, Matrix, State, read_matrix, tell_states
from .recordings import Recording, RecordingError, load_recordings
from .running import Answer, Running, gateway
from .splits import split_points
from .upstream import (
    END,
    Cut,
    FakeUpstream,
    Hang,
    Pause,
    Reply,
    Reset,
    SeenConnection,
    SeenRequest,
    Send,
    Stall,
    Step,
    chunk,
    garbage,
    head,
    stream,
    unary,
)

__all__ = [
    "END",
    "Answer",
    "Cell",
    "Cut",
    "FakeUpstream",
    "Feature",
    "Hang",
    "Matrix",
    "Pause",
    "ProviderConformance",
    "Recording",
    "RecordingError",
    "Reply",
    "Reset",
    "Running",
    "SeenConnection",
    "SeenRequest",
    "Send",
    "Stall",
    "State",
    "Step",
    "chunk",
    "garbage",
    "gateway",
    "head",
    "load_recordings",
    "read_matrix",
    "split_points",
    "stream",
    "tell_states",
    "unary",
]
