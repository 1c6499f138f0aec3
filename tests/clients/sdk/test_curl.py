"""curl through the gateway: bytes, not objects."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.clients.upstream import BINARY, TEXT, Fault, Upstream


def curl(*arguments: str) -> bytes:
    command = ["curl", "--silent", "--show-error", "--no-buffer", "--noproxy", "*", "--max-time", "20", *arguments]
    return subprocess.run(command, check=True, capture_output=True, timeout=30).stdout


def ask(**more: object) -> list[str]:
    body = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], **more}
    return ["-H", "content-type: application/json", "-H", "authorization: Bearer sk-caller", "-d", json.dumps(body)]


@pytest.fixture
def target(upstream: Upstream) -> list[str]:
    return ["-H", "x-portkey-provider: openai", "-H", f"x-portkey-custom-host: {upstream.url}"]


@pytest.mark.parametrize("include_usage", [True, False])
def test_a_stream_has_the_providers_own_bytes(
    bare_gateway: str, upstream: Upstream, target: list[str], include_usage: bool
) -> None:
    asked = ask(stream=True, stream_options={"include_usage": True})
    direct = curl(f"{upstream.url}/chat/completions", *asked)

    through = curl(f"{bare_gateway}/chat/completions", *target, *(asked if include_usage else ask(stream=True)))

    if include_usage:
        assert through == direct
    else:
        without_usage = [event for event in direct.split(b"\n\n") if b'"choices": []' not in event]
        assert through == b"\n\n".join(without_usage)


def test_an_answer_has_the_providers_own_bytes(bare_gateway: str, upstream: Upstream, target: list[str]) -> None:
    direct = curl(f"{upstream.url}/chat/completions", *ask())

    assert curl(f"{bare_gateway}/chat/completions", *target, *ask()) == direct


def test_a_broken_stream_ends_with_an_error_event_and_no_done(
    bare_gateway: str, upstream: Upstream, target: list[str]
) -> None:
    upstream.fault = Fault.CUT

    output = curl("--include", f"{bare_gateway}/chat/completions", *target, *ask(stream=True)).decode()

    head, _, body = output.partition("\r\n\r\n")
    assert "200" in head.splitlines()[0]
    events = body.strip().split("\n\n")
    error = json.loads(events[-1].removeprefix("data: "))["error"]
    assert {"message", "type", "param", "code"} <= error.keys()
    assert "[DONE]" not in body
    assert '"finish_reason": "stop"' not in body


def test_a_stream_is_never_cached_or_buffered_on_its_way(bare_gateway: str, target: list[str]) -> None:
    head = curl("--include", f"{bare_gateway}/chat/completions", *target, *ask(stream=True)).partition(b"\r\n\r\n")[0]

    lines = head.decode().lower().splitlines()
    assert "cache-control: no-cache" in lines
    assert "x-accel-buffering: no" in lines
    assert [line for line in lines if line.startswith("content-type: text/event-stream")]
    assert [line for line in lines if line.startswith("x-portkey-trace-id: ")]
    assert not [line for line in lines if line.startswith("content-encoding:")]


def test_files_go_both_ways_untouched(bare_gateway: str, upstream: Upstream, target: list[str], tmp_path: Path) -> None:
    content = BINARY * 40
    (tmp_path / "notes.bin").write_bytes(content)

    upload = curl(f"{bare_gateway}/files", *target, "-F", "purpose=batch", "-F", f"file=@{tmp_path / 'notes.bin'}")

    assert json.loads(upload)["id"] == "file-1"
    assert content in upstream.last.body
    assert curl(f"{bare_gateway}/files/file-1/content", *target) == BINARY


def test_the_mock_provider_answers_without_any_key(bare_gateway: str) -> None:
    answer = json.loads(curl(f"{bare_gateway}/chat/completions", "-H", 'x-portkey-config: {"provider":"mock"}', *ask()))

    assert answer["choices"][0]["message"]["content"]


def test_settings_name_the_target(default_gateway: str, upstream: Upstream) -> None:
    answer = json.loads(curl(f"{default_gateway}/chat/completions", *ask()))

    assert answer["choices"][0]["message"]["content"] == TEXT
    assert upstream.last.headers["authorization"] == "Bearer sk-ours"


def test_a_web_page_cannot_spend_money(bare_gateway: str, upstream: Upstream, target: list[str]) -> None:
    status = ["--output", "/dev/null", "--write-out", "%{http_code}"]
    url = f"{bare_gateway}/chat/completions"

    assert curl(*status, url, *target, *ask(), "-H", "origin: https://evil.example") == b"403"
    assert curl(*status, url, *target, *ask(), "-H", "host: evil.example") == b"400"
    assert upstream.seen == []
