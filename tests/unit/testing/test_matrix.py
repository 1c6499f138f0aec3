from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from aiogateway.testing import Feature, Matrix, ProviderConformance, State, read_matrix, tell_states
from aiogateway.testing.matrix import Failures
from aiogateway.types import Capability
from tests.unit.testing.toy import CHAT, FILES, SKIPS, ToyDialect, ToyProvider, write_recordings

SPLITS = "test_events_are_the_same_at_every_split"
LEAVING = "test_a_client_that_leaves_closes_the_upstream"


def battery(folder: Path, files: Mapping[str, str] = FILES, **fields: Any) -> type[ProviderConformance]:
    folder.mkdir(exist_ok=True)
    given = {
        "provider": ToyProvider(),
        "dialects": (ToyDialect(),),
        "recordings": write_recordings(folder, files),
        "skips": SKIPS,
        **fields,
    }
    return type("Subject", (ProviderConformance,), given)


def states(matrix: Matrix) -> dict[str, str]:
    return {str(cell.feature): str(cell.state) for cell in matrix}


def test_a_cell_holds_by_the_recordings_that_show_it(tmp_path: Path) -> None:
    matrix = read_matrix(battery(tmp_path))
    assert [cell.feature for cell in matrix] == list(Feature)
    assert {cell.feature: cell.recordings for cell in matrix if cell.state is State.HOLDS} == {
        "unary": ("tools.rec", "uncounted.rec"),
        "stream": ("passed.rec", "stream.rec"),
        "tools": ("tools.rec",),
        "parallel tools": ("tools.rec",),
        "usage": ("passed.rec", "stream.rec", "tools.rec", "vectors.rec"),
        "embeddings": ("vectors.rec",),
        "errors": ("broken.rec", "empty.rec", "refused.rec"),
        "cancellation": ("passed.rec", "stream.rec"),
        "fragmented bytes": ("passed.rec", "stream.rec"),
    }
    assert all(cell.sources == ("made up for this test",) for cell in matrix if cell.state is State.HOLDS)


def test_what_is_skipped_is_not_offered_or_unchecked_as_the_reason_says(tmp_path: Path) -> None:
    skips = {**SKIPS, "reasoning": "Unchecked: nobody wrote it down"}
    cells = {cell.feature: cell for cell in read_matrix(battery(tmp_path, skips=skips))}
    assert (cells[Feature.IMAGES].state, cells[Feature.IMAGES].text) == (State.NOT_OFFERED, "blind")
    reasoning = cells[Feature.REASONING]
    assert (reasoning.state, reasoning.text) == (State.UNCHECKED, "nobody wrote it down")


def test_the_text_names_the_first_recording(tmp_path: Path) -> None:
    cells = {cell.feature: cell.text for cell in read_matrix(battery(tmp_path))}
    assert cells[Feature.TOOLS] == "tools.rec"
    assert cells[Feature.UNARY] == "tools.rec and 1 more"


def test_what_no_recording_shows_is_unchecked(tmp_path: Path) -> None:
    files = {name: FILES[name] for name in ("stream", "refused")}
    matrix = read_matrix(battery(tmp_path, files))
    assert states(matrix)["unary"] == states(matrix)["embeddings"] == "unchecked"
    assert matrix[0].text == "no recording shows it"


def test_what_is_waived_is_not_offered(tmp_path: Path) -> None:
    files = {name: FILES[name] for name in ("vectors", "tools")}
    skips = {**SKIPS, "stream": "all at once", "unary": "talks in vectors", "errors": "never fails"}
    found = states(read_matrix(battery(tmp_path, files, skips=skips)))
    assert {name for name, state in found.items() if state == "not offered"} == {
        *("unary", "stream", "errors", "cancellation", "fragmented bytes"),
        *("images", "structured output", "reasoning"),
    }


def test_a_capability_that_is_not_listed_does_not_hold_by_chance(tmp_path: Path) -> None:
    class Modest(ToyProvider):
        capabilities = frozenset(Capability) - {Capability.TOOLS}

    assert states(read_matrix(battery(tmp_path, provider=Modest())))["tools"] == "unchecked"


def test_recordings_that_stand_in_check_nothing(tmp_path: Path) -> None:
    cells = {cell.feature: cell for cell in read_matrix(battery(tmp_path, stand_in="somebody's reference"))}
    assert not any(cell.state is State.HOLDS for cell in cells.values())
    assert cells[Feature.IMAGES].state is State.NOT_OFFERED
    assert cells[Feature.TOOLS].text == "shown by somebody's reference only"


def test_a_source_that_calls_itself_unchecked_shows_nothing_by_itself(tmp_path: Path) -> None:
    subject = battery(tmp_path)
    unsure = "# somebody else's reference: unchecked"
    for name in ("tools", "vectors"):
        path = tmp_path / f"{name}.rec"
        path.write_text(path.read_text().replace("# made up for this test", unsure))
    cells = {cell.feature: cell for cell in read_matrix(subject)}
    assert (cells[Feature.TOOLS].state, cells[Feature.UNARY].state) == (State.UNCHECKED, State.HOLDS)
    assert cells[Feature.EMBEDDINGS].text == "no source of the provider's own shows it"


@pytest.mark.parametrize(
    ("failures", "failed"),
    [
        ({SPLITS: ["stream.rec"]}, {"fragmented bytes"}),
        ({LEAVING: ["passed.rec"]}, {"cancellation"}),
        ({"test_tool_calls_are_whole": ["tools.rec"]}, {"unary", "tools", "parallel tools", "usage"}),
        ({"test_odd_error_bodies_are_still_errors": [None]}, {*Feature} - {"fragmented bytes", "cancellation"}),
        ({"test_prepare_is_pure": ["nothing.rec"]}, set()),
    ],
)
def test_a_rule_that_fails_takes_its_cells_along(tmp_path: Path, failures: Failures, failed: set[str]) -> None:
    subject = battery(tmp_path)
    matrix = read_matrix(subject, failures={subject: failures})
    found = {str(cell.feature) for cell in matrix if cell.state is State.FAILED}
    assert found == {str(name) for name in failed} - {"images", "structured output", "reasoning"}
    assert all(cell.text in failures for cell in matrix if cell.state is State.FAILED)


def test_of_several_batteries_the_worst_news_count_first(tmp_path: Path) -> None:
    one = battery(tmp_path / "one", {"plain": CHAT % "" + '\n{"lines":[{"say":"h"},{"end":"stop","counts":[3,2]}]}'})
    two = battery(tmp_path / "two", skips={**SKIPS, "images": "unchecked"})
    assert states(read_matrix(one))["tools"] == "unchecked"
    both = states(read_matrix(one, two))
    assert (both["tools"], both["unary"], both["images"]) == ("holds", "holds", "not offered")
    broken = read_matrix(one, two, failures={two: {"test_tool_calls_are_whole": ["tools.rec"]}})
    assert states(broken)["tools"] == "failed"


def test_the_table_has_a_row_for_each_provider(tmp_path: Path) -> None:
    head, row = tell_states({"toy": read_matrix(battery(tmp_path))})
    assert head == ("provider", *Feature)
    assert dict(zip(head, row, strict=True))["errors"] == "holds"
    assert row[0] == "toy"
