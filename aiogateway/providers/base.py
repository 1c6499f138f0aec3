"""What providers have in common, above all those that look like OpenAI: URLs, headers, a bearer, their errors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiogateway.dialects.failures import find_error, find_message, make_failure
from aiogateway.dialects.payload import parse_json
from aiogateway.errors import RequestError, UpstreamStatus
from aiogateway.providers.quirks import Quirks, bend
from aiogateway.providers.thoughts import drop_foreign
from aiogateway.types import (
    Capability,
    Credential,
    Endpoint,
    Headers,
    Option,
    Request,
    Route,
    Target,
    UpstreamRequest,
)

if TYPE_CHECKING:
    from aiohttp import ClientSession

JSON_HEADERS: Headers = (
    ("content-type", "application/json"),
    ("accept-encoding", "identity"),  # a compressed stream can't be spliced, and arrives late
    ("user-agent", "aiogateway"),
)
"""What every inference request says. No header of the client's is among them (portkey.md, section 3.2)."""


class BaseProvider:
    """A provider that serves `routes` below a base URL, takes a bearer, and answers errors as OpenAI does."""

    name: str
    base_url: str
    capabilities: frozenset[Capability] = frozenset()
    options: Mapping[str, Option] = {}
    routes: Mapping[Endpoint, Route] = {}
    option_headers: Mapping[str, str] = {}
    """Options that are sent as they are: the option's name to the header's."""
    quirks: Mapping[Endpoint, Quirks] = {}
    """Fields of an endpoint that this provider has otherwise."""

    def __repr__(self) -> str:
        return f"<provider {self.name}>"

    def route(self, endpoint: Endpoint, dialect: str, model: str) -> Route | None:
        return self.routes.get(endpoint)

    def prepare(self, request: Request, target: Target) -> UpstreamRequest:
        route = self.route(request.endpoint, request.dialect, request.model)
        if route is None:
            raise RequestError(f"{self.name} does not offer {request.endpoint}")
        request = bend(drop_foreign(request, target), self.quirks.get(request.endpoint, {}))
        return UpstreamRequest(
            method="POST",
            url=join_url(self.base_of(target), f"{route.path}?{request.query}" if request.query else route.path),
            headers=JSON_HEADERS + self.headers_of(target),
            body=request.raw,
        )

    async def authorize(
        self, upstream: UpstreamRequest, credential: Credential | None, http: ClientSession
    ) -> UpstreamRequest:
        """Adds the credential as a bearer, in place of whatever stood there."""
        if credential is None:
            return upstream
        return replace_headers(upstream, (("authorization", f"Bearer {read_secret(credential)}"),))

    def passthrough(self, method: str, raw_path: str, headers: Headers, target: Target) -> UpstreamRequest | None:
        """Byte for byte below the base URL; the client's headers stay, but for those that our options set."""
        url = join_url(self.base_of(target), raw_path.removeprefix("/v1"))
        upstream = UpstreamRequest(method=method, url=url, headers=headers)
        return replace_headers(upstream, self.headers_of(target))

    def read_error(self, status: int, headers: Headers, body: bytes) -> UpstreamStatus:
        return read_status_error(self.name, status, headers, body)

    def base_of(self, target: Target) -> str:
        """The target's own host, or the provider's."""
        return self.base_url if target.host is None else target.host.url

    def headers_of(self, target: Target) -> Headers:
        """The headers that the target's options stand for. Raises RequestError for a value that can't be one."""
        headers = []
        for option, header in self.option_headers.items():
            value = target.options.get(option)
            if value is not None:
                headers.append((header, check_header(str(value), option)))
        return tuple(headers)


_UNFIT = re.compile(r"[\x00-\x1f\x7f]|[^\x00-\xff]")


def join_url(base: str, path: str) -> str:
    """`path` (with its raw query) below `base`; neither is normalised."""
    return f"{base.rstrip('/')}/{path.removeprefix('/')}"


def check_header(value: str, name: str) -> str:
    """Raises RequestError for what would end a header line, or is no byte."""
    if _UNFIT.search(value):
        raise RequestError(f"{name} has characters that a header can't carry", param=name)
    return value


def read_secret(credential: Credential) -> str:
    """The secret, fit for a header; the error names its source and shows nothing of it."""
    return check_header(credential.secret.reveal(), credential.source)


def replace_headers(upstream: UpstreamRequest, headers: Headers) -> UpstreamRequest:
    """`headers` in place of those of the same names."""
    if not headers:
        return upstream
    names = {name for name, _ in headers}
    kept = upstream.headers
    if not names.isdisjoint([name for name, _ in kept]):
        kept = tuple(pair for pair in kept if pair[0] not in names)
    return UpstreamRequest(method=upstream.method, url=upstream.url, headers=kept + headers, body=upstream.body)


def read_status_error(provider: str, status: int, headers: Headers, body: bytes) -> UpstreamStatus:
    """An error status with whatever the body says about it; body and headers are kept as they came."""
    try:
        payload: Any = parse_json(body)
    except ValueError:
        payload = None
    if isinstance(payload, list) and payload:  # Google's endpoints wrap it so
        payload = payload[0]
    error: dict[str, Any] = {}
    if isinstance(payload, dict):
        error = find_error(payload) or payload
        if isinstance(payload.get("error_type"), str):  # beside the text: text-generation-inference
            error = {"type": payload["error_type"], **error}
    if find_message(error) is None:
        error = {**error, "message": f"{provider} answered with status {status}"}
    return make_failure(error, status=status, body=body, headers=headers)
