"""Every config that the two guides of LlamaIndex with Portkey show, as their SDKs send it (portkey.md 1 and 6)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PROVIDERS = ("anthropic", "google", "mistral-ai", "ollama", "openai")

_MISTRAL = {
    "provider": "mistral-ai",
    "api_key": "YOUR_MISTRAL_AI_API_KEY",
    "override_params": {"model": "codestral-latest", "max_tokens": 64},
}

CURRENT: Mapping[str, dict[str, Any]] = {
    "openai": {
        "provider": "openai",
        "api_key": "YOUR_OPENAI_API_KEY",
        "override_params": {"model": "gpt-4o", "max_tokens": 64},
    },
    "anthropic": {
        "provider": "anthropic",
        "api_key": "YOUR_ANTHROPIC_API_KEY",
        "override_params": {"model": "claude-3-opus-20240229", "max_tokens": 64},
    },
    "gemini": {
        "provider": "google",
        "api_key": "YOUR_GOOGLE_GEMINI_API_KEY",
        "override_params": {"model": "gemini-1.5-flash-latest", "max_tokens": 64},
    },
    "mistral": _MISTRAL,
    "azure": {"virtual_key": "AZURE_OPENAI_PORTKEY_VIRTUAL_KEY"},
    "bedrock": {"virtual_key": "AWS_BEDROCK_PORTKEY_VIRTUAL_KEY"},
    "vertex": {"virtual_key": "VERTEX_AI_PORTKEY_VIRTUAL_KEY"},
    "ollama": {
        "provider": "ollama",
        "custom_host": "https://7cc4-3-235-157-146.ngrok-free.app",
        "override_params": {"model": "llama3"},
    },
    "simple_cache": {**_MISTRAL, "cache": {"mode": "simple", "max_age": 60000}},
    "semantic_cache": {**_MISTRAL, "cache": {"mode": "semantic", "max_age": 60000}},
    "fallback": {
        "strategy": {"mode": "fallback"},
        "targets": [
            {"virtual_key": "openai-virtual-key", "override_params": {"model": "gpt-4o"}},
            {
                "virtual_key": "anthropic-virtual-key",
                "override_params": {"model": "claude-3-opus-20240229", "max_tokens": 64},
            },
        ],
    },
    "loadbalance": {
        "strategy": {"mode": "loadbalance"},
        "targets": [
            {"virtual_key": "openai-virtual-key-1", "weight": 1},
            {"virtual_key": "openai-virtual-key-2", "weight": 1},
        ],
    },
    "retries": {"retry": {"attempts": 5}, "virtual_key": "virtual-key-xxx"},
    "request_timeout": {
        "strategy": {"mode": "fallback"},
        "request_timeout": 10000,
        "targets": [{"virtual_key": "open-ai-xxx"}, {"virtual_key": "azure-open-ai-xxx"}],
    },
    # The prompt template has no temperature.
    "prompt": {
        "virtual_key": "GROQ_VIRTUAL_KEY",
        "override_params": {"model": "llama3-70b-8192", "temperature": None},
    },
}
"""The configs of the header ``x-portkey-config``."""


def _option(**fields: Any) -> dict[str, Any]:
    return {"provider": "openai", "virtual_key": "vk-a", "override_params": {"model": "gpt-4"}, **fields}


_RETRIES = {"on_status_codes": [429, 500], "attempts": 2}

OLD: Mapping[str, dict[str, Any]] = {
    "single": {"mode": "single", "options": [_option()]},
    # portkey-ai of three ages: the current field, what the guide writes, and where 0.1.40 to 0.1.50 put it.
    "fallback": {"mode": "fallback", "options": [_option(retry=_RETRIES), _option(virtual_key="vk-b")]},
    "fallback_settings": {"mode": "fallback", "options": [_option(retry_settings=_RETRIES), _option()]},
    "fallback_overrides": {
        "mode": "fallback",
        "options": [_option(override_params={"model": "gpt-4", "retry_settings": _RETRIES}), _option()],
    },
    "ab_test": {"mode": "ab_test", "options": [_option(weight=0.2), _option(weight=0.8)]},
    "semantic_cache": {"mode": "single", "options": [_option(cache_status="semantic")]},
    "cache_age": {"mode": "single", "options": [_option(cache_force_refresh=True, cache_age="max-age=60")]},
    "observability": {
        "mode": "single",
        "options": [
            _option(
                metadata={
                    "_environment": "production",
                    "_prompt": "test",
                    "_user": "user",
                    "_organisation": "acme",
                },
                trace_id="llamaindex_portkey",
            )
        ],
    },
    "own_key": {"mode": "single", "options": [_option(virtual_key=None, api_key="YOUR_OPENAI_API_KEY")]},
    "everything": {
        "mode": "fallback",
        "options": [
            _option(),
            _option(
                virtual_key="vk-b",
                cache_age="max-age=60",
                cache_status="semantic",
                cache_force_refresh=True,
                trace_id="tr",
                metadata={"_user": "u"},
                weight=0.8,
                retry={"attempts": 2, "on_status_codes": [429]},
            ),
        ],
    },
}
"""The configs in the bodies of ``/v1/chatComplete`` and ``/v1/complete``."""
