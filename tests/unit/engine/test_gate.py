from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

import aiohttp
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from aiogateway.config.hosts import AddressPolicy
from aiogateway.engine.gate import AddressRefused, GuardedResolver

PUBLIC = "93.184.215.14"


class FakeResolver(AbstractResolver):
    """Answers with the next list of addresses at each question; no name is really resolved."""

    def __init__(self, *answers: Sequence[str] | OSError) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, int, socket.AddressFamily]] = []
        self.closed = False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        self.asked.append((host, port, family))
        answer = self.answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return [
            ResolveResult(hostname=host, host=address, port=port, family=socket.AF_INET, proto=0, flags=0)
            for address in answer
        ]

    async def close(self) -> None:
        self.closed = True


def make_gate(
    *answers: Sequence[str] | OSError, operator: bool = False, loopback: bool = False, trusted: Sequence[str] = ()
) -> tuple[GuardedResolver, FakeResolver]:
    inner = FakeResolver(*answers)
    return GuardedResolver(inner, AddressPolicy(loopback=loopback, trusted=trusted), operator=operator), inner


async def test_allowed_answers_go_through_unchanged() -> None:
    gate, inner = make_gate([PUBLIC, "2606:2800:21f::1"])
    answers = await gate.resolve("api.example", 443, socket.AF_UNSPEC)
    assert [(answer["hostname"], answer["host"], answer["port"]) for answer in answers] == [
        ("api.example", PUBLIC, 443),
        ("api.example", "2606:2800:21f::1", 443),
    ]
    assert inner.asked == [("api.example", 443, socket.AF_UNSPEC)]


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.9.10",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fd00::1",
        "fd00:ec2::254",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
    ],
)
async def test_one_bad_address_among_good_ones_refuses_the_host(address: str) -> None:
    gate, _ = make_gate([PUBLIC, address, PUBLIC])
    with pytest.raises(AddressRefused) as caught:
        await gate.resolve("rebind.example", 443)
    assert address not in str(caught.value)
    assert "rebind.example" not in str(caught.value)


async def test_a_name_that_changes_its_mind_is_checked_every_time() -> None:
    gate, _ = make_gate([PUBLIC], ["127.0.0.1"])
    assert [answer["host"] for answer in await gate.resolve("rebind.example")] == [PUBLIC]
    with pytest.raises(AddressRefused):
        await gate.resolve("rebind.example")


async def test_loopback_is_open_while_we_listen_there() -> None:
    gate, _ = make_gate(["127.0.0.1"], ["10.0.0.1"], loopback=True)
    assert [answer["host"] for answer in await gate.resolve("localhost")] == ["127.0.0.1"]
    with pytest.raises(AddressRefused):
        await gate.resolve("internal.example")


async def test_trusted_hosts_may_be_private() -> None:
    gate, _ = make_gate(["10.0.0.1"], ["10.0.0.1"], trusted=["ollama.lan"])
    assert [answer["host"] for answer in await gate.resolve("ollama.lan")] == ["10.0.0.1"]
    with pytest.raises(AddressRefused):
        await gate.resolve("other.lan")


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "::1", "fd00::1"])
async def test_hosts_of_the_operator_may_be_anywhere(address: str) -> None:
    gate, _ = make_gate([address], operator=True)
    assert [answer["host"] for answer in await gate.resolve("internal.example")] == [address]
    gate.check_host(address)


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1"])
async def test_hosts_of_the_operator_may_not_be_link_local(address: str) -> None:
    gate, _ = make_gate([address], operator=True)
    with pytest.raises(AddressRefused):
        await gate.resolve("metadata.example")
    with pytest.raises(AddressRefused):
        gate.check_host(address)


async def test_a_failing_resolver_is_heard_as_it_is() -> None:
    failure = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    gate, _ = make_gate(failure, [])
    with pytest.raises(socket.gaierror) as caught:
        await gate.resolve("absent.example")
    assert caught.value is failure
    with pytest.raises(OSError, match="no address") as empty:
        await gate.resolve("absent.example")
    assert not isinstance(empty.value, AddressRefused)


@pytest.mark.parametrize("host", [PUBLIC, "2606:2800:21f::1", "[2606:2800:21f::1]"])
def test_public_literals_pass(host: str) -> None:
    gate, _ = make_gate()
    gate.check_host(host)


@pytest.mark.parametrize("host", ["127.0.0.1", "10.0.0.1", "::1", "[::1]", "::ffff:127.0.0.1", "fe80::1%1"])
def test_literals_are_judged_like_answers(host: str) -> None:
    gate, _ = make_gate()
    with pytest.raises(AddressRefused) as caught:
        gate.check_host(host)
    assert host not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        "127.1",
        "0x7f.1",
        "0x7f000001",
        "0x",
        "2130706433",
        "017700000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "1.2.3.4.5",
        "foo.127",
        "foo.0x7f",
        "１２７.０.０.１",
        "127.0.0.¹",
        "::1::",
        "localhost:80",
    ],
)
@pytest.mark.parametrize("operator", [False, True])
async def test_what_only_a_c_library_reads_as_an_address_is_refused(host: str, operator: bool) -> None:
    gate, inner = make_gate(["127.0.0.1"], operator=operator, loopback=True)
    with pytest.raises(AddressRefused, match="canonical"):
        gate.check_host(host)
    with pytest.raises(AddressRefused, match="canonical"):
        await gate.resolve(host)
    assert inner.asked == []


@pytest.mark.parametrize("host", ["api.example", "localhost", "0x7f.example", "127.0.0.1.nip.example", "a1", "x-1.y2"])
def test_names_are_left_to_resolving(host: str) -> None:
    gate, inner = make_gate()
    gate.check_host(host)
    assert inner.asked == []


async def test_closing_leaves_the_inner_resolver_to_its_owner() -> None:
    gate, inner = make_gate()
    await gate.close()
    assert not inner.closed


async def test_the_connector_says_refused_and_dials_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one way through aiohttp: our error arrives as `os_error`, and no connection is tried."""
    dialled: list[Any] = []

    async def dial(*args: Any, **kwargs: Any) -> Any:
        dialled.append(args)
        raise OSError("not in a test")

    gate, _ = make_gate([PUBLIC, "10.0.0.1"])
    async with aiohttp.TCPConnector(resolver=gate) as connector:
        monkeypatch.setattr(connector, "_wrap_create_connection", dial)
        async with aiohttp.ClientSession(connector=connector) as http:
            with pytest.raises(aiohttp.ClientConnectorDNSError) as caught:
                await http.get("http://rebind.example/")
    assert isinstance(caught.value.os_error, AddressRefused)
    assert dialled == []


async def test_the_connector_dials_exactly_what_was_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    dialled: list[str] = []

    async def dial(*args: Any, addr_infos: Sequence[Any], **kwargs: Any) -> Any:
        dialled.extend(info[4][0] for info in addr_infos)
        raise OSError("not in a test")

    gate, inner = make_gate([PUBLIC])
    async with aiohttp.TCPConnector(resolver=gate) as connector:
        monkeypatch.setattr(connector, "_wrap_create_connection", dial)
        async with aiohttp.ClientSession(connector=connector) as http:
            with pytest.raises(OSError, match="not in a test"):
                await http.get("http://api.example/")
    assert set(dialled) == {PUBLIC}
    assert len(inner.asked) == 1
