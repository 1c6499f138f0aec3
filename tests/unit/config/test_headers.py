from __future__ import annotations

from typing import Any

import pytest

from aiogateway.config.headers import HEADERS, CallHeaders, read_call_headers
from aiogateway.config.model import State
from aiogateway.errors import ConfigError

OPTIONS = frozenset(("openai_organization", "vertex_service_account_json"))


def read(*pairs: tuple[str, str], **changes: Any) -> CallHeaders:
    return read_call_headers(pairs, OPTIONS, new_id=lambda: "made-up", **changes)


def refuse(*pairs: tuple[str, str], **changes: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        read(*pairs, **changes)
    return caught.value


def test_other_headers_are_none_of_ours() -> None:
    headers = read(("authorization", "Bearer x"), ("x-portkey", "a"), ("x-request-id", "\x01"), ("host", "a"))
    assert (headers.config, headers.provider, headers.names) == (None, None, {})
    assert headers.trace.id == "made-up"


@pytest.mark.parametrize("prefix", ["x-portkey-", "x-aiogateway-"])
def test_every_header_is_read_under_both_prefixes(prefix: str) -> None:
    headers = read(
        (f"{prefix}config", '{"provider": "openai"}'),
        (f"{prefix}provider", "openai"),
        (f"{prefix}custom-host", "http://127.0.0.1"),
        (f"{prefix}request-timeout", "1500"),
        (f"{prefix}forward-headers", "X-A, X-B,"),
        (f"{prefix}metadata", '{"_user": "u", "n": 1, "ok": true, "none": null}'),
        (f"{prefix}trace-id", "t"),
        (f"{prefix}span-id", "s"),
        (f"{prefix}parent-span-id", "p"),
        (f"{prefix}span-name", "n"),
        (f"{prefix}openai-organization", "org"),
    )
    assert headers.config == '{"provider": "openai"}'
    assert headers.provider == "openai"
    assert headers.custom_host == "http://127.0.0.1"
    assert headers.request_timeout == 1500
    assert headers.forward_headers == ("x-a", "x-b")
    assert headers.metadata == {"_user": "u", "n": 1, "ok": True, "none": None}
    trace = headers.trace
    assert (trace.id, trace.span_id, trace.parent_span_id, trace.span_name) == ("t", "s", "p", "n")
    assert headers.options == {"openai_organization": "org"}
    assert headers.name_of("provider") == f"{prefix}provider"


def test_what_portkeys_client_always_sends_is_accepted() -> None:
    # portkey_ai 1.15.1, captured.
    headers = read(
        ("x-portkey-package-version", "portkey-1.15.1"),
        ("x-portkey-runtime", "CPython"),
        ("x-portkey-runtime-version", "3.11.7"),
        ("x-portkey-strict-open-ai-compliance", "false"),
        ("x-portkey-cache-force-refresh", "true"),
        ("x-portkey-cache-namespace", "ns"),
        ("x-portkey-debug", "false"),
        ("x-portkey-api-key", "pk"),
    )
    assert headers.options == {}


@pytest.mark.parametrize("header", [header for header in HEADERS if header.state is State.LATER])
def test_what_is_not_there_yet_is_refused(header: Any) -> None:
    error = refuse((f"x-portkey-{header.suffix}", "x"))
    assert error.path == f"x-portkey-{header.suffix}"
    assert "not available yet" in str(error)


def test_unknown_headers_are_refused_with_the_nearest() -> None:
    error = refuse(("x-portkey-provder", "openai"))
    assert error.path == "x-portkey-provder"
    assert "did you mean 'provider'?" in str(error)
    assert "did you mean 'openai-organization'?" in str(refuse(("x-portkey-openai-organisation", "x")))


def test_empty_values_count_as_absent() -> None:
    headers = read(("x-portkey-config", " "), ("x-portkey-trace-id", ""), ("x-portkey-virtual-key", ""))
    assert headers.config is None
    assert headers.trace.id == "made-up"


@pytest.mark.parametrize("suffix", ["config", "provider", "trace-id", "metadata", "api-key", "openai-organization"])
@pytest.mark.parametrize("character", ["\r", "\n", "\x00", "\x1b", "\x7f"])
def test_control_characters_are_refused_anywhere(suffix: str, character: str) -> None:
    error = refuse((f"x-portkey-{suffix}", f"sk-canary{character}x"))
    assert error.path == f"x-portkey-{suffix}"
    assert "canary" not in str(error)


def test_json_may_hold_tabs_and_any_script() -> None:
    assert read(("x-portkey-metadata", '{\t"a": "ä\u00a0語"}')).metadata == {"a": "ä\u00a0語"}


def test_one_header_given_twice_must_say_the_same() -> None:
    assert read(("x-portkey-provider", "a"), ("x-aiogateway-provider", "a")).provider == "a"
    assert "twice" in str(refuse(("x-portkey-provider", "a"), ("x-aiogateway-provider", "b")))
    assert "twice" in str(refuse(("x-portkey-config", "{}"), ("x-portkey-config", "{ }")))


def test_a_config_has_a_largest_size() -> None:
    assert read(("x-portkey-config", "{" + "x" * 65535)).config is not None
    assert "at most 65536 bytes" in str(refuse(("x-portkey-config", "{" + "x" * 65536)))
    assert "at most 10 bytes" in str(refuse(("x-portkey-config", "ä" * 6), max_config=10))


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ("[]", "must be a JSON object"),
        ('"a"', "must be a JSON object"),
        ("{", "not valid JSON"),
        ("a=b", "not valid JSON"),
        ('{"a": "\udcff"}', "not valid JSON"),
        ('{"a": {}}', "plain values only, but 'a' is a dict"),
        ('{"a": []}', "plain values only, but 'a' is a list"),
        ('{"a": "' + "x" * 16384 + '"}', "at most 16384 bytes"),
    ],
)
def test_metadata_is_a_small_flat_object(metadata: str, says: str) -> None:
    error = refuse(("x-portkey-metadata", metadata))
    assert error.path == "x-portkey-metadata"
    assert says in str(error)


