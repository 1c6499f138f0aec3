"""Providers that speak OpenAI's wire below a base URL of their own: one row each.

Names are Portkey's (portkey.md 8.1), and so is where `custom_host` ends: it takes the place of `base_url`, and `prefix`
comes after it. `document` is what the row was checked against, the vendor's own pages and packages; all of them take
the key as a bearer. What a row doesn't route is not offered; tools, images and thoughts are up to the model, and were
not checked.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from urllib.parse import quote

from aiogateway.contracts import Provider
from aiogateway.errors import RequestError
from aiogateway.hookspecs import hookimpl
from aiogateway.providers.base import BaseProvider, join_url, replace_headers
from aiogateway.providers.openai import OpenAI
from aiogateway.providers.quirks import Quirks, rename, rename_role, reword
from aiogateway.types import Capability, Endpoint, Headers, Option, Route, Target, UpstreamRequest

_CHAT = (Endpoint.CHAT,)
_CHAT_EMBED = (Endpoint.CHAT, Endpoint.EMBEDDINGS)
_CHAT_TEXT = (Endpoint.CHAT, Endpoint.COMPLETIONS)
_CHAT_RESPONSES = (Endpoint.CHAT, Endpoint.RESPONSES)
_PROMISED = frozenset({Capability.STREAM, Capability.STREAM_USAGE, Capability.USAGE})

# Hosts of open models keep to the wire of 2023. A name that they don't know they ignore, so that a limit would be lost
# in silence; a role that they don't know they refuse.
OLDER: Mapping[Endpoint, Quirks] = {
    Endpoint.CHAT: {
        "max_completion_tokens": rename("max_tokens"),
        "messages": rename_role("developer", "system"),
    }
}
VOYAGE: Mapping[Endpoint, Quirks] = {
    Endpoint.EMBEDDINGS: {
        "dimensions": rename("output_dimension"),
        "encoding_format": reword("encoding_format", {"float": None}),
    }
}


@dataclass(frozen=True, slots=True)
class Row:
    """`base_url` may hold the name of an `option` in braces, which is then a part of the path."""

    name: str
    base_url: str
    document: str
    endpoints: tuple[Endpoint, ...] = _CHAT
    prefix: str = ""
    option: str | None = None
    quirks: Mapping[Endpoint, Quirks] = field(default_factory=dict)


TABLE = (
    Row("ai21", "https://api.ai21.com/studio/v1", "ai21 on PyPI, constants.py and resources/chat", quirks=OLDER),
    Row("cerebras", "https://api.cerebras.ai/v1", "cerebras-cloud-sdk on PyPI, _client.py"),
    Row(
        "dashscope",
        "https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
        "alibabacloud.com/help/en/model-studio/compatibility-of-openai-with-dashscope, "
        "…/embedding-interfaces-compatible-with-openai",
        _CHAT_EMBED,
        quirks=OLDER,
    ),
    Row("deepinfra", "https://api.deepinfra.com/v1/openai", "deepinfra.com/docs/openai_api", _CHAT_EMBED, quirks=OLDER),
    Row("deepseek", "https://api.deepseek.com", "api-docs.deepseek.com", prefix="/v1", quirks=OLDER),
    Row(
        "featherless-ai",
        "https://api.featherless.ai/v1",
        "huggingface_hub on PyPI (whose partners keep it), inference/_providers/featherless_ai.py",
        _CHAT_TEXT,
        quirks=OLDER,
    ),
    Row(
        "fireworks-ai",
        "https://api.fireworks.ai/inference/v1",
        "docs.fireworks.ai/tools-sdks/openai-compatibility",
        _CHAT_TEXT,
        quirks=OLDER,
    ),
    Row("github", "https://models.github.ai/inference", "docs.github.com/en/github-models/quickstart"),
    Row("moonshot", "https://api.moonshot.cn", "platform.kimi.com/docs/api/overview", prefix="/v1", quirks=OLDER),
    Row(
        "nebius",
        "https://api.tokenfactory.nebius.com/v1",
        "docs.tokenfactory.nebius.com/api-reference/introduction",
        quirks=OLDER,
    ),
    Row(
        "novita-ai",
        "https://api.novita.ai/v3/openai",
        "huggingface_hub on PyPI (whose partners keep it), inference/_providers/novita.py",
        _CHAT_TEXT,
        quirks=OLDER,
    ),
    Row(
        "nscale",
        "https://inference.api.nscale.com/v1",
        "huggingface_hub on PyPI (whose partners keep it), inference/_providers/nscale.py",
        quirks=OLDER,
    ),
    Row("openrouter", "https://openrouter.ai/api", "openrouter.ai/docs/quick-start", prefix="/v1"),
    Row(
        "ovhcloud",
        "https://oai.endpoints.kepler.ai.cloud.ovh.net/v1",
        "huggingface_hub on PyPI (whose partners keep it), inference/_providers/ovhcloud.py",
        quirks=OLDER,
    ),
    Row(
        "perplexity-ai",
        "https://api.perplexity.ai",
        "docs.perplexity.ai/docs/sonar/openai-compatibility",
        quirks=OLDER,
    ),
    Row(
        "sambanova",
        "https://api.sambanova.ai",
        "sambanova on PyPI, _client.py and resources",
        _CHAT_EMBED,
        prefix="/v1",
        quirks={Endpoint.CHAT: {"messages": rename_role("developer", "system")}},
    ),
    Row(
        "siliconflow",
        "https://api.siliconflow.cn/v1",
        "docs.siliconflow.cn/docs/api/chat-completions-post",
        quirks=OLDER,
    ),
    Row(
        "together-ai",
        "https://api.together.ai",
        "docs.together.ai/docs/inference/openai-compatibility",
        (Endpoint.CHAT, Endpoint.COMPLETIONS, Endpoint.EMBEDDINGS),
        prefix="/v1",
        quirks=OLDER,
    ),
    Row(
        "upstage",
        "https://api.upstage.ai/v1/solar",
        "langchain-upstage (reference.langchain.com/python/langchain-upstage)",
        _CHAT_EMBED,
        quirks=OLDER,
    ),
    Row(
        "voyage",
        "https://api.voyageai.com/v1",
        "voyageai on PyPI, __init__.py and client.py",
        (Endpoint.EMBEDDINGS,),
        quirks=VOYAGE,
    ),
    Row(
        "workers-ai",
        "https://api.cloudflare.com/client/v4/accounts/{workers_ai_account_id}/ai/v1",
        "developers.cloudflare.com/workers-ai/configuration/open-ai-compatibility",
        (Endpoint.CHAT, Endpoint.EMBEDDINGS, Endpoint.RESPONSES),
        option="workers_ai_account_id",
        quirks=OLDER,
    ),
    Row("x-ai", "https://api.x.ai/v1", "docs.x.ai/api, docs.x.ai/developers/rest-api-reference", _CHAT_RESPONSES),
    Row("z-ai", "https://api.z.ai/api/paas/v4", "docs.z.ai/api-reference/introduction", quirks=OLDER),
    Row(
        "zhipu",
        "https://open.bigmodel.cn/api/paas/v4",
        "zhipuai on PyPI, _client.py and api_resource",
        _CHAT_EMBED,
        quirks=OLDER,
    ),
)


class Compatible(BaseProvider):
    """What a row stands for."""

    def __init__(self, row: Row) -> None:
        self.row = row
        self.name = row.name
        self.base_url = row.base_url
        self.quirks = row.quirks
        self.options = {} if row.option is None else {row.option: Option()}
        embeds = {Capability.EMBEDDINGS} if Endpoint.EMBEDDINGS in row.endpoints else set()
        streams = _PROMISED if row.endpoints != (Endpoint.EMBEDDINGS,) else {Capability.USAGE}
        self.capabilities = frozenset(streams | embeds)
        self.routes = {
            endpoint: Route(OpenAI.routes[endpoint].dialect, row.prefix + OpenAI.routes[endpoint].path)
            for endpoint in row.endpoints
        }

    def base_of(self, target: Target) -> str:
        option = self.row.option
        if target.host is not None or option is None:
            return super().base_of(target)
        value = target.options.get(option)
        if value is None:
            raise RequestError(f"{self.name} needs {option}", param=option)
        return self.base_url.replace(f"{{{option}}}", quote(str(value), safe=""))

    def passthrough(self, method: str, raw_path: str, headers: Headers, target: Target) -> UpstreamRequest | None:
        path = self.row.prefix + raw_path.removeprefix("/v1")
        upstream = UpstreamRequest(method=method, url=join_url(self.base_of(target), path), headers=headers)
        return replace_headers(upstream, self.headers_of(target))


@hookimpl
def register_providers(register: Callable[[Provider], None]) -> None:
    for row in TABLE:
        register(Compatible(row))
