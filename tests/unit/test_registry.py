from __future__ import annotations

import pytest

from aiogateway.dialects.openai_chat import OpenAIChat
from aiogateway.errors import PluginError
from aiogateway.registry import Registry
from aiogateway.types import Endpoint


def test_the_dialect_of_an_endpoint() -> None:
    chat = OpenAIChat()
    assert Registry(dialects={"openai_chat": chat}).client_dialect(Endpoint.CHAT) is chat


def test_a_dialect_that_is_not_loaded_names_who_should_bring_it() -> None:
    with pytest.raises(PluginError, match="openai_responses is not loaded") as caught:
        Registry().client_dialect(Endpoint.RESPONSES)
    assert caught.value.plugin == "aiogateway.dialects.builtin"


def test_it_is_frozen() -> None:
    with pytest.raises(AttributeError):
        Registry().plugins = ()  # type: ignore[misc]
