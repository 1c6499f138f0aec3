"""The matrix of clients and providers says what its recordings say; the cells run in tests/clients/sdk."""

from __future__ import annotations

import re

from tests.matrix import BROKEN, CLIENTS, FEATURES, MODES, ROWS, Cell, count_cells, list_cells, write_matrix

CELLS = list(list_cells())


def shows(cell: Cell) -> bool:
    """Whether a recording's request asks for what the cell is about."""
    request, asked = cell.tape.request, str(cell.tape.request)
    if request.get("stream", False) != (cell.mode == "stream"):
        return False
    match cell.feature:
        case "tools" | "parallel tools":
            return bool(request.get("tools"))
        case "image":
            return "image_url" in asked
        case "structured output":
            return "json_schema" in asked
    return True


def test_a_recording_asks_for_what_its_cell_is_about() -> None:
    assert [cell.name for cell in CELLS if not shows(cell)] == []


def test_a_cell_names_its_source_and_no_source_has_doubts() -> None:
    assert [cell.name for cell in CELLS if not cell.tape.source or not cell.tape.checked] == []


def test_recordings_that_are_named_are_there() -> None:
    wires = {id(wire): wire for row in ROWS for wire in row.wires.values() if wire}.values()
    named = [wire.folder / f"{name}.rec" for wire in wires for name in wire.names.values()]
    assert [path.name for path in named if not path.is_file()] == []


def test_the_table_has_a_mark_for_each_cell() -> None:
    table = write_matrix()
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ") and "---" not in line]
    assert [len(row) for row in rows] == [1 + len(FEATURES)] * len(CLIENTS) * (1 + len(ROWS))
    held, unchecked = count_cells()
    assert f"{held} cells hold, {len(BROKEN)} fail, {unchecked} are unchecked." in table
    assert held + len(BROKEN) == len(CELLS)
    lacking = len(re.findall(r"\bnone\b", table)) * len(MODES)
    assert len(CELLS) + unchecked + lacking == len(CLIENTS) * len(ROWS) * len(MODES) * len(FEATURES)


def test_what_fails_is_among_the_cells() -> None:
    assert set(BROKEN) <= {cell.place for cell in CELLS}
