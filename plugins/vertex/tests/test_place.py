from __future__ import annotations

from typing import Any

import pytest
from aiogateway_plugin_vertex.place import Model, path_of, place_of, read_account, read_host, read_model

from aiogateway.errors import RequestError
from aiogateway.types import Host, Origin, Secret, Target


def target(host: str | None = None, **options: Any) -> Target:
    chosen = None if host is None else Host(host, Origin.OURS, "custom_host")
    return Target(path="config", provider="vertex-ai", host=chosen, options=options)


@pytest.mark.parametrize(
    ("model", "found"),
    [
        ("gemini-2.5-flash", Model("google", "gemini-2.5-flash")),
        ("google.gemini-2.5-flash", Model("google", "gemini-2.5-flash")),
        ("claude-sonnet-4@20250514", Model("anthropic", "claude-sonnet-4@20250514")),
        ("anthropic.claude-3.5", Model("anthropic", "claude-3.5")),
        ("endpoints.123", Model("google", "endpoints.123")),
        ("", Model("google", "")),
    ],
)
def test_a_models_publisher(model: str, found: Model) -> None:
    assert read_model(model) == found


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("global", "https://aiplatform.googleapis.com"),
        ("eu", "https://aiplatform.eu.rep.googleapis.com"),
        ("europe-west4", "https://europe-west4-aiplatform.googleapis.com"),
    ],
)
def test_a_regions_host(region: str, host: str) -> None:
    assert read_host(target(vertex_region=region)) == host


def test_a_host_of_its_own_wins() -> None:
    assert read_host(target("http://127.0.0.1:9", vertex_region="eu")) == "http://127.0.0.1:9"


def test_the_accounts_project_wins() -> None:
    account = Secret('{"project_id": "theirs"}')
    options = {"vertex_project_id": "said", "vertex_region": "eu"}
    assert place_of(target(**options), account) == "/v1/projects/theirs/locations/eu"
    assert place_of(target(**options), Secret("{}")) == "/v1/projects/said/locations/eu"
    assert (
        place_of(target(**{**options, "vertex_project_id": "a/../b"}), None) == "/v1/projects/a%2F..%2Fb/locations/eu"
    )


@pytest.mark.parametrize(
    ("options", "account", "param"),
    [
        ({"vertex_project_id": "p"}, None, "vertex_region"),
        ({"vertex_region": "eu"}, None, "vertex_project_id"),
        ({"vertex_region": "eu"}, "no JSON", "vertex_service_account_json"),
    ],
)
def test_what_is_missing_is_named(options: dict[str, str], account: str | None, param: str) -> None:
    with pytest.raises(RequestError) as caught:
        place_of(target(**options), None if account is None else Secret(account))
    assert caught.value.param == param
    assert "no JSON" not in str(caught.value)


def test_an_account_never_shows() -> None:
    for value in (Secret('{"private_key": "canary"}'), '{"private_key": "canary"}'):
        assert repr(read_account(target(vertex_service_account_json=value))) == "***"
    assert read_account(target()) is None


def test_paths() -> None:
    assert path_of(Model("anthropic", "claude@1"), "rawPredict") == "/publishers/anthropic/models/claude@1:rawPredict"
    assert path_of(Model("google", "endpoints.12"), "generateContent") == "/endpoints/12:generateContent"
    for name in ("", "endpoints.", "../x"):
        with pytest.raises(RequestError):
            path_of(Model("google", name), "generateContent")
