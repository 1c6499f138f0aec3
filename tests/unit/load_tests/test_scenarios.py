"""Which scenarios `--only` means."""

from __future__ import annotations

import pytest

from load_tests.scenarios import QUICK, SCENARIOS, choose_scenarios


def names(only: str, quick: bool = False) -> list[str]:
    return [scenario.name for scenario in choose_scenarios(only, quick)]


def test_every_scenario_has_its_own_name_and_all_run_by_default() -> None:
    assert names("") == [scenario.name for scenario in SCENARIOS]
    assert len(set(names(""))) == len(SCENARIOS)
    assert {scenario.letter for scenario in SCENARIOS} == set("abcdefgh")


def test_letters_names_and_beginnings_are_understood_in_table_order() -> None:
    assert names("d,a") == ["unary-64", "stall-50"]
    assert names("paced-100") == ["paced-100", "paced-100-usage"]
    assert names("burst-64-usage, start") == ["burst-64-usage", "start"]


def test_what_fits_nothing_is_named() -> None:
    with pytest.raises(ValueError, match="'paced-7'"):
        choose_scenarios("a,paced-7", quick=False)


def test_quick_is_a_part_of_all() -> None:
    assert set(names("", quick=True)) == QUICK < {scenario.name for scenario in SCENARIOS}