@pytest.mark.parametrize("suffix", ["trace-id", "span-id", "parent-span-id", "span-name"])
@pytest.mark.parametrize("value", ["x" * 257, "a\tb", "\udcff"])
def test_ids_are_short_and_printable(suffix: str, value: str) -> None:
    assert refuse((f"x-portkey-{suffix}", value)).path == f"x-portkey-{suffix}"


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "abc", "1e3"])
def test_timeouts_are_positive_integers(value: str) -> None:
    assert refuse(("x-portkey-request-timeout", value)).path == "x-portkey-request-timeout"


def test_ours_is_never_forwarded() -> None:
    assert "never passed on" in str(refuse(("x-portkey-forward-headers", "x-a,X-Portkey-Api-Key")))


def test_nothing_shows_in_a_repr() -> None:
    shown = repr(read(("x-portkey-config", '{"api_key": "canary"}'), ("x-portkey-openai-organization", "canary")))
    assert shown == "<headers x-portkey-config, x-portkey-openai-organization>"


def test_suffixes_are_unique() -> None:
    assert len({header.suffix for header in HEADERS}) == len(HEADERS)


@pytest.mark.parametrize(
    ("value", "explain"), [("1", True), ("true", True), ("True", True), ("0", False), ("false", False), ("", False)]
)
def test_explain_is_a_flag(value: str, explain: bool) -> None:
    assert read(("x-aiogateway-explain", value)).explain is explain
    assert read(("x-portkey-explain", value)).explain is explain
    assert read().explain is False


@pytest.mark.parametrize("value", ["yes", "2", "on"])
def test_explain_is_nothing_else(value: str) -> None:
    error = refuse(("x-aiogateway-explain", value))
    assert error.path == "x-aiogateway-explain"
    assert "1, true, 0 or false" in str(error)
