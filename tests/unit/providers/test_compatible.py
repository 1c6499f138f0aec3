from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import orjson
import pytest

from aiogateway.contracts import Provider
from aiogateway.errors import RequestError
from aiogateway.providers import compatible
from aiogateway.providers.compatible import TABLE, Compatible, Row
from aiogateway.registry import CLIENT_DIALECTS
from aiogateway.types import Credential, Endpoint, Host, Origin, Request, Secret, Target

ROWS = pytest.mark.parametrize("row", TABLE, ids=[row.name for row in TABLE])
# Written out once more, so that a slip in the table shows.
CHAT_URLS = {
    "ai21": "https://api.ai21.com/studio/v1/chat/completions",
    "cerebras": "https://api.cerebras.ai/v1/chat/completions",
    "dashscope": "https://dashscope-intl.aliyuncs.com/compatible-mode/v1/chat/completions",
    "deepinfra": "https://api.deepinfra.com/v1/openai/chat/completions",
    "deepseek": "https://api.deepseek.com/v1/chat/completions",
    "featherless-ai": "https://api.featherless.ai/v1/chat/completions",
    "fireworks-ai": "https://api.fireworks.ai/inference/v1/chat/completions",
    "github": "https://models.github.ai/inference/chat/completions",
    "moonshot": "https://api.moonshot.cn/v1/chat/completions",
    "nebius": "https://api.tokenfactory.nebius.com/v1/chat/completions",
    "novita-ai": "https://api.novita.ai/v3/openai/chat/completions",
    "nscale": "https://inference.api.nscale.com/v1/chat/completions",
    "openrouter": "https://openrouter.ai/api/v1/chat/completions",
    "ovhcloud": "https://oai.endpoints.kepler.ai.cloud.ovh.net/v1/chat/completions",
    "perplexity-ai": "https://api.perplexity.ai/chat/completions",
    "sambanova": "https://api.sambanova.ai/v1/chat/completions",
    "siliconflow": "https://api.siliconflow.cn/v1/chat/completions",
    "together-ai": "https://api.together.ai/v1/chat/completions",
    "upstage": "https://api.upstage.ai/v1/solar/chat/completions",
    "workers-ai": "https://api.cloudflare.com/client/v4/accounts/0a1b/ai/v1/chat/completions",
    "x-ai": "https://api.x.ai/v1/chat/completions",
    "z-ai": "https://api.z.ai/api/paas/v4/chat/completions",
    "zhipu": "https://open.bigmodel.cn/api/paas/v4/chat/completions",
}


def ask(endpoint: Endpoint = Endpoint.CHAT, **body: Any) -> Request:
    return Request(endpoint=endpoint, dialect="", raw=orjson.dumps(body), body=body, model="m", stream=False)


def aim(row: Row, host: str | None = None) -> Target:
    given = None if host is None else Host(host, Origin.OURS, "custom_host")
    options = {} if row.option is None else {row.option: "0a1b"}
    return Target(path="config", provider=row.name, options=options, host=given)


def find(name: str) -> Row:
    return next(row for row in TABLE if row.name == name)


@ROWS
def test_a_row_says_where_and_by_which_document(row: Row) -> None:
    provider = Compatible(row)
    assert row.document
    assert row.base_url.startswith("https://")
    assert not row.base_url.endswith("/")
    if Endpoint.CHAT in row.endpoints:
        assert provider.prepare(ask(), aim(row)).url == CHAT_URLS[row.name]
    for endpoint in row.endpoints:
        route = provider.route(endpoint, CLIENT_DIALECTS[endpoint], "m")
        assert route is not None
        assert route.dialect == CLIENT_DIALECTS[endpoint]
    assert provider.route(Endpoint.MESSAGES, "anthropic", "m") is None


@ROWS
def test_a_host_of_ones_own_takes_the_base_urls_place(row: Row) -> None:
    provider = Compatible(row)
    url = provider.prepare(ask(row.endpoints[0]), aim(row, "http://localhost:9/x")).url
    assert url.startswith(f"http://localhost:9/x{row.prefix}/")
    upstream = provider.passthrough("GET", "/v1/models?a=1", (), aim(row, "http://localhost:9/x"))
    assert upstream is not None
    assert upstream.url == f"http://localhost:9/x{row.prefix}/models?a=1"


@ROWS
async def test_the_key_is_a_bearer_and_never_shows(row: Row) -> None:
    provider = Compatible(row)
    credential = Credential(Secret("canary-key"), Origin.OURS, "api_key")
    upstream = await provider.authorize(provider.prepare(ask(row.endpoints[0]), aim(row)), credential, Mock())
    assert ("authorization", "Bearer canary-key") in upstream.headers
    assert "canary" not in f"{upstream!r} {provider!r} {credential!r}"


def test_names_are_unique_and_in_order() -> None:
    names = [row.name for row in TABLE]
    assert names == sorted(set(names))


def test_older_hosts_get_the_older_words() -> None:
    body: dict[str, Any] = {"max_completion_tokens": 5, "messages": [{"role": "developer", "content": "x"}]}
    sent = orjson.loads(Compatible(find("deepseek")).prepare(ask(**body), aim(find("deepseek"))).body)
    assert sent == {"max_tokens": 5, "messages": [{"role": "system", "content": "x"}]}
    kept = Compatible(find("openrouter")).prepare(ask(**body), aim(find("openrouter"))).body
    assert orjson.loads(kept) == body


def test_voyages_own_words() -> None:
    row = find("voyage")
    request = ask(Endpoint.EMBEDDINGS, dimensions=256, encoding_format="float", input="x")
    upstream = Compatible(row).prepare(request, aim(row))
    assert upstream.url == "https://api.voyageai.com/v1/embeddings"
    assert orjson.loads(upstream.body) == {"output_dimension": 256, "encoding_format": None, "input": "x"}


def test_a_part_of_the_path_is_asked_for_and_quoted() -> None:
    row = find("workers-ai")
    with pytest.raises(RequestError) as caught:
        Compatible(row).prepare(ask(), Target(path="config", provider=row.name))
    assert caught.value.param == "workers_ai_account_id"
    target = Target(path="config", provider=row.name, options={"workers_ai_account_id": "../x"})
    assert "/accounts/..%2Fx/ai/v1/" in Compatible(row).prepare(ask(), target).url


def test_every_row_is_registered() -> None:
    found: list[Provider] = []
    compatible.register_providers(found.append)
    assert [provider.name for provider in found] == [row.name for row in TABLE]
