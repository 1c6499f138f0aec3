"""Amazon Bedrock: where its operations are, and how a request is signed.

Paths: ``requestUri`` in the service model ``bedrock-runtime/2023-09-30``. Hosts: "Amazon Bedrock endpoints and quotas",
AWS general reference. The signing name is bedrock, whatever the host.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import orjson

from aiogateway.errors import Headers, RequestError, UpstreamStatus
from aiogateway.providers.base import JSON_HEADERS, BaseProvider, join_url
from aiogateway.types import (
    Capability,
    Credential,
    Endpoint,
    Option,
    Request,
    Route,
    Secret,
    Target,
    UpstreamRequest,
)
from aiogateway_plugin_bedrock.failures import read_status_error
from aiogateway_plugin_bedrock.identity import (
    DEFAULT_REGION,
    OPTIONS,
    Identity,
    Keys,
    Ours,
    SignedRequest,
    find_identity,
)
from aiogateway_plugin_bedrock.leases import Leases
from aiogateway_plugin_bedrock.machine import Machine
from aiogateway_plugin_bedrock.messages import split_flags
from aiogateway_plugin_bedrock.models import is_claude, make_path
from aiogateway_plugin_bedrock.roles import assume, find_url, make_key
from aiogateway_plugin_bedrock.sign import add_bearer, sign

if TYPE_CHECKING:
    from aiohttp import ClientSession

ROLES = 1000
"""Assumed roles of which keys are kept."""

_STREAMING = {"converse": "converse-stream", "invoke": "invoke-with-response-stream"}


def find_host(region: str) -> str:
    return f"https://bedrock-runtime.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"


class Bedrock(BaseProvider):
    """`custom_host` is an endpoint without a path. `ours` is set when the gateway starts."""

    name = "bedrock"
    base_url = find_host(DEFAULT_REGION)
    capabilities = frozenset(Capability) - {Capability.PREFILL}
    options: Mapping[str, Option] = OPTIONS

    def __init__(self, *, sts_url: str | None = None) -> None:
        self.ours = Ours()
        self._sts_url = sts_url
        self._machine = Machine()
        self._own: Leases[Keys | Secret] = Leases(3)
        self._roles: Leases[Keys] = Leases(ROLES)

    def route(self, endpoint: Endpoint, dialect: str, model: str) -> Route | None:
        if endpoint is Endpoint.CHAT:
            return Route("bedrock_converse", make_path(model, "converse"))
        if endpoint is Endpoint.EMBEDDINGS:
            return Route("bedrock_embed", make_path(model, "invoke"))
        if endpoint is Endpoint.MESSAGES and is_claude(model):
            return Route("bedrock_anthropic", make_path(model, "invoke"))
        return None

    def prepare(self, request: Request, target: Target) -> UpstreamRequest:
        route = self.route(request.endpoint, request.dialect, request.model)
        if route is None:
            raise RequestError(f"bedrock does not offer {request.endpoint} for {request.model}")
        path = route.path
        if request.stream:
            head, _, operation = path.rpartition("/")
            path = f"{head}/{_STREAMING[operation]}"
        return SignedRequest(
            method="POST",
            url=join_url(self.base_of(target), path),
            headers=JSON_HEADERS,
            body=_add_beta(request),
            identity=find_identity(target, self.ours),
        )

    async def authorize(
        self, upstream: UpstreamRequest, credential: Credential | None, http: ClientSession
    ) -> UpstreamRequest:
        if not isinstance(upstream, SignedRequest):
            raise RequestError("bedrock signs only what it has prepared")
        identity = upstream.identity
        if identity.bearer and not identity.machine:
            if credential is None:
                raise RequestError("bedrock needs a Bedrock API key as api_key", param="api_key")
            return add_bearer(upstream, credential.secret, credential.source)
        found = identity.keys or await self._find_own(identity)
        if isinstance(found, Secret):
            return add_bearer(upstream, found, "AWS_BEARER_TOKEN_BEDROCK")
        if identity.role is not None:
            found = await self._assume(found, identity, http)
        return await sign(upstream, found, region=identity.region)

    async def _find_own(self, identity: Identity) -> Keys | Secret:
        """What the machine has: an API key serves Bedrock, but assumes no role."""
        if identity.bearer:
            return await self._own.get("bearer", self._machine.fetch_bearer)
        if identity.role is not None:
            return await self._own.get("keys", self._machine.fetch_keys)
        return await self._own.get("any", self._machine.fetch_any)

    async def _assume(self, keys: Keys, identity: Identity, http: ClientSession) -> Keys:
        role, region = identity.role, identity.region
        assert role is not None
        url = self._sts_url or find_url(region)
        return await self._roles.get(
            make_key(keys, role, region), lambda: assume(keys, role, url=url, region=region, http=http)
        )

    def passthrough(self, method: str, raw_path: str, headers: Headers, target: Target) -> UpstreamRequest | None:
        """None: a signature covers the body, and a passthrough's body is never whole."""
        return None

    def read_error(self, status: int, headers: Headers, body: bytes) -> UpstreamStatus:
        return read_status_error(status, headers, body)

    def base_of(self, target: Target) -> str:
        if target.host is not None:
            return target.host.url
        return find_host(target.options.get("aws_region") or DEFAULT_REGION)


def _add_beta(request: Request) -> bytes:
    """The client's anthropic-beta header stands in the body here ("Claude Messages API", Amazon Bedrock user guide)."""
    if request.dialect != "bedrock_anthropic" or "anthropic_beta" in request.body:
        return request.raw
    flags = [flag for name, value in request.headers if name == "anthropic-beta" for flag in split_flags(value)]
    return orjson.dumps({**request.body, "anthropic_beta": flags}) if flags else request.raw
