from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from unittest.mock import Mock

import orjson
import pytest
from aiogateway_plugin_bedrock import Bedrock, startup
from aiogateway_plugin_bedrock.identity import Keys, Ours, SignedRequest, read_ours

from aiogateway.errors import RequestError
from aiogateway.settings import ProviderSettings
from aiogateway.types import Credential, Endpoint, Headers, Host, Origin, Request, Secret, Target, UpstreamRequest

CLAUDE = "us.anthropic.claude-opus-5"
KEYS = {"aws_access_key_id": "AKID", "aws_secret_access_key": Secret("s")}
BEDROCK = Bedrock()


def target(options: Mapping[str, Any] = KEYS, *, host: str | None = None, key: str | None = None) -> Target:
    return Target(
        path="config",
        provider="bedrock",
        options=options,
        host=Host(host, Origin.OURS, "custom_host") if host else None,
        credential=Credential(Secret(key), Origin.REQUEST, "authorization") if key else None,
    )


def request(
    endpoint: Endpoint = Endpoint.CHAT, *, model: str = "m", stream: bool = False, headers: Headers = (), **body: Any
) -> Request:
    route = BEDROCK.route(endpoint, "", model)
    assert route is not None
    return Request(
        endpoint=endpoint, dialect=route.dialect, raw=orjson.dumps(body), body=body, model=model, stream=stream,
        headers=headers,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("endpoint", "model", "stream", "path"),
    [
        (Endpoint.CHAT, "m:0", False, "/model/m%3A0/converse"),
        (Endpoint.CHAT, "m:0", True, "/model/m%3A0/converse-stream"),
        (Endpoint.EMBEDDINGS, "m:0", False, "/model/m%3A0/invoke"),
        (Endpoint.MESSAGES, CLAUDE, False, f"/model/{CLAUDE}/invoke"),
        (Endpoint.MESSAGES, CLAUDE, True, f"/model/{CLAUDE}/invoke-with-response-stream"),
    ],
)
def test_each_endpoint_has_its_place(endpoint: Endpoint, model: str, stream: bool, path: str) -> None:
    prepared = BEDROCK.prepare(request(endpoint, model=model, stream=stream), target())
    assert prepared.url == f"https://bedrock-runtime.us-east-1.amazonaws.com{path}"


def test_what_is_not_offered() -> None:
    """Messages to another model than Claude are translated to Converse by the engine."""
    assert BEDROCK.route(Endpoint.MESSAGES, "anthropic", "amazon.nova-lite-v1:0") is None
    assert BEDROCK.route(Endpoint.RESPONSES, "openai_responses", "m") is None
    assert BEDROCK.passthrough("GET", "/v1/models", (), target()) is None
    other = Request(endpoint=Endpoint.COMPLETIONS, dialect="x", raw=b"", body={}, model="m", stream=False)
    with pytest.raises(RequestError, match="does not offer completions for m"):
        BEDROCK.prepare(other, target())
    with pytest.raises(RequestError, match="model id"):
        BEDROCK.route(Endpoint.CHAT, "openai_chat", "")


def test_hosts() -> None:
    regions = {"eu-west-1": "eu-west-1.amazonaws.com", "cn-north-1": "cn-north-1.amazonaws.com.cn"}
    for region, host in regions.items():
        url = BEDROCK.prepare(request(), target({**KEYS, "aws_region": region})).url
        assert url == f"https://bedrock-runtime.{host}/model/m/converse"
    assert (
        BEDROCK.prepare(request(), target(host="https://vpce.example")).url == "https://vpce.example/model/m/converse"
    )


def test_beta_flags_of_a_claude_client_are_in_the_body() -> None:
    headers = (("anthropic-beta", "a, b"), ("x", "y"), ("anthropic-beta", "c"))
    prepared = BEDROCK.prepare(request(Endpoint.MESSAGES, model=CLAUDE, headers=headers, max_tokens=1), target())
    assert orjson.loads(prepared.body) == {"max_tokens": 1, "anthropic_beta": ["a", "b", "c"]}
    given = request(Endpoint.MESSAGES, model=CLAUDE, headers=headers, anthropic_beta=["own"])
    assert BEDROCK.prepare(given, target()).body == given.raw
    chat = request(Endpoint.CHAT, model=CLAUDE, headers=headers)
    assert BEDROCK.prepare(chat, target()).body == chat.raw


