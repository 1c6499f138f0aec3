from __future__ import annotations

import pytest

from aiogateway.config.hosts import AddressPolicy, parse_base_url
from aiogateway.errors import ConfigError


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        ("HTTPS://API.OpenAI.com:443/v1/", "https://api.openai.com/v1"),
        ("http://127.0.0.1:11434", "http://127.0.0.1:11434"),
        ("http://localhost:80", "http://localhost"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("http://[2001:DB8::1]", "http://[2001:db8::1]"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("http://my_ollama:11434//", "http://my_ollama:11434"),
        ("https://example.com/openai/%C3%A4", "https://example.com/openai/%C3%A4"),
        ("http://1e100.net", "http://1e100.net"),
    ],
)
def test_base_urls_have_one_spelling(given: str, canonical: str) -> None:
    assert parse_base_url(given, path="custom_host") == canonical


@pytest.mark.parametrize(
    "given",
    [
        "ftp://example.com",
        "file:///etc/passwd",
        "example.com",
        "//example.com",
        "https://",
        "https:///v1",
        "https://user:secret@example.com",
        "https://example.com@evil.example",
        "https://example.com\\@evil.example",
        "https://example.com#fragment",
        "https://example.com/v1?key=1",
        "https://example.com./v1",
        "https://exa mple.com",
        "https://example.com/\r\nx-injected: 1",
        "https://example.com\x00.evil.example",
        "\thttps://example.com",
        "https://ex%61mple.com",
        "https://bücher.example",
        "https://example.com/a/../b",
        "https://-example.com",
        "https://example..com",
        f"https://{'a' * 64}.example",
        f"https://{'a.' * 130}example",
        f"https://example.com/{'a' * 3000}",
        "https://example.com:",
        "https://example.com:0",
        "https://example.com:080",
        "https://example.com:65536",
        "https://example.com:8080:9090",
        "https://example.com:x",
        "https://[::1",
        "https://::1/",
        "https://[example.com]",
    ],
)
def test_other_urls_are_refused(given: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_base_url(given, path="custom_host")
    assert caught.value.path == "custom_host"
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "host",
    [
        "0x7f.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.0.0.01",
        "127.0.0.0x1",
        "1.2.3.4.5",
        "0x",
        "foo.0x1",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:0:0:1]",
        "[::0001]",
        "[::127.0.0.1]",
        "[fe80::1%eth0]",
        "[fe80::1%25eth0]",
        "[127.0.0.1]",
    ],
)
def test_addresses_in_any_but_their_canonical_form_are_refused(host: str) -> None:
    with pytest.raises(ConfigError):
        parse_base_url(f"http://{host}/v1", path="custom_host")


SPECIAL = [
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "100.64.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::a00:1",
    "::ffff:10.0.0.1",
    "64:ff9b::a00:1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:a00:1::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fdff::1",
    "fec0::1",
    "ff02::1",
]
METADATA = [
    "169.254.169.254",
    "fe80::1",
    "fe80::1%eth0",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "fd00:ec2::254",
    "::ffff:169.254.169.254",
    "64:ff9b::a9fe:a9fe",
]
OPEN = ["1.1.1.1", "100.63.255.255", "172.32.0.1", "2606:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1"]


@pytest.mark.parametrize("address", [*SPECIAL, *METADATA, "", "example.com", "127.1"])
def test_special_addresses_are_refused_for_hosts_of_a_request(address: str) -> None:
    assert not AddressPolicy(loopback=True).allows(address, host="x.example", operator=False)


@pytest.mark.parametrize("address", OPEN)
def test_public_addresses_are_allowed(address: str) -> None:
    assert AddressPolicy(loopback=False).allows(address, host="x.example", operator=False)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_loopback_follows_how_we_listen(address: str) -> None:
    assert AddressPolicy(loopback=True).allows(address, host="localhost", operator=False)
    assert not AddressPolicy(loopback=False).allows(address, host="localhost", operator=False)


def test_the_loopback_behind_a_translator_is_another_machine_s() -> None:
    assert not AddressPolicy(loopback=True).allows("64:ff9b::7f00:1", host="localhost", operator=False)


@pytest.mark.parametrize("address", [*SPECIAL, "127.0.0.1", "::1"])
def test_hosts_of_the_operator_are_exempt(address: str) -> None:
    assert AddressPolicy(loopback=False).allows(address, host="x.example", operator=True)


@pytest.mark.parametrize("address", METADATA)
def test_the_operators_exemption_ends_at_metadata_addresses(address: str) -> None:
    assert not AddressPolicy(loopback=True).allows(address, host="x.example", operator=True)


@pytest.mark.parametrize(
    ("trusted", "host", "address", "allowed"),
    [
        ("ollama.internal", "ollama.internal", "10.0.0.5", True),
        ("ollama.internal", "OLLAMA.internal", "127.0.0.1", True),
        ("ollama.internal", "x.ollama.internal", "10.0.0.5", False),
        ("ollama.internal", "ollama.internal", "169.254.169.254", False),
        ("*.internal", "ollama.internal", "10.0.0.5", True),
        ("*.internal", "internal", "10.0.0.5", False),
        ("*.internal", "evilinternal", "10.0.0.5", False),
        ("10.0.0.0/8", "any.example", "10.9.9.9", True),
        ("10.0.0.0/8", "any.example", "11.9.9.9", True),
        ("10.0.0.0/8", "any.example", "172.16.0.1", False),
        ("10.0.0.0/8", "any.example", "::ffff:10.9.9.9", True),
        ("10.0.0.5", "10.0.0.5", "10.0.0.5", True),
        ("10.0.0.5", "10.0.0.6", "10.0.0.6", False),
        ("169.254.169.254", "169.254.169.254", "169.254.169.254", True),
        ("fd00::/8", "any.example", "fd12::1", True),
        ("fd00::/8", "any.example", "fc12::1", False),
    ],
)
def test_trusted_hosts_open_what_they_name(trusted: str, host: str, address: str, allowed: bool) -> None:
    assert AddressPolicy(loopback=False, trusted=[trusted]).allows(address, host=host, operator=False) is allowed


@pytest.mark.parametrize("entry", ["", "*.", "*", "10.0.0.1/8", "127.1", "a b", "https://x", "*.*.x", "x..y"])
def test_bad_entries_are_errors(entry: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        AddressPolicy(loopback=False, trusted=[entry])
