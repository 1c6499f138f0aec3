"""What there is to say about each provider, asked of the registry: the rows of the README's tables."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from aiogateway.contracts import Provider
from aiogateway.errors import RequestError
from aiogateway.plugins import GROUP, load_plugins
from aiogateway.providers.compatible import Compatible
from aiogateway.registry import CLIENT_DIALECTS
from aiogateway.settings import Settings
from aiogateway.types import Endpoint, Host, Origin, Request, Route, Target
from tests.readme import ROOT

WORDS: Mapping[Endpoint, str] = {
    Endpoint.CHAT: "chat",
    Endpoint.COMPLETIONS: "completions",
    Endpoint.EMBEDDINGS: "embeddings",
    Endpoint.RESPONSES: "responses",
    Endpoint.MESSAGES: "messages",
    Endpoint.COUNT_TOKENS: "count_tokens",
}
MODELS = (
    "gpt-4o", "claude-sonnet-4-5", "anthropic.claude-sonnet-4-5", "gemini-2.5-flash", "magistral-medium-latest",
    "text-embedding-005", "gemini-embedding-001",
)  # fmt: skip
"""Some of each kind: where a provider has models in different places, each place is asked for."""

_HOST = "http://host.example"
_PACKAGES = "aiogateway_plugin_"


@dataclass(frozen=True, slots=True)
class Card:
    """`verbatim` and `translated` are what it serves, the latter with the dialects it is written in.

    `base` is what a `custom_host` takes the place of, with the fields that become part of it in braces. `folder` is
    that of a plugin, `document` what a row was checked against.
    """

    name: str
    verbatim: tuple[str, ...]
    translated: Mapping[str, frozenset[str]]
    base: str
    fields: tuple[str, ...]
    folder: str | None
    document: str | None

    @property
    def suffix(self) -> str:
        return urlsplit(self.base).path


def list_providers() -> tuple[Card, ...]:
    """All that this repository has, by name; the mock, which asks nobody, is not among them."""
    folders = {path.parent.name for path in ROOT.glob("plugins/*/pyproject.toml")}
    points = [point for point in importlib.metadata.entry_points(group=GROUP) if point.name in folders]
    _, registry = load_plugins(Settings(), installed=points)
    return tuple(_describe(registry.providers[name]) for name in sorted(registry.providers) if name != "mock")


def _describe(provider: Provider) -> Card:
    wires = {word: _ask(provider, endpoint) for endpoint, word in WORDS.items()}
    own = {WORDS[endpoint]: dialect for endpoint, dialect in CLIENT_DIALECTS.items()}
    translated = {word: frozenset(route.dialect for route in routes) - {own[word]} for word, routes in wires.items()}
    module = type(provider).__module__
    return Card(
        name=provider.name,
        verbatim=tuple(word for word, routes in wires.items() if any(route.dialect == own[word] for route in routes)),
        translated={word: dialects for word, dialects in translated.items() if dialects},
        base=find_base(provider),
        fields=tuple(
            name for name in provider.options if name.removeprefix("azure_") not in {*provider.options} - {name}
        ),
        folder=f"plugins/{module[len(_PACKAGES) :].partition('.')[0]}" if module.startswith(_PACKAGES) else None,
        document=provider.row.document if isinstance(provider, Compatible) else None,
    )


def _ask(provider: Provider, endpoint: Endpoint) -> tuple[Route, ...]:
    routes = (provider.route(endpoint, CLIENT_DIALECTS[endpoint], model) for model in MODELS)
    return tuple(route for route in routes if route is not None)


def find_base(provider: Provider) -> str:
    """What stands in its URLs in front of what a `custom_host` keeps, with the fields that it can't do without."""
    options: dict[str, str] = {}
    own = None
    while own is None:
        try:
            own = _prepare(provider, Target(path="config", provider=provider.name, options=options))
        except RequestError as error:
            if error.param is None or error.param in options:
                raise
            options[error.param] = error.param.replace("_", "-")
    host = Host(_HOST, Origin.REQUEST, "custom_host")
    moved = _prepare(provider, Target(path="config", provider=provider.name, options=options, host=host))
    base = own.removesuffix(moved.removeprefix(_HOST))
    for name, value in options.items():
        base = base.replace(value, f"{{{name}}}")
    return base


def _prepare(provider: Provider, target: Target) -> str:
    """The URL of a request to the first endpoint that there is."""
    for endpoint in WORDS:
        for route in _ask(provider, endpoint)[:1]:
            model = MODELS[0]
            request = Request(endpoint=endpoint, dialect=route.dialect, raw=b"{}", body={}, model=model, stream=False)
            return provider.prepare(request, target).url
    raise AssertionError(f"{provider.name} serves nothing")
