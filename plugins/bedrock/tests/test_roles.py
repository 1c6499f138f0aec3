from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

import aiohttp
import pytest
from aiogateway_plugin_bedrock.identity import Keys, Role
from aiogateway_plugin_bedrock.leases import Lease
from aiogateway_plugin_bedrock.roles import assume, find_url, make_key

from aiogateway.errors import ConnectFailed, UpstreamError, UpstreamStatus
from aiogateway.testing import Cut, FakeUpstream, unary
from aiogateway.types import Secret

KEYS = Keys("AKID", Secret("s"))
ROLE = Role("arn:aws:iam::123456789012:role/demo", "ext&ra=1")
# STS API reference, AssumeRole, "Sample Response" and "Errors".
GRANTED = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<SourceIdentity>Alice</SourceIdentity><AssumedRoleUser>
<Arn>arn:aws:sts::123456789012:assumed-role/demo/TestAR</Arn><AssumedRoleId>ARO123EXAMPLE123:TestAR</AssumedRoleId>
</AssumedRoleUser><Credentials><AccessKeyId>ASIAIOSFODNN7EXAMPLE</AccessKeyId>
<SecretAccessKey>wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY</SecretAccessKey>
<SessionToken>AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQW==</SessionToken>
<Expiration>{end}</Expiration></Credentials><PackedPolicySize>6</PackedPolicySize></AssumeRoleResult>
</AssumeRoleResponse>"""
REFUSED = b"""<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>
<Code>AccessDenied</Code><Message>User: arn:aws:iam::123456789012:user/me is not authorized</Message></Error>
<RequestId>r</RequestId></ErrorResponse>"""


def granted(**left: int) -> bytes:
    end = datetime.now(UTC) + timedelta(**left)
    return GRANTED.format(end=end.strftime("%Y-%m-%dT%H:%M:%SZ")).encode()


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def ask(http: aiohttp.ClientSession, *script: object) -> tuple[Lease[Keys], FakeUpstream]:
    async with FakeUpstream(*script) as up:  # type: ignore[arg-type]
        return await assume(KEYS, ROLE, url=f"{up.url}/", region="eu-west-1", http=http), up


async def test_keys_of_a_role(http: aiohttp.ClientSession) -> None:
    lease, up = await ask(http, unary(granted(hours=1), media_type="text/xml"))
    assert lease.value == Keys(
        "ASIAIOSFODNN7EXAMPLE",
        Secret("wJalrXUtnFEMI/K7MDENG/bPxRfiCYzEXAMPLEKEY"),
        Secret("AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQW=="),
    )
    assert 3200 < lease.fresh <= 3300
    assert 3500 < lease.valid <= 3540
    (seen,) = up.requests
    assert parse_qs(seen.body.decode()) == {
        "Action": ["AssumeRole"],
        "Version": ["2011-06-15"],
        "RoleArn": [ROLE.arn],
        "RoleSessionName": ["aiogateway"],
        "ExternalId": ["ext&ra=1"],
    }
    assert "/eu-west-1/sts/aws4_request, SignedHeaders=content-type;host;x-amz-date," in (
        seen.header("authorization") or ""
    )


async def test_keys_that_end_soon_are_renewed_halfway(http: aiohttp.ClientSession) -> None:
    lease, _ = await ask(http, unary(granted(minutes=4)))
    assert 110 < lease.fresh <= 120
    assert 170 < lease.valid <= 180
    past, _ = await ask(http, unary(granted(seconds=30)))
    assert past.valid == 0.0


async def test_a_refusal_says_the_code_and_nothing_of_the_account(http: aiohttp.ClientSession) -> None:
    with pytest.raises(UpstreamStatus) as caught:
        await ask(http, unary(REFUSED, status=403))
    error = caught.value
    assert (error.status, error.error_type, error.body) == (403, "AccessDenied", b"")
    assert error.message == "AWS STS refused to assume aws_role_arn: AccessDenied"
    with pytest.raises(UpstreamStatus, match="aws_role_arn: status 500"):
        await ask(http, unary(b"<html>", status=500))
    with pytest.raises(UpstreamStatus, match="aws_role_arn: status 400"):
        await ask(http, unary(b"<Code>not a code at all!</Code>", status=400))


@pytest.mark.parametrize("body", [b"", b"<html>", granted().replace(b"Expiration", b"X"), GRANTED.encode()])
async def test_an_answer_without_keys(http: aiohttp.ClientSession, body: bytes) -> None:
    with pytest.raises(UpstreamError, match="answered without keys"):
        await ask(http, unary(body))


async def test_sts_out_of_reach(http: aiohttp.ClientSession) -> None:
    with pytest.raises(ConnectFailed, match="can't be reached"):
        await ask(http, (Cut(),))


def test_endpoints() -> None:
    assert find_url("eu-west-1") == "https://sts.eu-west-1.amazonaws.com/"
    assert find_url("cn-north-1") == "https://sts.cn-north-1.amazonaws.com.cn/"


def test_what_tells_roles_apart() -> None:
    keys = {
        make_key(KEYS, ROLE, "r"),
        make_key(Keys("AKID", Secret("s"), Secret("t")), ROLE, "r"),
        make_key(KEYS, Role(ROLE.arn), "r"),
        make_key(KEYS, ROLE, "r2"),
    }
    assert len(keys) == 4
    assert make_key(KEYS, ROLE, "r") in keys
