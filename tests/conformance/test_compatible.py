"""What every provider has to hold to, for each row of the table, with answers as OpenAI's reference has them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from aiogateway.providers.compatible import TABLE, Compatible, Row
from aiogateway.testing import ProviderConformance
from aiogateway.testing.recordings import Recording, load_recordings
from aiogateway.types import Capability, Endpoint

FOLDER = Path(__file__).parent / "recordings" / "compatible"


def write_skips(row: Row, capabilities: Collection[Capability]) -> dict[str, str]:
    """What a row doesn't route is not offered; the rest is up to the model."""
    skips = {
        str(capability): "unchecked: up to the model" for capability in Capability if capability not in capabilities
    }
    if Endpoint.EMBEDDINGS not in row.endpoints:
        skips["embeddings"] = "not offered"
    if Endpoint.CHAT not in row.endpoints:
        skips |= {name: "no chats here" for name in (*skips, "stream", "unary") if name != "embeddings"}
    return {name: reason for name, reason in skips.items() if name == "unary" or Capability(name) not in capabilities}


def make_case(row: Row) -> type[ProviderConformance]:
    """The battery for one row, with the recordings of the endpoints it has."""
    made = Compatible(row)

    class Case(ProviderConformance):
        provider = made
        recordings = FOLDER
        options = {} if row.option is None else {row.option: "0a1b2c"}
        stand_in = "OpenAI's reference"
        skips = write_skips(row, made.capabilities)

        def _load(self) -> tuple[Recording, ...]:
            return tuple(recording for recording in load_recordings(FOLDER) if recording.endpoint in row.endpoints)

    return Case


for _row in TABLE:
    _name = "Test" + "".join(word.capitalize() for word in _row.name.split("-"))
    globals()[_name] = make_case(_row)
