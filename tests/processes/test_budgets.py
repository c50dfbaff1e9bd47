"""``ztoapi serve`` keeps the counts of budgets: over workers, restarts and kills."""

import re
import signal
from pathlib import Path

import httpx
import pytest

from tests.keys.files import add
from tests.processes.gateway_process import GatewayProcess, gateway
from tests.stack import Stack

BODY = {"model": "glm-4.6", "messages": [{"role": "user", "content": "x"}]}


def ask(process: GatewayProcess, key: str) -> httpx.Response:
    # By a connection of its own, so that all workers have some.
    return httpx.post(f"{process.url}/v1/chat/completions", json=BODY, headers={"authorization": f"Bearer {key}"})


def served(process: GatewayProcess, key: str, times: int) -> int:
    """The number of requests that were served, of so many. Each is settled before the next: with its record, which may
    be later than its response."""
    count = 0
    for _ in range(times):
        before = counted(process)
        count += ask(process, key).status_code == 200
        process.wait_for(lambda before=before: counted(process) > before)  # type: ignore[misc]
    return count


def counted(process: GatewayProcess) -> int:
    metrics = httpx.get(f"{process.url}/metrics").text
    return sum(int(float(number)) for number in re.findall(r'ztoapi_key_requests_total\{key="alice"\} (\S+)', metrics))


@pytest.mark.parametrize("history", [True, False])
def test_a_budget_survives_any_end_if_there_is_a_history(simulator: Stack, tmp_path: Path, history: bool) -> None:
    path = tmp_path / "keys.toml"
    add(path, "first")
    key = add(path, "alice", tokens_per_month=200)
    environment = {
        "ZTOAPI_KEY_FILE": str(path),
        "WORKERS": "2",
        "ZTOAPI_HISTORY_FILE": str(tmp_path / "history.db") if history else "none",
    }
    with gateway(simulator, **environment) as process:
        used = ask(process, key).json()["usage"]["total_tokens"]
        whole = -(-200 // used)
        first = 1 + served(process, key, 2)
        assert first == 3
        process.wait_for(lambda: counted(process) == first)
        # By connections of their own, so by both workers.
        pages = [httpx.get(f"{process.url}/admin/keys").json() for _ in range(8)]
        assert {page["budgets"][0]["used"] for page in pages} == {first * used}
        for pid in process.children():
            process.kill(signal.SIGKILL, pid)
        process.wait_for(lambda: process.output.count("restarting it") == 2)
        first += served(process, key, 1)
        # As kill -9 of everything, at once.
        for pid in [*process.children(), process.pid]:
            process.kill(signal.SIGKILL, pid)
    with gateway(simulator, **environment) as process:
        rest = served(process, key, whole + 5)
        assert rest == (whole - first if history else whole)
        refusal = ask(process, key)
        assert (refusal.status_code, refusal.json()["error"]["code"]) == (429, "insufficient_quota")
        assert ("budgets start anew" in process.output) is not history
        process.kill(signal.SIGTERM)
        assert process.wait() == 0


def test_a_file_that_is_none_of_ours_is_refused(simulator: Stack, tmp_path: Path) -> None:
    add(tmp_path / "keys.toml", "alice", tokens_per_day=5)
    (tmp_path / "history.budgets").write_bytes(b"other" * 100)
    process = gateway(
        simulator, ZTOAPI_KEY_FILE=str(tmp_path / "keys.toml"), ZTOAPI_HISTORY_FILE=str(tmp_path / "history.db")
    )
    assert process.wait() == 2
    process.wait_for_output(r"(history\.budgets cannot be used \(it is not a file of budgets)")
    process.__exit__(None, None, None)
