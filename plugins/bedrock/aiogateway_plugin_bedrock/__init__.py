"""Amazon Bedrock for aiogateway: Converse for every model, Claude's own wire, embeddings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiogateway.contracts import Dialect, Provider
from aiogateway.hookspecs import hookimpl
from aiogateway_plugin_bedrock.converse import BedrockConverse
from aiogateway_plugin_bedrock.embed import BedrockEmbed
from aiogateway_plugin_bedrock.identity import read_ours
from aiogateway_plugin_bedrock.messages import BedrockAnthropic
from aiogateway_plugin_bedrock.provider import Bedrock

__all__ = ["Bedrock", "BedrockAnthropic", "BedrockConverse", "BedrockEmbed"]


@hookimpl
def register_providers(register: Callable[[Provider], None]) -> None:
    register(Bedrock())


@hookimpl
def register_dialects(register: Callable[[Dialect], None]) -> None:
    register(BedrockAnthropic())
    register(BedrockConverse())
    register(BedrockEmbed())


@hookimpl
async def startup(gateway: Any) -> None:
    """Tells the provider what the operator's settings say, as opposed to a request."""
    own = gateway.settings.providers.get("bedrock")
    provider = gateway.registry.providers.get("bedrock")
    if isinstance(provider, Bedrock):
        provider.ours = read_ours(own.options if own is not None else {}, gateway.settings.default_config)
