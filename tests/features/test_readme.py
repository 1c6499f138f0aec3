"""The README: its examples run, here or in tests/clients, and its tables say what the code does."""

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
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import aiogateway
from aiogateway import errors
from aiogateway.config.model import FIELD_TABLE, FIELDS, Mode
from aiogateway.config.operators import OPERATORS
from aiogateway.config.parse import parse_config
from aiogateway.engine.replies import own_headers, write_error
from aiogateway.settings import Settings, describe_settings
from aiogateway.types import Attempt, Call, CircuitRules, Deadlines, Origin, Recovery, Retry, Trace
from tests.clients.gateway import serving
from tests.clients.upstream import TEXT, Upstream
from tests.docs import generate_sections
from tests.readme import ADDRESS, ROOT, RUNNERS, Block, read_block, read_blocks, read_sections, read_text

COMMAND = ".venv/bin/aiogateway"
PATIENCE = 25


def clean_environment(home: Path, **more: str) -> dict[str, str]:
    """This process's environment, less what steers a gateway, curl or make."""
    steering = ("AIOGATEWAY_", "OPENAI_", "MAKE", "MFLAGS", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
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


def read_table(*head: str) -> list[list[str]]:
    """The cells of the table with this head."""
    _, found, rest = read_text().partition(f"| {' | '.join(head)} |\n")
    assert found, head
    rows = rest.partition("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in row.strip().strip("|").split("|")] for row in rows]


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
def address(running_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of a gateway for which OpenAI is the scripted upstream, so that examples run as they are."""
    folder = tmp_path_factory.mktemp("readme")
    file = folder / "settings.json"
    file.write_text(json.dumps({"providers": {"openai": {"base_url": running_upstream.url}}}))
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


def post(url: str, body: dict[str, Any], **headers: str) -> Any:
    request = urllib.request.Request(
        url,
        json.dumps(body).encode(),
        {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}},
    )
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=PATIENCE) as answer:
        return json.load(answer)


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


def test_check_accepts_a_virtual_key(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(read_block("seed-azure").text)
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


# -- what is said is what is so


def test_the_generated_tables_are_what_the_code_says() -> None:
    """If not: `make docs`."""
    assert read_sections(read_text()) == generate_sections()


def test_every_config_field_is_explained() -> None:
    told = [name for row in read_table("field", "meaning") for name in re.findall(r"`([a-z_]+)`", row[0])]
    assert sorted(told) == sorted(FIELDS)
    assert all(field.meaning for field in FIELD_TABLE)


def list_known(name: str, path: str) -> list[str]:
    """The fields that the parser knows of the object at `path`: it lists them when it meets another."""
    wrong: dict[str, Any] = {"zzzzzzzzzz": 1}
    for key in reversed(path.split(".")):
        wrong = {key: wrong}
    with pytest.raises(errors.ConfigError) as caught:
        parse_config(json.dumps(wrong), origin=Origin.REQUEST, source="config", options={})
    (known,) = re.findall(
        rf"{re.escape(path)}\.zzzzzzzzzz: is not a field of {name} \(there are: (.*?)\)", str(caught.value)
    )
    return [f"{path}.{field}" for field in known.split(", ")]


def test_every_part_of_a_config_is_explained() -> None:
    told = [name.strip("`") for name, _, _ in read_table("part", "default", "meaning")]
    objects = ("strategy", "strategy.cb_config", "retry", "timeouts", "stream_recovery", "cache")
    known = [field for path in objects for field in list_known(path.rpartition(".")[2], path)]
    assert len(told) == len(set(told))
    assert set(told) == set(known)


def test_the_defaults_of_a_config_are_what_is_said() -> None:
    told = {name.strip("`"): default for name, default, _ in read_table("part", "default", "meaning")}
    retry, circuit, deadlines = Retry(), CircuitRules(), Deadlines()
    timeouts = {f"timeouts.{name}": getattr(deadlines, name) for name in Deadlines.__struct_fields__ if name != "unary"}
    assert {name: told[name] for name in timeouts} == {name: f"`{1000 * s:.0f}`" for name, s in timeouts.items()}
    assert f"(else `{1000 * deadlines.unary:.0f}`)" in read_text()
    assert re.findall(r"\d+", told["retry.on_status_codes"]) == list(map(str, retry.on_status_codes))
    assert told["retry.use_retry_after_header"] == f"`{str(retry.use_retry_after).lower()}`"
    assert told["retry.policy"] == f"`{retry.policy}`"
    assert told["stream_recovery.attempts"] == f"`{Recovery().attempts}`"
    assert told["strategy.cb_config.failure_threshold"] == f"`{circuit.failures}`"
    assert told["strategy.cb_config.minimum_requests"] == f"`{circuit.minimum_requests}`"
    assert told["strategy.cb_config.cooldown_interval"] == f"`{1000 * circuit.cooldown:.0f}`"
    assert f"`max_attempts` ({Settings().max_attempts})" in read_text()


def test_every_strategy_and_every_operator_is_explained() -> None:
    assert [name.strip("`") for name, _ in read_table("`strategy.mode`", "who is asked")] == list(Mode)
    told = {name for row in read_table("operator", "matches") for name in re.findall(r"`(\$[a-z]+)`", row[0])}
    assert told == {*OPERATORS, "$and", "$or"}


def test_every_answer_header_is_explained() -> None:
    call = Call(id="c", trace=Trace(id="t"), received=0, clock=0, method="POST", route="/", dropped_params=("user",))
    call.explain = True
    call.attempts += [
        Attempt(target=f"config{one}", provider="mock", model="m", start=0) for one in ("", ".targets[1]")
    ]
    sent = {name.decode(): value.decode() for name, value in own_headers(call)}
    refused = {name.decode(): value.decode() for name, value in write_error(call, errors.UpstreamError("x"), None)[1]}
    told = {name.strip("`"): text for name, text in read_table("header", "value")}
    assert told.keys() == (sent.keys() | refused.keys()) - {"content-type"}
    for name in ("x-portkey-retry-attempt-count", "x-portkey-cache-status", "x-portkey-last-used-option-index"):
        assert f"`{sent[name]}`" in told[name]
    assert f"`{refused['x-should-retry']}`" in told["x-should-retry"]


def test_the_variable_of_a_setting_is_what_the_rule_says() -> None:
    odd = {row.name: row.env for row in describe_settings() if row.env != rule(row.name)}
    assert odd == {"plugins.load": "AIOGATEWAY_PLUGINS"}


def rule(name: str) -> str:
    return f"AIOGATEWAY_{name.upper().replace('.', '__')}"


def list_errors(kind: type[errors.GatewayError] = errors.GatewayError) -> dict[str, int]:
    """Status by code, of the whole tree."""
    found = {kind.code: kind.status} if kind.__module__ == errors.__name__ else {}
    for child in kind.__subclasses__():
        found |= {code: status for code, status in list_errors(child).items() if code not in found}
    return found


def test_every_error_a_caller_can_get_is_explained_with_its_status() -> None:
    known = list_errors()
    told: set[str] = set()
    for _, _, before, after in read_table("what breaks", "what is tried", "before the first token", "after it"):
        for part in f"{before};{after}".split(";"):
            codes = re.findall(r"`([a-z_]+)`", part)
            status = re.match(r"\s*(\d{3}) `", part)
            assert not status or {known[code] for code in codes} == {int(status[1])}, part
            told.update(codes)
    # only a parent; the provider's own error; what stops a start; what only the record says of a recovery
    assert told == known.keys() - {"access_denied", "upstream_status", "invalid_settings", "answer_differs"}


def test_the_tree_is_the_tree() -> None:
    text = read_block("tree").text
    top = re.findall(r"^(\S+)", text, re.MULTILINE)
    assert top == [name for name in top if (ROOT / name).is_dir() and name.endswith("/")]
    inside = re.findall(r"^  (\S+) ", text, re.MULTILINE)
    there = [path for path in Path(aiogateway.__file__).parent.iterdir() if path.name[0] != "_"]
    modules = {path.name for path in there if path.suffix == ".py"} | {
        f"{path.name}/" for path in there if path.is_dir()
    }
    assert set(inside) == modules
    floors = [floor_of(name) for name in inside]
    assert floors == sorted(floors)


def floor_of(name: str) -> int:
    """How far from the top the linter's contract has a module."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = [contract["layers"] for contract in contracts if contract["id"] == "floors"]
    (floor,) = [place for place, layer in enumerate(layers) if f"({name.removesuffix('.py').rstrip('/')})" in layer]
    return int(floor)


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", read_text())
    assert links
    titles = {title.lower().replace(" ", "-") for title in re.findall(r"^#+ (.*)$", read_text(), re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]+)\)", read_text())) <= titles
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []
