from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from aiogateway import errors
from aiogateway.errors import ConfigError, Forbidden, GatewayError, PluginError, SettingsError, UpstreamStatus

_LINE = re.compile(r"^    (?P<rail>[│├└─ ]*)(?P<name>[A-Z]\w+) +(?P<status>\d{3}|as received)(?P<rest>.*)$")
_CODE = re.compile(r"^ +([a-z_]+)(?= |$)")


class Drawn(NamedTuple):
    """One line of the tree in the module docstring."""

    name: str
    parent: str | None
    status: int | None
    code: str | None
    attributes: tuple[str, ...]


def read_tree() -> Iterator[Drawn]:
    above: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if (match := _LINE.match(line)) is None:
            continue
        depth = len(match["rail"]) // 4
        del above[depth:]
        status = None if match["status"] == "as received" else int(match["status"])
        code = _CODE.match(match["rest"]) if status else None
        attributes = tuple(re.findall(r"\.([a-z]+)\b", match["rest"]))
        yield Drawn(match["name"], above[-1] if above else None, status, code[1] if code else None, attributes)
        above.append(match["name"])


TREE = tuple(read_tree())
CLASSES = {
    name: value for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, GatewayError)
}


def make(error: type[GatewayError]) -> GatewayError:
    required: dict[str, Any] = {"UpstreamStatus": {"status": 429}, "PluginError": {"plugin": "acme"}}
    return error("what went wrong", **required.get(error.__name__, {}))


def test_the_tree_in_the_docstring_names_every_class_once() -> None:
    assert sorted(drawn.name for drawn in TREE) == sorted(CLASSES)


@pytest.mark.parametrize("drawn", TREE, ids=lambda drawn: drawn.name)
def test_the_tree_is_true(drawn: Drawn) -> None:
    error = CLASSES[drawn.name]
    if drawn.parent is None:
        assert error is GatewayError
    else:
        assert error.__bases__ == (CLASSES[drawn.parent],)
    if drawn.status is not None:
        assert (error.status, error.code) == (drawn.status, drawn.code)
    for attribute in drawn.attributes:
        assert hasattr(make(error), attribute)


@pytest.mark.parametrize("error", CLASSES.values())
def test_the_message_is_what_callers_see(error: type[GatewayError]) -> None:
    made = make(error)
    assert made.message == str(made)
    assert made.message.endswith("what went wrong")
    assert error.__doc__
    assert re.fullmatch(r"[a-z_]+", made.code)
    assert re.fullmatch(r"[a-z_]+", made.type)


def test_codes_tell_classes_apart() -> None:
    assert len({error.code for error in CLASSES.values()}) == len(CLASSES)


def test_only_upstream_failures_let_the_next_target_try() -> None:
    retryable = {name for name, error in CLASSES.items() if error.retryable}
    assert retryable == {name for name, error in CLASSES.items() if issubclass(error, errors.UpstreamError)}


def test_upstream_status_keeps_what_came() -> None:
    error = UpstreamStatus(
        "slow down", status=429, body=b"{}", headers=(("retry-after", "2"),), error_type="rate_limit"
    )
    assert (error.status, error.body, error.headers) == (429, b"{}", (("retry-after", "2"),))
    assert (error.error_type, error.error_code, error.param) == ("rate_limit", None, None)
    assert UpstreamStatus.status == 502  # the class itself is not changed


def test_config_error_names_its_field() -> None:
    error = ConfigError("must be a number", path="targets[1].retry.attempts")
    assert str(error) == "targets[1].retry.attempts: must be a number"
    assert (error.path, error.param, error.reason) == (
        "targets[1].retry.attempts",
        "targets[1].retry.attempts",
        "must be a number",
    )
    assert (str(ConfigError("no JSON")), ConfigError("no JSON").param) == ("no JSON", None)


def test_settings_and_plugin_errors_name_the_guilty() -> None:
    assert str(SettingsError("must be a port", path="port")) == "port: must be a port"
    assert str(PluginError("is no provider", plugin="acme 1.0", hook="register_providers")) == (
        "plugin acme 1.0 (register_providers): is no provider"
    )
    assert str(PluginError("can't be imported", plugin="acme")) == "plugin acme: can't be imported"
    assert Forbidden("not for you", scope="logs.read").scope == "logs.read"
