"""The first steps of a user with nothing but the built wheel, from an empty folder."""

import os
import re
import socket
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from tests.deploy.tools import ROOT
from tests.gate.conftest import FEW_PLUGINS
from tests.loadtests.test_apis import LLAMA_CPP, VLLM

USER = """\
from locust import constant, task
from ztoapi.load.client import StreamingUser


class Poet(StreamingUser):
    wait_time = constant(0.2)
    label = "poem"

    def on_start(self):
        messages = [{"role": "user", "content": "A haiku about sockets."}]
        self.question = self.upstream.question(messages, tokens=20)

    @task
    def write(self):
        self.ask(self.question)
"""


class StandIn(BaseHTTPRequestHandler):
    """Streams the lines of vLLM, or those of llama.cpp under another path, to any request."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        lines = {"/v1/chat/completions": VLLM, "/llama/chat/completions": LLAMA_CPP}.get(self.path, [])
        body = b"".join(line + b"\n\n" for line in lines)
        self.send_response(200 if lines else 404)
        self.send_header("content-type", "text/event-stream")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keeps the test's output free of requests."""


@pytest.fixture(scope="module")
def stand_in() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-B", "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def environment_of(installed: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PYTEST_ADDOPTS": FEW_PLUGINS,
        "PYTHONPATH": str(installed),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def run(installed: Path, folder: Path, *command: str | Path, merged: bool = False) -> str:
    """Returns the output of a command, which must succeed; ``merged`` with that on standard error."""
    result = subprocess.run(
        [sys.executable, *command],
        cwd=folder,
        env=environment_of(installed),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout + result.stderr if merged else result.stdout


def test_a_gateway_runs_and_names_the_missing_key(installed: Path, tmp_path: Path) -> None:
    """Installed, first result, and the first failure understood."""
    command = [sys.executable, "-u", "-m", "ztoapi"]
    demo = subprocess.Popen(
        [*command, "demo", "--port", "0"],
        cwd=tmp_path,
        env=environment_of(installed),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert demo.stdout is not None
    try:
        lines = iter(demo.stdout.readline, "")
        url = next(found[1] for line in lines if (found := re.search(r"(http://127\.0\.0\.1:\d+)/v1/chat", line)))
        body = {"model": "glm-5.3", "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
        response = httpx.post(f"{url}/v1/chat/completions", json=body, timeout=30)
        assert response.text.endswith("data: [DONE]\n\n")
    finally:
        demo.terminate()
        demo.communicate()
    refused = subprocess.run(
        [*command, "serve", "--host", "0.0.0.0"],
        cwd=tmp_path,
        env=environment_of(installed),
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert "DEFAULT_KEY" in refused.stderr


def test_an_installation_from_an_index_has_its_commands(installed: Path, tmp_path: Path) -> None:
    """Its dependencies are those of this environment; ``tox -e package`` installs what the wheel declares."""
    pytest.importorskip("pip", reason="pip is not installed")
    build = [sys.executable, "-B", "-m", "hatchling", "build", "-t", "wheel", "-d", str(installed.parent)]
    subprocess.run(build, cwd=ROOT / "bench/gate", capture_output=True, check=True)
    environment = tmp_path / "environment"
    venv.create(environment)
    python = environment / "bin/python"
    index = ["--no-index", "--no-deps", "--find-links", str(installed.parent)]
    pip = [sys.executable, "-m", "pip", "--quiet", "--python", str(python), "install", *index, "ztoapi", "bench-gate"]
    subprocess.run(pip, check=True)
    (dependencies,) = {path for path in sys.path if (Path(path) / "msgspec").exists()}
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(dependencies)
    folder = tmp_path / "folder"
    folder.mkdir()

    def command(*words: str) -> str:
        program = [str(environment / "bin" / words[0]), *words[1:]]
        return subprocess.run(program, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout

    assert "Next: copy ztoapi.example.toml to ztoapi.toml" in command("ztoapi", "init")
    (folder / "ztoapi.toml").write_bytes((folder / "ztoapi.example.toml").read_bytes())
    assert "the configuration is valid" in command("ztoapi", "check")
    assert command("ztoapi", "load", "--path").startswith(str(packages))
    assert "usage: bench-gate" in command("bench-gate", "--help")


def test_the_scenarios_import_nothing_of_the_repository(installed: Path) -> None:
    files = sorted((installed / "ztoapi" / "load").iterdir())
    assert {path.name for path in files} >= {"steady.py", "users.py", "thresholds.toml", "chat.lua"}
    assert [path.name for path in files if "from loadtests" in path.read_text("utf-8")] == []


@pytest.mark.load
@pytest.mark.parametrize("base", ["", "/v1", "/llama"], ids=["vllm", "vllm-v1", "llama.cpp"])
def test_any_server_with_the_api_is_a_target(installed: Path, tmp_path: Path, stand_in: str, base: str) -> None:
    arguments = ["--url", stand_in + base, "-u", "5", "-t", "2s", "--report", "report.html", "--", "--csv", "run"]
    shown = run(installed, tmp_path, "-m", "ztoapi", "load", "steady", *arguments, merged=True)
    assert f"Report: {tmp_path / 'report.html'}\n" in shown
    assert "SSE      TTFT" in shown and not re.search("SSE +(tokens/s|truncation)", shown)
    rows = (tmp_path / "run_stats.csv").read_text("utf-8").splitlines()
    counts = {row.split(",")[1]: row.split(",")[2:4] for row in rows}
    streams, failures = counts["E2E"]
    assert int(streams) > 0 and failures == "0"
    # The totals count streams, not their parts.
    assert counts["Aggregated"] == counts["TTFT"] == counts["E2E"] == counts["ITL"]
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "Time between tokens" in page
    target = f"Target: {stand_in + base}, model glm-5.3, API chat"
    assert f"Scenario: steady<br>{target}<br>Users: 5 at most<br>Start: 2" in page


@pytest.mark.load
def test_a_run_without_a_target_ends_at_once(installed: Path, tmp_path: Path, stand_in: str) -> None:
    with socket.socket() as bound:  # but not listening
        bound.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{bound.getsockname()[1]}"
        for url, code, reason in (
            (closed, 2, f"no connection to {closed}: "),
            ("127.0.0.1:9090", 2, "the URL 127.0.0.1:9090 does not begin with http://"),
            (f"{stand_in}/v2", 1, f"{stand_in}/v2 responds with status 404: ; correct the base URL"),
        ):
            command = [sys.executable, "-m", "ztoapi", "load", "steady", "--url", url, "-u", "20", "-t", "1h"]
            ended = subprocess.run(
                command, cwd=tmp_path, env=environment_of(installed), capture_output=True, text=True, check=False
            )
            assert (ended.returncode, reason in ended.stderr) == (code, True), ended.stderr


@pytest.mark.load
def test_a_scenario_runs_by_its_path_and_may_be_the_user_s_own(installed: Path, tmp_path: Path, stand_in: str) -> None:
    folder = Path(run(installed, tmp_path, "-m", "ztoapi", "load", "--path").strip())
    assert folder == installed / "ztoapi" / "load"
    (tmp_path / "poet.py").write_text(USER)
    options = ["--headless", "-u", "3", "-r", "3", "-t", "2s", "-H", stand_in, "--real", "--csv", "run"]
    for scenario, row in ((folder / "steady.py", "E2E"), (tmp_path / "poet.py", "E2E [poem]")):
        run(installed, tmp_path, "-m", "locust", "-f", scenario, *options)
        assert f"SSE,{row}," in (tmp_path / "run_stats.csv").read_text("utf-8")


@pytest.mark.load
def test_the_page_of_locust_offers_every_user(installed: Path, tmp_path: Path, stand_in: str) -> None:
    file = installed / "ztoapi" / "load" / "all.py"
    options = ["--headless", "--class-picker", "-u", "2", "-r", "2", "-t", "1s", "-H", stand_in, "--real"]
    run(installed, tmp_path, "-m", "locust", "-f", file, "ChatCaller", *options)
    listed = run(installed, tmp_path, "-m", "locust", "-f", file, "--list")
    assert {"CodingAgent", "KeyedTenant", "MessagesCaller", "ResponsesCaller", "SteadyCaller"} <= set(listed.split())


def test_the_gate_counts_the_benchmarks_of_a_project(tmp_path: Path) -> None:
    """Installed, first result, and the first failure understood."""
    build = [sys.executable, "-B", "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT / "bench/gate", capture_output=True, check=True)
    (wheel,) = tmp_path.glob("bench_gate-*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    project = tmp_path / "project"
    (project / "benchmarks").mkdir(parents=True)
    (project / "counted.py").write_text("def total(numbers):\n    return sum(numbers)\n")
    test = "from counted import total\n\n\ndef test_total(benchmark):\n    assert benchmark(total, range(9)) == 36\n"
    (project / "benchmarks" / "test_total.py").write_text(test)
    (project / "pyproject.toml").write_text('[tool.bench-gate]\nscenarios = "benchmarks"\npackages = ["counted.py"]\n')
    for command in (
        ["init", "-q"],
        ["add", "."],
        ["-c", "user.name=A", "-c", "user.email=a@b.c", "commit", "-qm", "1"],
    ):
        subprocess.run(["git", *command], cwd=project, check=True)
    gate = ["-m", "bench_gate", "--no-instructions", "--base", "HEAD"]
    assert "passed" in run(tmp_path / "site", project, *gate)
    (project / "counted.py").write_text("def total(numbers):\n    return sum(1 * n for n in numbers)\n")
    environment = environment_of(tmp_path / "site")
    failed = subprocess.run(
        [sys.executable, *gate], cwd=project, env=environment, capture_output=True, text=True, check=False
    )
    assert failed.returncode == 1
    assert "counted.py:total.<locals>.<genexpr>" in failed.stdout
