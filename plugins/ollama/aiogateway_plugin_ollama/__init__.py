"""Ollama for aiogateway, over its native API."""

from __future__ import annotations

from collections.abc import Callable

from aiogateway.contracts import Dialect, Provider
from aiogateway.hookspecs import hookimpl
from aiogateway_plugin_ollama.dialect import OllamaChat
from aiogateway_plugin_ollama.embed import OllamaEmbed
from aiogateway_plugin_ollama.provider import Ollama

__all__ = ["Ollama", "OllamaChat", "OllamaEmbed"]


@hookimpl
def register_providers(register: Callable[[Provider], None]) -> None:
    register(Ollama())


@hookimpl
def register_dialects(register: Callable[[Dialect], None]) -> None:
    register(OllamaChat())
    register(OllamaEmbed())
