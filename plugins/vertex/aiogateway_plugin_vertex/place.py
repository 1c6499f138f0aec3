"""Where a model is: publisher, method, project, region.

Hosts and paths: "Vertex AI locations" and the reference of ``projects.locations.publishers.models`` (cloud.google.com),
``_api_client.py`` in google-genai 3.4.0 for the multi-regions, Anthropic's "Claude on Vertex AI" for its publisher.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

from aiogateway.dialects.payload import as_text, parse_object
from aiogateway.errors import RequestError
from aiogateway.providers.google import quote_model
from aiogateway.types import Endpoint, Secret, Target

MULTI_REGIONS = frozenset({"us", "eu"})

ROUTES: Mapping[tuple[str, Endpoint], tuple[str, str]] = {
    ("google", Endpoint.CHAT): ("gemini", "generateContent"),
    ("anthropic", Endpoint.CHAT): ("anthropic", "rawPredict"),
    ("anthropic", Endpoint.MESSAGES): ("anthropic", "rawPredict"),
    ("anthropic", Endpoint.COUNT_TOKENS): ("anthropic_tokens", "rawPredict"),
}
"""Dialect and method by publisher and endpoint; embeddings depend on the model."""

STREAMED = {"generateContent": "streamGenerateContent?alt=sse", "rawPredict": "streamRawPredict"}


class Model(msgspec.Struct, frozen=True):
    """`name` without the prefix that picks the publisher."""

    publisher: str
    name: str

    @property
    def takes_content(self) -> bool:
        """Whether texts are embedded by ``embedContent``; older models have ``predict``."""
        return "gemini" in self.name


def read_model(model: str) -> Model:
    """``anthropic.claude-…`` and ``claude-…`` are Anthropic's; everything else is Google's, with ``google.`` or without
    (portkey.md 8.3).
    """
    publisher, dot, name = model.partition(".")
    if dot and publisher in ("google", "anthropic"):
        return Model(publisher, name)
    return Model("anthropic" if model.startswith("claude-") else "google", model)


def read_host(target: Target) -> str:
    """The target's own host (without a version), or its region's. Raises RequestError when it names neither."""
    if target.host is not None:
        return target.host.url
    region = read_region(target)
    if region == "global":
        return "https://aiplatform.googleapis.com"
    if region in MULTI_REGIONS:
        return f"https://aiplatform.{region}.rep.googleapis.com"
    return f"https://{region}-aiplatform.googleapis.com"


def read_region(target: Target) -> str:
    region = as_text(target.options.get("vertex_region"))
    if not region:
        raise RequestError("vertex-ai needs a vertex_region, such as global or europe-west4", param="vertex_region")
    return region


def read_account(target: Target) -> Secret | None:
    """The service account's key, as JSON text."""
    value: Any = target.options.get("vertex_service_account_json")
    return Secret(value) if isinstance(value, str) else value


def read_project(target: Target, account: Secret | None) -> str:
    """The service account's own project wins, as at Portkey."""
    said = as_text(target.options.get("vertex_project_id"))
    if account is not None:
        try:
            said = as_text(parse_object(account.reveal().encode()).get("project_id")) or said
        except ValueError:
            raise RequestError(
                "vertex_service_account_json must be a JSON object", param="vertex_service_account_json"
            ) from None
    if not said:
        raise RequestError("vertex-ai needs a vertex_project_id", param="vertex_project_id")
    return said


def place_of(target: Target, account: Secret | None) -> str:
    """``/v1/projects/…/locations/…``."""
    project = quote(read_project(target, account), safe="")
    return f"/v1/projects/{project}/locations/{quote(read_region(target), safe='')}"


def path_of(model: Model, method: str) -> str:
    """Below `place_of`. ``endpoints.123`` is a model of one's own, deployed."""
    if model.name.startswith("endpoints."):
        return f"/endpoints/{quote_model(model.name.removeprefix('endpoints.'))}:{method}"
    name = quote_model(model.name)
    return f"/publishers/{model.publisher}/models/{name}:{method}"
