"""The README's examples run, here or in tests/clients."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.gateway import serving
from tests.clients.replay import Replay
from tests.clients.upstream import TEXT, Upstream
from tests.readme import ADDRESS, ROOT, RUNNERS, Block, read_block, read_blocks, read_text
from tests.unit.dialects.test_responses_request import CODEX

COMMAND = ".venv/bin/aiogateway"
PATIENCE = 25


def clean_environment(home: Path, **more: str) -> dict[str, str]:
    """This process's environment, less what steers a gateway, curl or make."""
    steering = (
        "AIOGATEWAY_",
        "ANTHROPIC_",
        "OPENAI_",
        "MAKE",
        "MFLAGS",
        "HTTP_PROXY",
        "HTTPS_PROXY",
        "ALL_PROXY",
        "NO_PROXY",
    )
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith(steering)}
    return {**kept, "HOME": str(home), **more}


def run_shell(text: str, folder: Path, **environ: str) -> str:
    """Standard output of a shell block. Fails if any of its commands does."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text.replace(COMMAND, f"{shlex.quote(sys.executable)} -m aiogateway")],
        cwd=folder,
        env=clean_environment(folder, **environ),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def read_stream(body: str) -> tuple[str, list[str]]:
    """The text of a stream of chat chunks, and the events that hold none."""
    events = [event.removeprefix("data: ") for event in body.split("\n\n") if event]
    chunks = [json.loads(event) for event in events if '"delta"' in event]
    text = "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])
    return text, [event for event in events if '"delta"' not in event]


def named(runner: str) -> pytest.MarkDecorator:
    """One test for each block of `runner`."""
    return pytest.mark.parametrize("block", read_blocks(runner), ids=lambda block: block.name)


@pytest.fixture(scope="module")
def running_upstream() -> Iterator[Upstream]:
    upstream = Upstream()
    upstream.start()
    yield upstream
    upstream.stop()


@pytest.fixture
def upstream(running_upstream: Upstream) -> Upstream:
    running_upstream.reset()
    return running_upstream


@pytest.fixture(scope="module")
def replay() -> Iterator[Replay]:
    """What is Anthropic for the examples."""
    replay = Replay()
    replay.start()
    yield replay
    replay.stop()


@pytest.fixture(scope="module")
def address(running_upstream: Upstream, replay: Replay, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a gateway for which OpenAI is the scripted upstream, so that examples run as they are."""
    folder = tmp_path_factory.mktemp("readme")
    file = folder / "settings.json"
    providers = {"openai": {"base_url": running_upstream.url}, "anthropic": {"base_url": replay.url}}
    file.write_text(json.dumps({"providers": providers}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIOGATEWAY_PYTHON", sys.executable)
        with serving(folder, "--config", str(file)) as url:
            yield url.removeprefix("http://")


# -- every block has its test


def test_every_block_has_a_name_and_somebody_who_runs_it() -> None:
    blocks = read_blocks()
    names = [block.name for block in blocks]
    assert len(names) == len(set(names))
    assert {block.runner for block in blocks} == set(RUNNERS)
    for block in blocks:
        source = (ROOT / RUNNERS[block.runner]).read_text()
        calls = (f'named("{block.runner}")', f'read_blocks("{block.runner}")', f'read_block("{block.name}")')
        assert any(call in source for call in calls), block.name


# -- shell


@named("make")
def test_make(block: Block, tmp_path: Path) -> None:
    for line in block.text.splitlines():
        run_shell(f"make --dry-run --directory {shlex.quote(str(ROOT))} {line.removeprefix('make ')}", tmp_path)


def check_mock(output: str, upstream: Upstream) -> None:
    assert read_stream(output) == ("You said: Ahoy", ["[DONE]"])
    assert upstream.seen == []


def check_mock_cut(output: str, upstream: Upstream) -> None:
    text, (error,) = read_stream(output)
    assert text == "You said:"
    assert json.loads(error)["error"]["code"] == "stream_truncated"


def check_openai(output: str, upstream: Upstream) -> None:
    assert read_stream(output) == (TEXT, ["[DONE]"])
    assert upstream.last.headers["authorization"] == "Bearer sk-caller"


def check_fallback(output: str, upstream: Upstream) -> None:
    explained = r"config\.targets\[0\] tried: 503 after \S+ ms; config\.targets\[1\] tried: 200 after \S+ ms"
    assert re.search(rf"^x-aiogateway-explain: {explained}\r?$", output, re.MULTILINE)
    assert re.search(r"^x-portkey-last-used-option-index: config\.targets\[1\]\r?$", output, re.MULTILINE)
    told = re.search(rf"`({explained})`", " ".join(read_text().split()))
    assert told
    check_answer(output.splitlines()[-1], upstream)


def check_recovery(output: str, upstream: Upstream) -> None:
    text, (comment, done) = read_stream(output)
    assert (text, done) == ("You said: Ahoy", "[DONE]")
    assert f"`{comment}`" in " ".join(read_text().split())
    chunks = [json.loads(line.removeprefix("data: ")) for line in output.splitlines() if '"delta"' in line]
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert [chunk["choices"][0]["finish_reason"] for chunk in chunks][-2:] == [None, "stop"]


def check_mistakes(output: str, upstream: Upstream) -> None:
    assert json.loads(output) == json.loads(read_block("answer-mistakes").text)


def check_strict(output: str, upstream: Upstream) -> None:
    assert json.loads(output) == json.loads(read_block("answer-strict").text)


def check_answer(output: str, upstream: Upstream) -> None:
    (choice,) = json.loads(output)["choices"]
    assert choice["message"]["content"] == "You said: Ahoy"


CURL: dict[str, Callable[[str, Upstream], None]] = {
    "curl-mock": check_mock,
    "curl-mock-cut": check_mock_cut,
    "curl-openai": check_openai,
    "curl-fallback": check_fallback,
    "curl-recovery": check_recovery,
    "curl-mistakes": check_mistakes,
    "curl-strict": check_strict,
    "curl-old": check_answer,
}


@named("curl")
def test_curl(block: Block, address: str, upstream: Upstream, tmp_path: Path) -> None:
    assert ADDRESS in block.text
    output = run_shell(block.at(address), tmp_path, OPENAI_API_KEY="sk-caller")
    CURL[block.name](output, upstream)


def test_shell_look(tmp_path: Path) -> None:
    output = run_shell(read_block("shell-look").text, tmp_path)
    assert re.search(r"\d+ tokens, the first after \d+ ms", output)
    assert re.search(r"aiogateway\.providers\.mock +aiogateway \S+ +register_providers", output)


def test_shell_claude(address: str, replay: Replay, tmp_path: Path) -> None:
    """Claude Code's variables lead its request, in the shape that its documentation gives, to Anthropic as it is."""
    (tmp_path / "claude").write_text("#!/bin/sh\nenv -0\n")
    (tmp_path / "claude").chmod(0o755)
    told = run_shell(read_block("shell-claude").at(address), tmp_path, PATH=f"{tmp_path}:{os.environ['PATH']}")
    variables = dict(line.split("=", 1) for line in told.split("\0") if line)
    name, value = variables["ANTHROPIC_CUSTOM_HEADERS"].split(": ")
    body = replay.play("anthropic", "messages_stream")
    url = f"{variables['ANTHROPIC_BASE_URL']}/v1/messages?beta=true"
    headers = {name: value, "authorization": "Bearer sk-ant-oat01-x", "anthropic-beta": "a-1,b-2"}
    assert send(url, body, {**headers, "anthropic-version": "2023-06-01"}) == replay.tape.body
    (seen,) = replay.seen
    assert (seen.path, seen.body) == ("/v1/messages?beta=true", body)
    assert {**seen.headers, **headers} | {name: ""} == {**seen.headers, name: ""}
    assert name not in seen.headers


def test_settings_codex(address: str, upstream: Upstream) -> None:
    """Codex's provider table leads its request to OpenAI as it is."""
    config = tomllib.loads(read_block("settings-codex").at(address))
    provider = config["model_providers"][config["model_provider"]]
    headers = {**provider["http_headers"], "authorization": f"Bearer sk-of-{provider['env_key']}"}
    body = {**CODEX, "model": config["model"]}
    answer = send(f"{provider['base_url']}/{provider['wire_api']}", body, headers)
    assert b"event: response.completed" in answer
    assert upstream.last.json == body
    assert upstream.last.headers["authorization"] == "Bearer sk-of-OPENAI_API_KEY"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_shell_serve(upstream: Upstream, tmp_path: Path) -> None:
    """With the settings file as it stands in the README: a call without headers, and its line in the log."""
    settings, port = read_block("settings-file").text, free_port()
    (tmp_path / settings.split()[1]).write_text(settings)
    command = read_block("shell-serve").text.replace("8787", str(port)).removeprefix(COMMAND)
    process = subprocess.Popen(
        [sys.executable, "-m", "aiogateway", *shlex.split(command)],
        cwd=tmp_path,
        env=clean_environment(tmp_path, OPENAI_API_KEY="sk-ours", AIOGATEWAY_PROVIDERS__OPENAI__BASE_URL=upstream.url),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    with process:
        try:
            assert f"listening on http://127.0.0.1:{port}" in process.stderr.readline()
            answer = post(f"http://127.0.0.1:{port}/v1/chat/completions", {"model": "any", "messages": []})
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
    assert answer["choices"][0]["message"]["content"] == TEXT
    assert upstream.last.headers["authorization"] == "Bearer sk-ours"
    assert upstream.last.json["model"] == "gpt-4o-mini"
    (line,) = (tmp_path / "calls.jsonl").read_text().splitlines()
    assert json.loads(line)["outcome"] == "ok"
    assert "sk-ours" not in line


# -- configs


def send(url: str, body: dict[str, Any], headers: dict[str, str]) -> bytes:
    """The body of the answer, whatever its status."""
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json", **headers})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=PATIENCE) as answer:
            read: bytes = answer.read()
    except urllib.error.HTTPError as error:
        read = error.read()
    return read


def post(url: str, body: dict[str, Any], **headers: str) -> Any:
    return json.loads(send(url, body, {name.replace("_", "-"): value for name, value in headers.items()}))


def move(config: dict[str, Any], url: str) -> dict[str, Any]:
    """The config with `url` for every host."""
    moved = {**config, "custom_host": url} if "custom_host" in config else config
    targets = [move(target, url) for target in config.get("targets", ())]
    return {**moved, "targets": targets} if targets else moved


def ask(address: str, config: dict[str, Any], body: dict[str, Any], **headers: str) -> None:
    url = f"http://{address}/v1/chat/completions"
    answer = post(url, {"messages": [], **body}, x_portkey_config=json.dumps(config), **headers)
    assert answer["choices"][0]["message"]["content"] == TEXT


def test_config_target(address: str, upstream: Upstream) -> None:
    config = move(json.loads(read_block("config-target").text), upstream.url)
    ask(address, config, {"model": "mine", "temperature": 1}, x_team="red", x_other="blue")
    seen = upstream.last
    assert (seen.headers["authorization"], seen.headers["x-team"]) == ("Bearer sk-yours", "red")
    assert "x-other" not in seen.headers
    assert (seen.json["model"], seen.json["temperature"]) == ("gpt-4o-mini", 0)


@pytest.mark.parametrize(
    ("body", "headers", "model"),
    [
        ({"model": "m", "max_tokens": 2000}, {"x_portkey_metadata": '{"plan": "paid"}'}, "gpt-4o"),
        ({"model": "m", "max_tokens": 1000}, {"x_portkey_metadata": '{"plan": "paid"}'}, "gpt-4o-mini"),
        ({"model": "gpt-4-turbo"}, {}, "gpt-4o"),
        ({"model": "m"}, {"x_team": "blue"}, "gpt-4o"),
        ({"model": "m"}, {"x_team": "green"}, "gpt-4o-mini"),
    ],
)
def test_config_conditional(
    body: dict[str, Any], headers: dict[str, str], model: str, address: str, upstream: Upstream
) -> None:
    ask(address, json.loads(read_block("config-conditional").text), body, **headers)
    assert upstream.last.json["model"] == model


def test_config_virtual_key(address: str) -> None:
    config = json.loads(read_block("config-virtual-key").text)
    answer = post(f"http://{address}/v1/chat/completions", {"messages": []}, x_portkey_config=json.dumps(config))
    (mistake,) = answer["errors"]
    assert mistake.rpartition("message: ")[2] in " ".join(read_text().split())


def test_check_accepts_a_virtual_key(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(read_block("config-virtual-key").text)
    warning, verdict = run_shell(read_block("check-command").text, tmp_path).splitlines()[:2]
    assert warning.startswith("warning: virtual_key: 'AZURE_OPENAI_PORTKEY_VIRTUAL_KEY' can't be used")
    assert verdict == "ok: 1 target"


def test_check(tmp_path: Path) -> None:
    """The output is as in the README, where ``…`` stands for any lines."""
    (tmp_path / "config.json").write_text(read_block("check-config").text)
    output = run_shell(read_block("check-command").text, tmp_path)
    pieces = [re.escape(piece) for piece in re.split(r"^ *…\n", read_block("check-output").text, flags=re.MULTILINE)]
    assert len(pieces) > 1
    assert re.fullmatch(r"(?:.*\n)*".join(pieces), output), output
