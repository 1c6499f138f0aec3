"""For authors of plugins: a battery that every provider has to pass, and an upstream that misbehaves on command.

Install with the extra ``aiogateway[testing]``. Nothing in the gateway imports this package.
"""

from .conformance import ProviderConformance
from .recordings import Recording, RecordingError, load_recordings
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
    "Cut",
    "FakeUpstream",
    "Hang",
    "Pause",
    "ProviderConformance",
    "Recording",
    "RecordingError",
    "Reply",
    "Reset",
    "SeenConnection",
    "SeenRequest",
    "Send",
    "Stall",
    "Step",
    "chunk",
    "garbage",
    "head",
    "load_recordings",
    "split_points",
    "stream",
    "unary",
]