async def authorize(provider: Bedrock, to: Target) -> dict[str, str]:
    prepared = provider.prepare(request(), to)
    authorized = await provider.authorize(prepared, to.credential, Mock())
    assert type(authorized) is UpstreamRequest  # nothing but the request goes on
    return dict(authorized.headers)


async def test_a_signature_or_a_bearer_and_never_both() -> None:
    signed = await authorize(BEDROCK, target({**KEYS, "aws_region": "eu-west-1"}, key="dummy"))
    assert signed["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKID/")
    assert "/eu-west-1/bedrock/aws4_request" in signed["authorization"]
    assert (await authorize(BEDROCK, target({}, key="ABSK")))["authorization"] == "Bearer ABSK"
    bearer = await authorize(BEDROCK, target({**KEYS, "aws_auth_type": "apiKey"}, key="ABSK"))
    assert bearer["authorization"] == "Bearer ABSK"
    assert "x-amz-date" not in bearer


async def test_only_what_was_prepared_here_is_signed() -> None:
    foreign = UpstreamRequest(method="POST", url="https://h/", headers=())
    with pytest.raises(RequestError):
        await BEDROCK.authorize(foreign, None, Mock())
    prepared = BEDROCK.prepare(request(), target({}, key="ABSK"))
    with pytest.raises(RequestError, match="API key"):
        await BEDROCK.authorize(prepared, None, Mock())
    assert isinstance(prepared, SignedRequest)
    assert "ABSK" not in repr(prepared)
    assert "Secret" not in repr(prepared.identity)


async def test_the_machines_own(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = Bedrock()
    provider.ours = read_ours({"aws_default_chain": True})
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDMACHINE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK", raising=False)
    assert "Credential=AKIDMACHINE/" in (await authorize(provider, target({})))["authorization"]
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "ABSKMACHINE")
    other = Bedrock()
    other.ours = provider.ours
    assert (await authorize(other, target({})))["authorization"] == "Bearer ABSKMACHINE"
    bearer = await authorize(other, target({"aws_auth_type": "apiKey"}))
    assert bearer["authorization"] == "Bearer ABSKMACHINE"


async def test_a_role_is_assumed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from aiogateway_plugin_bedrock import provider as module
    from aiogateway_plugin_bedrock.leases import Lease

    asked: list[str] = []

    async def assume(keys: Keys, role: Any, *, url: str, region: str, http: Any) -> Lease[Keys]:
        asked.append(f"{keys.id} {role.arn} {url}")
        return Lease(Keys("ASIAROLE", Secret("r"), Secret("t")), 60.0, 120.0)

    monkeypatch.setattr(module, "assume", assume)
    provider = Bedrock()
    for _ in range(2):
        headers = await authorize(provider, target({**KEYS, "aws_role_arn": "arn:r"}))
        assert "Credential=ASIAROLE/" in headers["authorization"]
        assert headers["x-amz-security-token"] == "t"
    assert asked == ["AKID arn:r https://sts.us-east-1.amazonaws.com/"]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDMACHINE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "ABSKMACHINE")  # assumes no role
    provider.ours = read_ours({"aws_default_chain": True, "aws_role_arn": "arn:ours"})
    await authorize(provider, target({"aws_role_arn": "arn:ours"}))
    assert asked[1:] == ["AKIDMACHINE arn:ours https://sts.us-east-1.amazonaws.com/"]


async def test_the_settings_word_is_learned_at_the_start() -> None:
    provider = Bedrock()
    gateway = Mock()
    gateway.registry.providers = {"bedrock": provider}
    gateway.settings.providers = {}
    gateway.settings.default_config = None
    await startup(gateway)
    assert provider.ours == Ours()
    gateway.settings.providers = {"bedrock": ProviderSettings(options={"aws_default_chain": True})}
    await startup(gateway)
    assert provider.ours.machine
    gateway.registry.providers = {"bedrock": Mock()}  # another plugin's
    await startup(gateway)
