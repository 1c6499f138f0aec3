from __future__ import annotations

import json

import pytest

from aiogateway.server.health import DRAINING, STARTING, Health


@pytest.fixture
def health() -> Health:
    return Health(version="1.2.3", docs="https://docs.example")


def test_starts_as_not_ready(health: Health) -> None:
    assert not health.ready
    status, body = health.readiness()
    assert status == 503
    assert json.loads(body) == {"status": "not ready", "reasons": ["starting"], "warnings": []}


def test_ready_once_no_reason_is_left(health: Health) -> None:
    health.block("loading")
    health.clear(STARTING)
    assert health.reasons == ("loading",)
    health.clear("loading")
    health.clear("loading")
    assert health.ready
    status, body = health.readiness()
    assert status == 200
    assert json.loads(body)["status"] == "ready"


def test_draining_turns_it_at_once(health: Health) -> None:
    health.clear(STARTING)
    health.block(DRAINING)
    health.block(DRAINING)
    status, body = health.readiness()
    assert status == 503
    assert json.loads(body)["reasons"] == ["draining"]


def test_warnings_keep_no_request_away(health: Health) -> None:
    health.clear(STARTING)
    status, body = health.readiness(warnings=("log sink json_lines",))
    assert status == 200
    assert json.loads(body)["warnings"] == ["log sink json_lines"]


def test_lives_whatever_the_readiness(health: Health) -> None:
    assert json.loads(health.live()) == {"status": "ok"}


def test_about(health: Health) -> None:
    assert json.loads(health.about()) == {"name": "aiogateway", "version": "1.2.3", "docs": "https://docs.example"}
