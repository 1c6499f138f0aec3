"""Azure OpenAI: OpenAI's wire below a resource of one's own, with deployments in place of models.

Versions: Microsoft Learn, "Azure OpenAI in Azure AI Foundry Models API lifecycle" (the ``v1`` path needs none; while it
was a preview it was called with ``api-version=preview``). Paths, and how options map to headers: Portkey's
``src/providers/azure-openai/api.ts``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from aiogateway.contracts import Provider
from aiogateway.errors import RequestError
from aiogateway.hookspecs import hookimpl
from aiogateway.providers.base import BaseProvider, join_url, read_secret, replace_headers
from aiogateway.providers.entra import Login, TokenBox, read_login
from aiogateway.providers.openai import OpenAI
from aiogateway.providers.quirks import bend, put
from aiogateway.types import Capability, Credential, Endpoint, Headers, Option, Request, Route, Target, UpstreamRequest

if TYPE_CHECKING:
    from aiohttp import ClientSession

_VERSION = re.compile(r"[A-Za-z0-9.-]{1,32}")
_PREVIEWS = ("preview", "latest")  # of the v1 path
_DEPLOYED = ("/audio/", "/images/")  # what a dated version has below a deployment, beside `_NAMED`
_NAMED = (Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.EMBEDDINGS)

# Portkey's headers say azure- where its configs don't, so both names are there. The model's name is for people: Azure
# knows what a deployment runs.
_PLAIN = (
    "deployment_id", "azure_deployment_id", "api_version", "azure_api_version", "azure_model_name", "azure_auth_mode",
    "azure_entra_tenant_id", "azure_entra_client_id", "azure_entra_scope", "openai_beta",
)  # fmt: skip


class AzureRequest(UpstreamRequest, frozen=True, kw_only=True):
    """Also carries what `authorize` logs in with, if that is no key: a token, or who asks for one."""

    login: Login | Credential | None = None


class AzureOpenAI(BaseProvider):
    """With an `api_version` that is a date, the URL names the deployment; without one, or with v1, the body does.

    The deployment is `deployment_id`, else the request's model. `custom_host` ends in ``/openai``.
    """

    name = "azure-openai"
    base_url = ""
    capabilities = frozenset(Capability) - {Capability.PREFILL}
    options: Mapping[str, Option] = {
        **{name: Option() for name in _PLAIN},
        **{name: Option(host=True) for name in ("resource_name", "azure_resource_name")},
        **{name: Option(secret=True) for name in ("azure_ad_token", "azure_entra_client_secret")},
    }
    option_headers: Mapping[str, str] = {"openai_beta": "openai-beta"}
    routes: Mapping[Endpoint, Route] = OpenAI.routes

    def __init__(self) -> None:
        self.tokens = TokenBox()

    def base_of(self, target: Target) -> str:
        if target.host is not None:
            return target.host.url
        resource = _find(target, "resource_name")
        if resource is None:
            raise RequestError("azure-openai needs the resource_name of a resource, or a host", param="resource_name")
        return f"https://{resource}.openai.azure.com/openai"

    def prepare(self, request: Request, target: Target) -> UpstreamRequest:
        version = _read_version(target)
        deployment = _find(target, "deployment_id")
        dated = version is not None and version not in _PREVIEWS
        named = dated and request.endpoint in _NAMED
        if deployment is not None and not named:
            request = bend(request, {"model": put("model", deployment)})
        upstream = super().prepare(request, target)
        path = self.routes[request.endpoint].path
        if named:
            deployment = deployment or request.model
            if not deployment:
                raise RequestError("azure-openai needs a deployment_id or a model", param="deployment_id")
            path = f"/deployments/{quote(deployment, safe='')}{path}"
        elif not dated:
            path = f"/v1{path}"
        url = _add_version(join_url(self.base_of(target), path), request.query, version)
        login = read_login(target.options)
        return AzureRequest(method="POST", url=url, headers=upstream.headers, body=upstream.body, login=login)

    def passthrough(self, method: str, raw_path: str, headers: Headers, target: Target) -> UpstreamRequest | None:
        """Below the base URL, with the version that the target names unless the query does."""
        version = _read_version(target)
        if version is None:
            url = join_url(self.base_of(target), raw_path)
        else:
            path, _, query = raw_path.partition("?")
            if version not in _PREVIEWS:
                path = path.removeprefix("/v1")
                deployment = _find(target, "deployment_id")
                if deployment is not None and path.startswith(_DEPLOYED):
                    path = f"/deployments/{quote(deployment, safe='')}{path}"
            url = _add_version(join_url(self.base_of(target), path), query, version)
        kept = replace_headers(
            UpstreamRequest(method=method, url=url, headers=headers), self.headers_of(target)
        ).headers
        return AzureRequest(method=method, url=url, headers=kept, login=read_login(target.options))

    async def authorize(
        self, upstream: UpstreamRequest, credential: Credential | None, http: ClientSession
    ) -> UpstreamRequest:
        """A bearer where the target's options say how to get one, else the credential as ``api-key``."""
        login = upstream.login if isinstance(upstream, AzureRequest) else None
        if isinstance(login, Login):
            login = await self.tokens.get(login, http)
        if login is not None:
            return await super().authorize(upstream, login, http)
        if credential is None:
            return upstream
        return replace_headers(upstream, (("api-key", read_secret(credential)),))


def _find(target: Target, option: str) -> Any:
    """An option by either of its names; what came in a header wins."""
    value = target.options.get(f"azure_{option}")
    return target.options.get(option) if value is None else value


def _read_version(target: Target) -> str | None:
    """None for the v1 path, which has none."""
    version = (_find(target, "api_version") or "v1").strip()
    if not _VERSION.fullmatch(version):
        raise RequestError("api_version must be a version such as 2024-10-21, or v1", param="api_version")
    return None if version == "v1" else version


def _add_version(url: str, query: str, version: str | None) -> str:
    pairs = query.split("&") if query else []
    if version is not None and not any(pair.startswith("api-version=") for pair in pairs):
        pairs.append(f"api-version={version}")
    return f"{url}?{'&'.join(pairs)}" if pairs else url


@hookimpl
def register_providers(register: Callable[[Provider], None]) -> None:
    register(AzureOpenAI())
