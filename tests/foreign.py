"""A provider whose wire is OpenAI's under a name of its own, so that every answer of it is translated.

A plugin: `install` it before the gateway starts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from aiogateway import plugins
from aiogateway.contracts import Dialect, Provider
from aiogateway.dialects.openai_chat import OpenAIChat
from aiogateway.hookspecs import hookimpl
from aiogateway.providers.base import BaseProvider
from aiogateway.types import Capability, Endpoint, Route

HEADERS = {"x-portkey-provider": "foreign"}


class ForeignChat(OpenAIChat):
    name = "foreign_chat"


class Foreign(BaseProvider):
    name = "foreign"
    base_url = "https://foreign.example/v1"
    capabilities = frozenset(Capability)
    routes: Mapping[Endpoint, Route] = {Endpoint.CHAT: Route("foreign_chat", "/chat/completions")}


@hookimpl
def register_providers(register: Callable[[Provider], None]) -> None:
    register(Foreign())


@hookimpl
def register_dialects(register: Callable[[Dialect], None]) -> None:
    register(ForeignChat())


def install(patch: pytest.MonkeyPatch) -> None:
    """From now on gateways know it."""
    patch.setattr(plugins, "DEFAULT_PLUGINS", (*plugins.DEFAULT_PLUGINS, __name__))
