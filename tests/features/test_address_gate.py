"""Where a request may make us connect to. No test dials an address off this machine: the resolver is injected."""

from __future__ import annotations

import json
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from aiogateway.testing.upstream import unary
from aiogateway.types import Outcome
from tests.stage import Stage, stage

ANSWER = b'{"object":"chat.completion","choices":[]}'
CHAT = "/v1/chat/completions"
PATHS = [CHAT, "/v1/embeddings", "/v1/files"]
LOCAL = "127.0.0.1"

NOT_ONE_SPELLING = [
    "127.1", "127.0.1", "0x7f.1", "0x7f000001", "0x7F.0.0.1", "2130706433", "017700000001", "0177.0.0.1", "127.0.0.01",
    "127.0.0.1.", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:0:0:1]", "[::1%25lo]", "[::1%lo]", "0",
    "127.0.0.256", "①②⑦.⓪.⓪.①", "127。0。0。1", "127.0.0.1%00", "localhost%2e", "local host", "[127.0.0.1]", "[::1",
    "::1",
]  # fmt: skip
NOT_A_HOST = [
    "http://good.example#@{local}/v1", "http://good.example@{local}/v1", "http://{local}@good.example/v1",
    "http://user:pass@{local}/v1", "http://good.example\\@{local}/v1", "http://{local}/v1?x=", "http://{local}/v1#",
    "http:///v1", "//{local}/v1", "{local}/v1", "ftp://{local}/v1", "file:///etc/passwd", "local:mock",
    "gopher://{local}/", "http://{local}/v1/../admin", "http://{local}/v1/./x", "unix:///run/docker.sock",
    "http://{local}:99999/", "http://{local} /",
]  # fmt: skip
SPECIAL = [
    "0.0.0.0", "10.0.0.1", "100.64.0.1", "169.254.169.254", "169.254.0.1", "172.16.0.1", "172.31.255.255", "192.0.0.1",
    "192.0.2.1", "192.168.1.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "168.63.129.16",
    "100.100.100.200", "::", "fc00::1", "fd00:ec2::254", "fe80::1", "ff02::1", "64:ff9b::a00:1", "64:ff9b::7f00:1",
    "2002:7f00:1::", "2001:db8::1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1",
]  # fmt: skip


class Names(AbstractResolver):
    """Answers with the next of a name's lists of addresses at each question, and then with the last again."""

    def __init__(self, **answers: Sequence[Sequence[str]]) -> None:
        self.answers = {name.replace("_", "."): list(lists) for name, lists in answers.items()}
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append(host)
        lists = self.answers.get(host)
        if lists is None:
            raise OSError("no such name")
        addresses = lists.pop(0) if len(lists) > 1 else lists[0]
        return [
            ResolveResult(
                hostname=host, host=address, port=port, proto=0, flags=socket.AI_NUMERICHOST,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
            )
            for address in addresses
        ]  # fmt: skip

    async def close(self) -> None:
        pass


async def call(live: Stage, host: str, path: str = CHAT) -> tuple[int, dict[str, Any]]:
    """One call with `host` in a config, where JSON can say what a header can't."""
    headers = {
        "x-portkey-provider": "",
        "x-portkey-custom-host": "",
        "x-portkey-config": json.dumps({"provider": "openai", "custom_host": host, "api_key": "sk-caller"}),
    }
    status, body = await live.ask(path=path, stream=False, headers=headers)
    return status, orjson.loads(body)


async def refused(live: Stage, host: str, path: str = CHAT) -> str:
    """A 400 without any connection that reached us, which the caller may read. Returns the message."""
    status, body = await call(live, host, path)
    assert status == 400, (host, body)
    assert live.up.connections == [], host
    message: str = body["error"]["message"]
    assert body["error"]["code"] == "invalid_config"
    return message


@pytest.mark.parametrize("path", PATHS)
async def test_an_address_has_one_spelling_even_where_loopback_is_allowed(path: str) -> None:
    async with stage(unary(ANSWER)) as live:
        for host in NOT_ONE_SPELLING:
            await refused(live, f"http://{host}:{live.up.port}/v1", path)
        assert {record.outcome for record in live.records} == {Outcome.REFUSED}
        assert (await call(live, f"{live.up.url}/v1", path))[0] == 200


@pytest.mark.parametrize("path", PATHS)
async def test_what_two_parsers_would_read_in_two_ways_is_no_host(path: str) -> None:
    async with stage(unary(ANSWER)) as live:
        for url in NOT_A_HOST:
            await refused(live, url.format(local=f"{LOCAL}:{live.up.port}"), path)


@pytest.mark.parametrize("path", PATHS)
async def test_special_addresses_are_not_for_requests(path: str) -> None:
    async with stage(unary(ANSWER)) as live:
        for address in SPECIAL:
            host = f"[{address}]" if ":" in address else address
            message = await refused(live, f"http://{host}:{live.up.port}/v1", path)
            assert address not in message


@pytest.mark.parametrize("path", PATHS)
async def test_names_that_lead_to_them_are_not_either(path: str) -> None:
    names = Names(
        **{f"n{i}_example": [[address]] for i, address in enumerate(SPECIAL)}, mixed_example=[[LOCAL, "10.0.0.1"]]
    )
    async with stage(unary(ANSWER), resolver=names) as live:
        for i, address in enumerate(SPECIAL):
            message = await refused(live, f"http://n{i}.example:{live.up.port}/v1", path)
            assert address not in message, "a caller could map our network"
        await refused(live, f"http://mixed.example:{live.up.port}/v1", path)  # one bad address is enough


