from __future__ import annotations

from typing import Any

import pytest

from aiogateway.contracts import Provider
from aiogateway.providers import huggingface
from aiogateway.providers.huggingface import HuggingFace
from aiogateway.types import Endpoint, Host, Origin, Request, Target

HUGGINGFACE = HuggingFace()
OWN = "https://abc.endpoints.example"


def url(endpoint: Endpoint = Endpoint.CHAT, host: str | None = None, **options: Any) -> str:
    request = Request(endpoint=endpoint, dialect="", raw=b"{}", body={}, model="m", stream=False)
    given = None if host is None else Host(host, Origin.OURS, "custom_host")
    return HUGGINGFACE.prepare(request, Target(path="config", provider="x", options=options, host=given)).url


def test_the_router() -> None:
    assert url() == "https://router.huggingface.co/v1/chat/completions"
    assert url(Endpoint.COMPLETIONS) == "https://router.huggingface.co/v1/completions"
    assert url(Endpoint.RESPONSES) == "https://router.huggingface.co/v1/responses"


@pytest.mark.parametrize("base", [OWN, f"{OWN}/", f"{OWN}/v1", f"{OWN}/v1/"])
def test_an_endpoint_of_ones_own(base: str) -> None:
    assert url(huggingface_base_url=base) == f"{OWN}/v1/chat/completions"
    assert HUGGINGFACE.options["huggingface_base_url"].host


def test_custom_host_wins_and_ends_in_v1() -> None:
    assert url(host="http://localhost:8080/v1", huggingface_base_url=OWN) == "http://localhost:8080/v1/chat/completions"


def test_errors_of_text_generation_inference() -> None:
    error = HUGGINGFACE.read_error(424, (), b'{"error":"Request failed","error_type":"generation"}')
    assert (error.status, error.message, error.error_type) == (424, "Request failed", "generation")


def test_it_registers_itself() -> None:
    found: list[Provider] = []
    huggingface.register_providers(found.append)
    assert [provider.name for provider in found] == ["huggingface"]
