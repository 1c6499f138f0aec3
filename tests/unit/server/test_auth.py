from __future__ import annotations

import pytest

from aiogateway.server import auth
from aiogateway.server.auth import Caller, read_caller
from aiogateway.types import Origin


def read(*pairs: tuple[str, str]) -> Caller:
    return read_caller([(name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in pairs])


def key_of(caller: Caller) -> str | None:
    return None if caller.key is None else caller.key.reveal()


def credential_of(caller: Caller) -> tuple[str, str] | None:
    credential = caller.credential
    return None if credential is None else (credential.source, credential.secret.reveal())


def test_nothing_at_all() -> None:
    assert read() == Caller(None, None, (), ())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-portkey-api-key", "agw-1"),
        ("X-Portkey-Api-Key", "anything"),
        ("x-aiogateway-api-key", "agw-1"),
        ("authorization", "Bearer agw-1"),
        ("Authorization", "bearer  agw-1"),
        ("authorization", "agw-1"),
        ("x-api-key", "agw-1"),
        ("x-goog-api-key", "agw-1"),
        ("api-key", "agw-1"),
        ("x-anything", "agw-1"),
        ("x-anything", "Bearer agw-1"),
    ],
)
def test_a_key_of_ours_is_consumed_wherever_it_stands(name: str, value: str) -> None:
    caller = read((name, value), ("x-kept", "1"))
    assert key_of(caller) in (value, "agw-1")
    assert caller.credential is None
    assert caller.headers == (("x-kept", "1"),)
    assert caller.gateway == ()


def test_the_first_key_counts_and_none_goes_on() -> None:
    caller = read(("x-portkey-api-key", "agw-1"), ("authorization", "Bearer agw-2"), ("x-portkey-api-key", "agw-3"))
    assert (key_of(caller), caller.credential, caller.headers) == ("agw-1", None, ())


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("authorization", "Bearer sk-1", "sk-1"),
        ("AUTHORIZATION", "bearer sk-1 ", "sk-1"),
        ("x-api-key", "sk-1", "sk-1"),
        ("x-goog-api-key", "sk-1", "sk-1"),
        ("x-api-key", "Bearer sk-1", "sk-1"),
    ],
)
def test_the_callers_own_credential(name: str, value: str, secret: str) -> None:
    caller = read((name, value), ("content-type", "text/plain"))
    assert credential_of(caller) == (name.lower(), secret)
    assert caller.credential is not None
    assert caller.credential.origin is Origin.REQUEST
    assert caller.headers == (("content-type", "text/plain"),)
    assert secret not in repr(caller)


def test_the_bearer_comes_before_other_places() -> None:
    caller = read(("x-goog-api-key", "sk-2"), ("x-api-key", "sk-3"), ("authorization", "Bearer sk-1"))
    assert credential_of(caller) == ("authorization", "sk-1")
    assert caller.headers == ()
    assert credential_of(read(("x-goog-api-key", "sk-2"), ("x-api-key", "sk-3"))) == ("x-api-key", "sk-3")


def test_the_first_of_two_values_counts() -> None:
    assert credential_of(read(("x-api-key", "sk-1"), ("x-api-key", "sk-2"))) == ("x-api-key", "sk-1")


@pytest.mark.parametrize("value", ["Bearer OPENAI_API_KEY", "Bearer ", ""])
def test_a_placeholder_is_no_credential(value: str) -> None:
    caller = read(("authorization", value), ("x-api-key", "sk-1"))
    assert credential_of(caller) == ("x-api-key", "sk-1")


def test_another_scheme_is_the_providers_business() -> None:
    caller = read(("authorization", "Basic dXNlcjpwYXNz"))
    assert (caller.credential, caller.headers) == (None, (("authorization", "Basic dXNlcjpwYXNz"),))


@pytest.mark.parametrize(
    "name",
    ["host", "cookie", "content-length", "expect", "transfer-encoding", "te", "trailer", "upgrade", "keep-alive",
     "proxy-authorization", "proxy-connection", "Proxy-Authenticate"],
)  # fmt: skip
def test_what_never_goes_on(name: str) -> None:
    assert read((name, "x"), ("x-kept", "1")).headers == (("x-kept", "1"),)


def test_what_connection_names_goes_nowhere_either() -> None:
    caller = read(("x-early", "1"), ("connection", "close, X-Early,x-late"), ("x-late", "1"), ("x-kept", "1"))
    assert caller.headers == (("x-kept", "1"),)


def test_what_speaks_to_us() -> None:
    caller = read(("X-Portkey-Provider", "openai"), ("x-aiogateway-config", '{"a":"é"}'), ("x-other", "1"))
    assert caller.gateway == (("x-portkey-provider", "openai"), ("x-aiogateway-config", '{"a":"é"}'))
    assert caller.headers == (("x-other", "1"),)


def test_values_go_on_byte_for_byte() -> None:
    raw = bytes(range(0x20, 0x100))
    caller = read_caller([(b"x-odd", raw), (b"X-Odd", b"two")])
    assert [(name, value.encode("latin-1")) for name, value in caller.headers] == [("x-odd", raw), ("x-odd", b"two")]
    assert caller.headers[1][1] == "two"
    mentions = read_caller([(b"x-odd", b"see agw-\xff")])
    assert mentions.headers[0][1].encode("latin-1") == b"see agw-\xff"


def test_known_names_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "_known", {})
    monkeypatch.setattr(auth, "KNOWN_NAMES", 3)
    for number in range(10):
        assert read((f"X-{number}", "1")).headers == ((f"x-{number}", "1"),)
    assert len(auth._known) == 3


def test_a_header_that_only_some_providers_take_as_a_key_goes_on_as_it_is() -> None:
    caller = read(("api-key", "mine"), ("authorization", "Bearer sk-1"))
    assert caller.headers == (("api-key", "mine"),)
