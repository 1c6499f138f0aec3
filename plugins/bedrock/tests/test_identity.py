from __future__ import annotations

from typing import Any

import pytest
from aiogateway_plugin_bedrock.identity import OPTIONS, Identity, Keys, Ours, Role, find_identity, read_ours

from aiogateway.errors import RequestError
from aiogateway.types import Credential, Origin, Secret, Target

THEIRS = {"aws_access_key_id": "AKIDTHEIRS", "aws_secret_access_key": Secret("theirs")}
SETTINGS = {"aws_access_key_id": "AKIDOURS", "aws_secret_access_key": "ours", "aws_session_token": " tok "}
OURS = {
    "aws_access_key_id": "AKIDOURS",
    "aws_secret_access_key": Secret("ours"),
    "aws_session_token": Secret("tok"),
}
CHAIN = read_ours({"aws_default_chain": True})
DUMMY = Credential(Secret("dummy"), Origin.REQUEST, "authorization")
API_KEY = Credential(Secret("ABSKQmVk"), Origin.REQUEST, "authorization")
THEIR_KEYS = Keys("AKIDTHEIRS", Secret("theirs"))


def find(
    options: dict[str, Any] | None = None,
    *,
    credential: Credential | None = None,
    guarded: bool = False,
    ours: Ours = Ours(),  # noqa: B008  frozen
) -> Identity:
    target = Target(path="config", provider="bedrock", credential=credential, options=options or {}, guarded=guarded)
    return find_identity(target, ours)


def refused(*args: Any, **kwargs: Any) -> RequestError:
    with pytest.raises(RequestError) as caught:
        find(*args, **kwargs)
    return caught.value


def test_options_are_portkeys_and_secrets_are_secret() -> None:
    assert {name for name, option in OPTIONS.items() if option.secret} == {"aws_secret_access_key", "aws_session_token"}
    assert OPTIONS["aws_region"].host


def test_keys_of_the_target() -> None:
    assert find(THEIRS) == Identity(region="us-east-1", keys=THEIR_KEYS)
    temporary = {**THEIRS, "aws_session_token": Secret("t"), "aws_region": "eu-west-1"}
    assert find(temporary, credential=DUMMY) == Identity(
        region="eu-west-1", keys=Keys("AKIDTHEIRS", Secret("theirs"), Secret("t"))
    )
    for missing in THEIRS:
        assert refused({name: value for name, value in THEIRS.items() if name != missing}).param == missing


def test_an_api_key() -> None:
    bearer = Identity(region="us-east-1", bearer=True)
    assert find(credential=API_KEY) == bearer
    assert find(credential=DUMMY) == bearer
    assert find({**THEIRS, "aws_auth_type": "apiKey"}, credential=DUMMY) == bearer
    assert refused({"aws_auth_type": "apiKey"}).param == "api_key"
    assert refused({"aws_auth_type": "magic"}, credential=DUMMY).param == "aws_auth_type"


def test_nothing_at_all_is_refused() -> None:
    error = refused()
    assert "aws_access_key_id and aws_secret_access_key" in error.message
    assert "providers.bedrock.options.aws_default_chain" in error.message


# ---------------------------------------------------------------- the machine's own


def test_a_request_can_not_ask_for_the_machines_credentials() -> None:
    assert refused({"aws_default_chain": True}).param == "aws_access_key_id"
    assert refused({"aws_auth_type": "apiKey", "aws_default_chain": True}).param == "api_key"


def test_the_settings_can() -> None:
    machine = Identity(region="us-east-1", machine=True)
    allowed = {"aws_default_chain": True}
    assert find(allowed, ours=CHAIN) == machine
    assert find(allowed, credential=DUMMY, ours=CHAIN) == machine
    assert find({**allowed, **THEIRS}, ours=CHAIN) == Identity(region="us-east-1", keys=THEIR_KEYS)
    assert find({**allowed, "aws_auth_type": "apiKey"}, ours=CHAIN) == Identity(
        region="us-east-1", machine=True, bearer=True
    )


