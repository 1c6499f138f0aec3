"""The battery lets the sound specimen pass, and fails on a provider that is broken in a single way."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from aiogateway.errors import UpstreamStatus
from aiogateway.neutral import NeutralRequest, Written
from aiogateway.testing import ProviderConformance
from aiogateway.types import (
    Capability,
    Endpoint,
    Headers,
    Request,
    Route,
    Target,
    UpstreamRequest,
)
from tests.unit.testing.battery import (
    check,
    every_rule,
    replace,
    with_authorize,
    with_error,
    with_prepare,
)
from tests.unit.testing.toy import CHAT, FILES, SKIPS, ToyDialect, ToyProvider, write_recordings

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(("rule", "name"), every_rule())
def test_the_sound_specimen_passes(tmp_path: Path, rule: str, name: str | None) -> None:
    check(tmp_path, rule, name)


# --- what is promised ---


@pytest.mark.parametrize(
    ("skips", "reason"),
    [
        ({name: why for name, why in SKIPS.items() if name != "images"}, r"neither listed nor skipped: \['images'\]"),
        ({**SKIPS, "tools": "no"}, r"listed and skipped at once: \['tools'\]"),
        ({**SKIPS, "telepathy": "no"}, r"no capability or rule: \['telepathy'\]"),
        ({**SKIPS, "images": " "}, r"without a reason: \['images'\]"),
    ],
)
def test_capabilities_are_never_silently_absent(tmp_path: Path, skips: Mapping[str, str], reason: str) -> None:
    with pytest.raises(AssertionError, match=reason):
        check(tmp_path, "test_each_capability_is_listed_or_skipped", skips=skips)


@pytest.mark.parametrize("capability", sorted(Capability))
def test_a_listed_capability_needs_a_recording(tmp_path: Path, capability: Capability) -> None:
    class Boaster(ToyProvider):
        capabilities = frozenset({capability})

    files = dict.fromkeys(FILES, FILES["refused"])
    with pytest.raises(AssertionError, match="no recording shows.*" + capability):
        check(tmp_path, "test_each_listed_capability_is_recorded", provider=Boaster(), files=files)


def test_an_error_needs_a_recording(tmp_path: Path) -> None:
    files = {"refused": FILES["tools"]}
    with pytest.raises(AssertionError, match="no recording holds an error status"):
        check(tmp_path, "test_some_error_is_recorded", files=files)
    check(tmp_path, "test_some_error_is_recorded", files=files, skips={**SKIPS, "errors": "never fails"})


# --- requests ---


def test_prepare_that_is_not_pure(tmp_path: Path) -> None:
    numbers = itertools.count()

    def count(upstream: UpstreamRequest, request: Request, target: Target) -> UpstreamRequest:
        return UpstreamRequest(method="POST", url=f"{upstream.url}?{next(numbers)}", headers=())

    def scribble(upstream: UpstreamRequest, request: Request, target: Target) -> UpstreamRequest:
        assert isinstance(request.body, dict)
        request.body["user"] = "x"
        return upstream

    class Fickle(ToyProvider):
        def route(self, endpoint: Endpoint, dialect: str, model: str) -> Route | None:
            return Route("toy", f"/{next(numbers)}")

        def prepare(self, request: Request, target: Target) -> UpstreamRequest:
            return UpstreamRequest(method="POST", url="x", headers=())

    rule = "test_prepare_is_pure"
    with pytest.raises(AssertionError, match="prepare gave two values"):
        check(tmp_path, rule, "stream", provider=with_prepare(count))
    with pytest.raises(AssertionError, match="prepare changed its arguments"):
        check(tmp_path, rule, "stream", provider=with_prepare(scribble))
    with pytest.raises(AssertionError, match="route gave two values"):
        check(tmp_path, rule, "stream", provider=Fickle())


def test_an_unknown_field_lost_in_silence(tmp_path: Path) -> None:
    class Silent(ToyDialect):
        def write_request(self, request: NeutralRequest) -> Written:
            return Written(super().write_request(request).body)

    def empty(upstream: UpstreamRequest, request: Request, target: Target) -> UpstreamRequest:
        return UpstreamRequest(method="POST", url=upstream.url, headers=(), body=b"{}")

    rule = "test_unknown_fields_are_kept_or_dropped_by_name"
    with pytest.raises(AssertionError, match="x_conformance was lost in silence"):
        check(tmp_path, rule, "stream", dialect=Silent())
    with pytest.raises(AssertionError, match="x_conformance was lost in silence"):
        check(tmp_path, rule, "passed", provider=with_prepare(empty))


def test_a_custom_host_that_is_not_used(tmp_path: Path) -> None:
    class Stubborn(ToyProvider):
        def base_of(self, target: Target) -> str:
            return self.base_url

    rule = "test_custom_host_is_used"
    with pytest.raises(AssertionError, match="is not below http"):
        check(tmp_path, rule, "stream", provider=Stubborn())
    check(tmp_path, rule, "stream", provider=Stubborn(), skips={**SKIPS, "custom_host": "one host only"})


def test_a_passthrough_that_changes_the_request(tmp_path: Path) -> None:
    class Getter(ToyProvider):
        def passthrough(self, method: str, raw_path: str, headers: Headers, target: Target) -> UpstreamRequest:
            return UpstreamRequest(method="POST", url=raw_path, headers=headers)

    class Queryless(ToyProvider):
        def passthrough(self, method: str, raw_path: str, headers: Headers, target: Target) -> UpstreamRequest:
            return UpstreamRequest(method=method, url=raw_path.partition("?")[0], headers=headers)

    class Teller(ToyProvider):
        def passthrough(self, method: str, raw_path: str, headers: Headers, target: Target) -> UpstreamRequest:
            assert target.credential is not None
            path = f"/{target.credential.secret.reveal()}{raw_path}"
            return UpstreamRequest(method=method, url=path, headers=headers)

    class Closed(ToyProvider):
        def passthrough(self, method: str, raw_path: str, headers: Headers, target: Target) -> None:
            return None

    rule = "test_passthrough_keeps_method_and_query"
    with pytest.raises(AssertionError, match="GET became POST"):
        check(tmp_path, rule, provider=Getter())
    with pytest.raises(AssertionError, match="lost"):
        check(tmp_path, rule, provider=Queryless())
    with pytest.raises(AssertionError, match="UpstreamRequest shows the credential"):
        check(tmp_path, rule, provider=Teller())
    check(tmp_path, rule, provider=Closed())


# --- credentials ---


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda upstream, secret: upstream, "put no credential in"),
        (lambda upstream, secret: replace(upstream, headers=(("x-key", "fixed"),)), "takes no notice"),
        (lambda upstream, secret: replace(upstream, body=secret.encode()), "authorize changed it"),
    ],
)
def test_a_credential_that_does_not_go_in(
    tmp_path: Path, change: Callable[[UpstreamRequest, str], UpstreamRequest], reason: str
) -> None:
    with pytest.raises(AssertionError, match=reason):
        check(tmp_path, "test_credential_goes_in_by_authorize_only", "stream", provider=with_authorize(change))


def test_a_provider_without_credentials_says_so(tmp_path: Path) -> None:
    free = with_authorize(lambda upstream, secret: upstream)
    skips = {**SKIPS, "credential": "answers anyone"}
    check(tmp_path, "test_credential_goes_in_by_authorize_only", "stream", provider=free, skips=skips)


@pytest.mark.parametrize("place", ["url", "headers", "body"])
def test_a_credential_that_goes_in_too_early(tmp_path: Path, place: str) -> None:
    def early(upstream: UpstreamRequest, request: Request, target: Target) -> UpstreamRequest:
        assert target.credential is not None
        secret = target.credential.secret.reveal()
        values: dict[str, Any] = {"url": f"/?key={secret}", "headers": (("x-key", secret),), "body": secret.encode()}
        changed: UpstreamRequest = replace(upstream, **{place: values[place]})
        return changed

    with pytest.raises(AssertionError, match="prepare put the credential in"):
        check(tmp_path, "test_credential_goes_in_by_authorize_only", "stream", provider=with_prepare(early))


def test_a_credential_that_shows(tmp_path: Path) -> None:
    secret = ProviderConformance.credential

    class Chatty(ToyProvider):
        def __repr__(self) -> str:
            return f"<toy with {secret}>"

    leaky = with_error(lambda error: UpstreamStatus(f"bad key {secret}", status=error.status))
    in_path = with_authorize(lambda upstream, key: replace(upstream, url=f"/{key}/chat"))
    rule = "test_credential_never_shows"
    with pytest.raises(AssertionError, match="a Chatty shows the credential"):
        check(tmp_path, rule, "stream", provider=Chatty())
    with pytest.raises(AssertionError, match="UpstreamStatus shows the credential"):
        check(tmp_path, rule, "refused", provider=leaky)
    with pytest.raises(AssertionError, match="UpstreamRequest shows the credential"):
        check(tmp_path, rule, "stream", provider=in_path)


# --- as pytest runs it ---

PLUGIN_TEST = """
from pathlib import Path
from aiogateway.testing import ProviderConformance
from tests.unit.testing.toy import SKIPS, ToyDialect, ToyProvider

class TestToy(ProviderConformance):
    provider = ToyProvider()
    dialects = (ToyDialect(),)
    recordings = Path(__file__).parent
    skips = SKIPS
"""


def run_pytest(folder: Path) -> tuple[int, str]:
    (folder / "test_toy.py").write_text(PLUGIN_TEST)
    command = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


def test_pytest_runs_each_rule_once_per_recording(tmp_path: Path) -> None:
    write_recordings(tmp_path)
    code, said = run_pytest(tmp_path)
    assert code == 0, said
    expected = len(every_rule())
    assert f"{expected} passed" in said
    assert "test_events_are_the_same_at_every_split[stream.rec] PASSED" in said


def test_pytest_names_the_recording_that_fails(tmp_path: Path) -> None:
    bad = CHAT % "" + 'text: "other"\n\n{"lines":[{"say":"h"},{"end":"stop","counts":[1,1]}]}'
    write_recordings(tmp_path, {**FILES, "bad": bad})
    code, said = run_pytest(tmp_path)
    assert code == 1
    assert "1 failed" in said
    assert "test_content_arrives[bad.rec] FAILED" in said
