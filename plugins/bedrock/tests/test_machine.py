from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from aiogateway_plugin_bedrock.identity import Keys
from aiogateway_plugin_bedrock.machine import Machine

from aiogateway.errors import UpstreamError
from aiogateway.types import Secret

VARIABLES = (
    "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE", "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI", "BOTO_CONFIG",
)  # fmt: skip


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without credentials, that asks nobody for any."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("HOME", str(tmp_path))


async def test_keys_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    lease = await Machine().fetch_any()
    assert lease.value == Keys("AKID", Secret("s"))
    assert 0 < lease.fresh < lease.valid <= 300
    monkeypatch.setenv("AWS_SESSION_TOKEN", "t")
    assert (await Machine().fetch_keys()).value == Keys("AKID", Secret("s"), Secret("t"))


async def test_keys_of_a_profile_and_of_its_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "credentials").write_text("[default]\naws_access_key_id = AKID\naws_secret_access_key = s\n")
    assert (await Machine().fetch_any()).value == Keys("AKID", Secret("s"))
    answer = '{"Version":1,"AccessKeyId":"ASIA","SecretAccessKey":"p","SessionToken":"t"}'
    (tmp_path / "answer").write_text(answer)
    (tmp_path / "config").write_text(f"[profile p]\ncredential_process = cat {tmp_path / 'answer'}\n")
    monkeypatch.setenv("AWS_PROFILE", "p")
    assert (await Machine().fetch_any()).value == Keys("ASIA", Secret("p"), Secret("t"))


async def test_an_api_key_of_the_environment_comes_first_but_assumes_no_role(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", "ABSK")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    machine = Machine()
    assert (await machine.fetch_any()).value == Secret("ABSK")
    assert (await machine.fetch_bearer()).value == Secret("ABSK")
    assert (await machine.fetch_keys()).value == Keys("AKID", Secret("s"))


async def test_a_machine_without_any() -> None:
    with pytest.raises(UpstreamError, match="no AWS credentials are found"):
        await Machine().fetch_any()
    with pytest.raises(UpstreamError, match="no Bedrock API key is found"):
        await Machine().fetch_bearer()


async def test_what_botocore_raises_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_PROFILE", "n0such")
    with pytest.raises(UpstreamError) as caught:
        await Machine().fetch_any()
    assert caught.value.message == "the gateway's own AWS credentials could not be had"


async def test_the_loop_goes_on_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore may wait for the network: here for as long as the loop needs to say that it runs."""
    ran = threading.Event()
    found: list[bool] = []

    def wait(_: Any) -> Any:
        found.append(ran.wait(5))
        raise RuntimeError

    monkeypatch.setattr("botocore.session.Session.get_credentials", wait)
    asyncio.get_running_loop().call_soon(ran.set)
    with pytest.raises(UpstreamError):
        await Machine().fetch_keys()
    assert found == [True]
