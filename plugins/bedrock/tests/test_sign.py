from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
from aiogateway_plugin_bedrock import sign as signing
from aiogateway_plugin_bedrock.identity import Identity, Keys, SignedRequest
from aiogateway_plugin_bedrock.models import make_path
from aiogateway_plugin_bedrock.sign import LARGE, add_bearer, make_signature, sign

from aiogateway.engine.dial import Place
from aiogateway.errors import RequestError
from aiogateway.types import Secret, UpstreamRequest

KEYS = Keys("AKIDEXAMPLE", Secret("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"))
TEMPORARY = Keys("ASIAEXAMPLE", Secret("secret"), Secret("tok-5ecret"))


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    moment = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda: moment)


def request(url: str, body: bytes = b"{}") -> UpstreamRequest:
    headers = (("content-type", "application/json"), ("accept-encoding", "identity"), ("user-agent", "aiogateway"))
    return UpstreamRequest(method="POST", url=url, headers=headers, body=body)


@pytest.mark.usefixtures("frozen")
async def test_a_known_signature() -> None:
    """AWS's own example: "Signature Version 4 test suite", post-x-www-form-urlencoded."""
    form = UpstreamRequest(
        method="POST",
        url="https://example.amazonaws.com/",
        headers=(("content-type", "application/x-www-form-urlencoded"),),
        body=b"Param1=value1",
    )
    signed = dict((await sign(form, KEYS, region="us-east-1", service="service")).headers)
    assert signed["x-amz-date"] == "20150830T123600Z"
    assert signed["authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        "SignedHeaders=content-type;host;x-amz-date, "
        "Signature=ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"
    )


@pytest.mark.usefixtures("frozen")
async def test_it_is_what_aws_own_client_sends() -> None:
    """The whole way of botocore's client, to the point where it would send: same URL, same signature."""
    from botocore.awsrequest import AWSResponse  # type: ignore[import-untyped,import-not-found,unused-ignore]
    from botocore.session import Session  # type: ignore[import-untyped,import-not-found,unused-ignore]

    model = "arn:aws:bedrock:eu-west-1:123456789012:application-inference-profile/a.b"
    seen: list[Any] = []

    def answer(request: object, **_: object) -> AWSResponse:
        seen.append(request)
        return AWSResponse("", 400, {}, None)

    client = Session().create_client(
        "bedrock-runtime", "eu-west-1", aws_access_key_id=TEMPORARY.id, aws_secret_access_key="secret",
        aws_session_token="tok-5ecret",
    )  # fmt: skip
    client.meta.events.register("before-send.bedrock-runtime.Converse", answer)
    with pytest.raises(Exception, match=r".+"):
        client.converse(modelId=model, messages=[{"role": "user", "content": [{"text": "hi"}]}])
    theirs = seen[0]
    url = f"https://bedrock-runtime.eu-west-1.amazonaws.com{make_path(model, 'converse')}"
    assert theirs.url == url
    ours = dict((await sign(request(url, theirs.body), TEMPORARY, region="eu-west-1")).headers)
    assert ours["x-amz-security-token"] == "tok-5ecret"
    assert ours["authorization"] == theirs.headers["Authorization"].decode()


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize(
    ("base", "host"),
    [
        ("http://gpu:8080", "gpu:8080"),
        ("https://vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com", None),
        ("http://[::1]:9", "[::1]:9"),
        ("https://example.org/prefix", "example.org"),
    ],
)
async def test_the_host_that_is_signed_is_the_one_that_is_sent(base: str, host: str | None) -> None:
    signed = await sign(request(f"{base}/model/m/converse"), KEYS, region="us-east-1")
    sent = Place(f"{urlsplit(base).scheme}://{urlsplit(base).netloc}", guarded=False).host.decode()
    assert host in (None, sent)
    plain = dict(make_signature(signed, KEYS, "us-east-1", "bedrock"))
    assert dict(signed.headers)["authorization"] == plain["authorization"]
    from botocore.auth import _host_from_url  # type: ignore[import-untyped,import-not-found,unused-ignore]

    assert _host_from_url(signed.url) == sent


async def test_what_was_there_is_replaced_and_nothing_else_is_signed() -> None:
    old = UpstreamRequest(
        method="POST",
        url="https://h/model/m/converse",
        headers=(("authorization", "Bearer old"), ("x-amz-date", "old"), ("x-other", "y"), ("content-type", "a/b")),
    )
    signed = await sign(old, KEYS, region="us-east-1")
    headers = dict(signed.headers)
    assert len(headers) == len(signed.headers) == 4
    assert "SignedHeaders=content-type;host;x-amz-date," in headers["authorization"]
    assert (headers["x-other"], headers["x-amz-date"] != "old") == ("y", True)
    again = await sign(signed, TEMPORARY, region="us-east-1")
    assert "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token," in dict(again.headers)["authorization"]


@pytest.mark.usefixtures("frozen")
async def test_a_large_body_is_hashed_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    threads = []

    def make(*args: object) -> tuple[tuple[str, str], ...]:
        threads.append(threading.current_thread() is threading.main_thread())
        return make_signature(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(signing, "make_signature", make)
    for size in (LARGE, LARGE + 1):
        await sign(request("https://h/", bytes(size)), KEYS, region="us-east-1")
    assert threads == [True, False]


def test_a_bearer() -> None:
    identity = Identity(region="us-east-1", bearer=True)
    prepared = SignedRequest(method="POST", url="https://h/", headers=(("authorization", "x"),), identity=identity)
    sent = add_bearer(prepared, Secret("k"), "api_key")
    assert (type(sent), sent.headers) == (UpstreamRequest, (("authorization", "Bearer k"),))
    with pytest.raises(RequestError) as caught:
        add_bearer(prepared, Secret("k\n"), "api_key")
    assert caught.value.param == "api_key"


async def test_no_log_line_of_botocores_shows_a_token(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        await sign(request("https://h/"), TEMPORARY, region="us-east-1")
    assert "5ecret" not in caplog.text