def test_an_api_key_that_looks_like_one_is_meant() -> None:
    assert find(credential=API_KEY, ours=CHAIN) == Identity(region="us-east-1", bearer=True)
    saved = Credential(Secret("anything"), Origin.OURS, "providers.bedrock.api_key")
    assert find(credential=saved, ours=CHAIN) == Identity(region="us-east-1", bearer=True)


def test_a_request_can_leave_them_alone() -> None:
    assert find({"aws_default_chain": False}, credential=DUMMY, ours=CHAIN).bearer
    assert refused({"aws_default_chain": False}, ours=CHAIN).param == "aws_access_key_id"


@pytest.mark.parametrize("options", [{}, {"aws_auth_type": "apiKey"}, {"aws_role_arn": "arn:r"}])
def test_they_never_go_to_a_host_from_the_request(options: dict[str, Any]) -> None:
    assert "never go to a host or a region from the request" in refused(options, guarded=True, ours=CHAIN).message


# ---------------------------------------------------------------- roles


def test_a_role_of_the_callers_with_the_callers_keys() -> None:
    identity = find({**THEIRS, "aws_role_arn": "arn:r", "aws_external_id": "x", "aws_auth_type": "assumedRole"})
    assert identity == Identity(region="us-east-1", keys=THEIR_KEYS, role=Role("arn:r", "x"))
    assert refused({**THEIRS, "aws_auth_type": "assumedRole"}).param == "aws_role_arn"


@pytest.mark.parametrize(
    ("options", "ours"),
    [(OURS, read_ours(SETTINGS)), ({}, CHAIN), (OURS, read_ours({**SETTINGS, "aws_role_arn": "arn:ours"}))],
    ids=["keys", "machine", "another role"],
)
def test_our_keys_assume_no_role_that_a_request_names(options: dict[str, Any], ours: Ours) -> None:
    error = refused({**options, "aws_role_arn": "arn:theirs"}, ours=ours)
    assert error.param == "aws_role_arn"
    assert "assume no role that a request names" in error.message


def test_the_default_config_is_ours_too() -> None:
    """A caller's headers lie over its targets, whose keys are the operator's."""
    targets = [{"provider": "bedrock", **SETTINGS}, {"provider": "openai"}]
    ours = read_ours({}, {"strategy": {"mode": "fallback"}, "targets": targets})
    assert not ours.machine
    assert refused({**OURS, "aws_role_arn": "arn:theirs"}, ours=ours).param == "aws_role_arn"
    with_role = read_ours({}, {"targets": [{**targets[0], "aws_role_arn": "arn:ours"}]})
    assert find({**OURS, "aws_role_arn": "arn:ours"}, ours=with_role).role == Role("arn:ours")
    assert read_ours({}, {"aws_default_chain": True}) == Ours()


def test_our_keys_assume_the_settings_role() -> None:
    ours = read_ours({**SETTINGS, "aws_role_arn": "arn:ours"})
    identity = find({**OURS, "aws_role_arn": "arn:ours"}, ours=ours)
    assert (identity.role, identity.keys) == (Role("arn:ours"), Keys("AKIDOURS", Secret("ours"), Secret("tok")))
    machine = find(
        {"aws_role_arn": "arn:ours"}, ours=read_ours({"aws_default_chain": True, "aws_role_arn": "arn:ours"})
    )
    assert (machine.machine, machine.role) == (True, Role("arn:ours"))


def test_what_belongs_to_the_settings_keys_does_not_go_with_others() -> None:
    """Options of the settings lie under a request's, so a caller's keys come with our token and our role."""
    ours = read_ours({**SETTINGS, "aws_role_arn": "arn:ours"})
    mixed = {**OURS, **THEIRS, "aws_role_arn": "arn:ours"}
    assert find(mixed, ours=ours) == Identity(region="us-east-1", keys=THEIR_KEYS)


def test_nothing_shows_a_secret() -> None:
    identity = find({**THEIRS, "aws_session_token": Secret("tok-5ecret")})
    assert "theirs" not in repr(identity)
    assert "5ecret" not in repr(identity)
    assert "AKIDOURS" not in repr(read_ours(SETTINGS))
