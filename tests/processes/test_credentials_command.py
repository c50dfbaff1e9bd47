"""``ztoapi credentials``: the credentials of a gateway with several workers, and their reset in all of them."""

import json
import subprocess
from collections.abc import Iterator

import httpx
import pytest

from tests.processes import program
from tests.processes.gateway_process import GatewayProcess, gateway
from tests.stack import Stack

KEY = {"authorization": "Bearer admin"}
REFUSED = {"model": "glm-4.6", "messages": [{"role": "user", "content": "x"}], "stream": False}


@pytest.fixture
def process(simulator: Stack) -> Iterator[GatewayProcess]:
    tokens = "a:fault=1113|b:fault=1308:reset=3600"
    with gateway(simulator, WORKERS="2", ADMIN_KEY="admin", UPSTREAM_TOKEN=tokens) as process:
        yield process


def run(process: GatewayProcess, *arguments: str, key: str = "admin") -> "subprocess.CompletedProcess[str]":
    return program.run("credentials", *arguments, "--url", process.url, ADMIN_KEY=key)


def put_away(process: GatewayProcess) -> None:
    """Sends requests over connections of their own until both workers have put two of three credentials out of use."""

    def is_done() -> bool:
        httpx.post(f"{process.url}/v1/chat/completions", json=REFUSED)
        return all(process.output.count(f"zai-{number} is out of use") == 2 for number in (1, 2))

    process.wait_for(is_done)


def shown(process: GatewayProcess, field: str) -> list[object]:
    """The worker that responds shows the others as they were at their last sample, up to a second ago."""
    page = httpx.get(f"{process.url}/admin/credentials", headers=KEY).json()
    return [each[field] for each in page["credentials"]]


def test_a_reset_reaches_all_workers(process: GatewayProcess) -> None:
    put_away(process)
    process.wait_for(lambda: shown(process, "failed") == [2, 2, 0])
    assert shown(process, "state") == ["cooling", "cooling", "ok"]
    lines = run(process).stdout.splitlines()
    assert lines[0].split("  ")[0] == "CREDENTIAL"
    assert [line.split("  ")[0] for line in lines[1:]] == ["zai/zai-1", "zai/zai-2", "zai/zai-3"]
    assert "cooling for 5 min (quota)" in lines[1] or "cooling for 4 min (quota)" in lines[1]
    assert "quota, " in lines[2]
    reset = run(process, "reset", "zai-1")
    assert (reset.returncode, reset.stdout) == (0, "zai/zai-1 is back in service\n")
    process.wait_for(lambda: process.output.count("zai-1 is back in service") == 2)
    process.wait_for(lambda: shown(process, "state") == ["ok", "cooling", "ok"])
    assert "zai-2 is back" not in process.output
    reset = run(process, "reset", "--all", "--json")
    assert [each["credential"] for each in json.loads(reset.stdout)["reset"]] == ["zai-1", "zai-2", "zai-3"]
    process.wait_for(lambda: process.output.count("zai-2 is back in service") == 2)
    process.wait_for(lambda: shown(process, "state") == ["ok", "ok", "ok"])
    listed = json.loads(run(process, "--json").stdout)["credentials"]
    assert [each["last_fault"] for each in listed] == ["quota", "quota", None]
    assert [each["failed"] for each in listed] == [2, 2, 0]


def test_problems_are_reported(process: GatewayProcess) -> None:
    unknown = run(process, "reset", "nope")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "returned 404: there is no credential nope" in unknown.stderr
    assert run(process, key="wrong").returncode == 1
    assert run(process, "reset").returncode == 2
    assert run(process, "reset", "zai-1", "--all").returncode == 2