async def test_loopback_is_for_those_who_listen_on_loopback(tmp_path: Path) -> None:
    names = Names(local_example=[[LOCAL]], localhost=[[LOCAL]])
    async with stage(unary(ANSWER), resolver=names, tmp=tmp_path, host="0.0.0.0", allow_open=True) as live:
        for host in (LOCAL, "127.9.9.9", "[::1]", "localhost", "local.example"):
            await refused(live, f"http://{host}:{live.up.port}/v1")
    names = Names(local_example=[[LOCAL]])
    async with stage(unary(ANSWER), resolver=names) as live:
        assert (await call(live, f"http://local.example:{live.up.port}/v1"))[0] == 200


async def test_trusted_hosts_open_what_they_name_and_no_more(tmp_path: Path) -> None:
    names = Names(in_corp=[[LOCAL]], ollama=[[LOCAL]], other=[[LOCAL]], link_corp=[["169.254.169.254"]])
    open_to_all: dict[str, Any] = {"host": "0.0.0.0", "allow_open": True}
    async with stage(
        unary(ANSWER), resolver=names, tmp=tmp_path, trusted_hosts=["*.corp", "ollama"], **open_to_all
    ) as live:
        await refused(live, f"http://other:{live.up.port}/v1")
        await refused(live, f"http://{LOCAL}:{live.up.port}/v1")
        await refused(live, "http://link.corp/v1")
        assert (await call(live, f"http://in.corp:{live.up.port}/v1"))[0] == 200
        assert (await call(live, f"http://ollama:{live.up.port}/v1", "/v1/files"))[0] == 200
    names = Names(other=[[LOCAL]])
    async with stage(unary(ANSWER), resolver=names, tmp=tmp_path, trusted_hosts=["127.0.0.0/8"], **open_to_all) as live:
        await refused(live, "http://10.0.0.1/v1")
        assert (await call(live, f"http://other:{live.up.port}/v1"))[0] == 200


@pytest.mark.parametrize("path", PATHS)
async def test_a_name_that_changes_its_mind_is_dialled_where_it_was_checked(path: str) -> None:
    rebinding = Names(rebind_example=[["10.0.0.1"], [LOCAL]])
    async with stage(unary(ANSWER), resolver=rebinding) as live:
        await refused(live, f"http://rebind.example:{live.up.port}/v1", path)
        assert rebinding.asked == ["rebind.example"], "checked once, and not asked again to connect"
    rebinding = Names(rebind_example=[[LOCAL], ["169.254.169.254"]])
    async with stage(unary(ANSWER), resolver=rebinding) as live:
        assert (await call(live, f"http://rebind.example:{live.up.port}/v1", path))[0] == 200
        assert (await call(live, f"http://rebind.example:{live.up.port}/v1", path))[0] == 200
        assert rebinding.asked == ["rebind.example"]
        assert len(live.up.connections) == 1


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_handed_on_and_not_followed(status: int, path: str) -> None:
    async with stage(unary(b"moved")) as trap:
        away = (("location", f"{trap.up.url}/v1/elsewhere"),)
        async with stage(unary(b"{}", status=status, headers=away)) as live:
            client = await live.post(path=path, stream=False)
            assert (await client.answer())[0] == status
            assert trap.up.connections == []
            assert len(live.up.requests) == 1


async def test_hosts_in_the_settings_are_the_operator_s_but_for_link_local_ones(tmp_path: Path) -> None:
    names = Names(private_example=[[LOCAL]], meta_example=[["169.254.169.254"]])
    everyone: dict[str, Any] = {"host": "0.0.0.0", "allow_open": True, "resolver": names, "tmp": tmp_path}
    headers = {"x-portkey-custom-host": ""}
    async with stage(unary(ANSWER)) as other:
        for host in (LOCAL, "private.example"):
            ours = {"openai": {"api_key": "sk-ours", "base_url": f"http://{host}:{other.up.port}/v1"}}
            async with stage(unary(ANSWER), providers=ours, **everyone) as live:
                for path in PATHS:
                    assert (await live.ask(path=path, stream=False, headers=headers))[0] == 200
    for host in ("169.254.169.254", "[fe80::1]", "meta.example", "168.63.129.16"):
        ours = {"openai": {"api_key": "sk-ours", "base_url": f"http://{host}:1/v1"}}
        async with stage(unary(ANSWER), providers=ours, **everyone) as live:
            for path in PATHS:
                assert (await live.ask(path=path, stream=False, headers=headers))[0] == 400


async def test_a_pooled_connection_of_the_operator_s_host_is_not_a_request_s(tmp_path: Path) -> None:
    names = Names(inner_example=[[LOCAL]])
    everyone: dict[str, Any] = {"host": "0.0.0.0", "allow_open": True, "resolver": names, "tmp": tmp_path}
    async with stage(unary(ANSWER)) as other:
        inner = f"http://inner.example:{other.up.port}/v1"
        async with stage(unary(ANSWER), providers={"openai": {"base_url": inner}}, **everyone) as live:
            assert (await live.ask(stream=False, headers={"x-portkey-custom-host": ""}))[0] == 200
            assert len(other.up.requests) == 1
            await refused(live, inner)
            assert len(other.up.requests) == 1
