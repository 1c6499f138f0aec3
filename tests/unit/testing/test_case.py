from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from aiogateway.errors import UpstreamStatus
from aiogateway.testing import load_recordings
from aiogateway.testing.case import Case
from aiogateway.types import Capability, Host, Origin
from tests.unit.testing.battery import KINDS
from tests.unit.testing.toy import ToyDialect, ToyProvider, write_recordings


@pytest.fixture
def case(tmp_path: Path) -> Case:
    fields = {"provider": ToyProvider(), "dialects": (ToyDialect(),), "recordings": write_recordings(tmp_path)}
    made: Case = type("Subject", (Case,), fields)()
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_a_rule_runs_on_each_recording_of_its_kind(case: Case, kind: str) -> None:
    chosen: dict[str, list[str]] = {}

    def parametrize(name: str, values: Any, ids: list[str]) -> None:
        assert [value.name for value in values] == ids
        chosen[name] = ids

    case.pytest_generate_tests(cast(Any, SimpleNamespace(fixturenames=[kind, "self"], parametrize=parametrize)))
    assert {name: sorted(ids) for name, ids in chosen.items()} == {kind: sorted(f"{name}.rec" for name in KINDS[kind])}


def test_a_target_holds_credential_host_and_options(case: Case) -> None:
    target = case._target(Host("http://127.0.0.1:9", Origin.OURS, "custom_host"))
    assert (target.provider, target.host and target.host.url) == ("toy", "http://127.0.0.1:9")
    assert target.credential is not None
    assert target.credential.secret.reveal() == case.credential
    assert case.credential not in repr(target)


def test_an_error_is_read_from_wherever_it_came(case: Case) -> None:
    told = {}
    for recording in load_recordings(Path(case.recordings)):
        if recording.error is not None:
            error = case._read_error(recording)
            assert isinstance(error, UpstreamStatus)
            told[recording.name] = (error.status, error.message)
    assert told == {
        "refused.rec": (429, "slow down"),
        "broken.rec": (502, "out of ink"),
        "empty.rec": (502, "out of ink"),
    }


def test_nothing_is_left_out_unless_it_is_said() -> None:
    assert (Case.skips, Case.stand_in, Case.dialects, Case.options) == ({}, "", (), {})
    assert Case.credential != Case.other_credential
    assert not set(Capability) & set(Case.skips)
