"""``ztoapi usage`` and /admin/usage: tokens and cost by day, key and model, over workers, deaths and restarts."""

import csv
import datetime
import io
import json
import signal
from pathlib import Path
from typing import Any

import httpx

from tests.processes.gateway_process import GatewayProcess, gateway
from tests.processes.program import run
from tests.stack import Stack
from ztoapi.config.catalogue import zai_models

ADMIN = {"authorization": "Bearer admin"}


def ask(process: GatewayProcess, key: str, model: str, times: int, *, stream: bool = False) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "one two three"}], "stream": stream}
    for _ in range(times):
        # Each by a connection of its own, so that all workers have some.
        response = httpx.post(
            f"{process.url}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {key}"}
        )
        assert response.status_code == 200


def usage(process: GatewayProcess, **query: str) -> list[dict[str, Any]]:
    response = httpx.get(f"{process.url}/admin/usage", params=query, headers=ADMIN)
    assert response.status_code == 200, response.text
    page = response.json()
    assert (page["kept"], page["currency"]) == (True, "USD")
    rows: list[dict[str, Any]] = page["usage"]
    return rows


def requests_of(process: GatewayProcess) -> dict[tuple[str, str], int]:
    return {(row["key"], row["model"]): row["requests"] for row in usage(process)}


def command(process: GatewayProcess, *arguments: str) -> str:
    result = run("usage", *arguments, "--url", process.url, ADMIN_KEY="admin")
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_usage_is_kept_by_day_key_and_model(simulator: Stack, tmp_path: Path) -> None:
    environment = {
        "ZTOAPI_HISTORY_FILE": str(tmp_path / "history.db"),
        "ZTOAPI_ACCESS_LOG": str(tmp_path / "access.log"),
        "API_KEYS": "first|second",
        "ADMIN_KEY": "admin",
        "WORKERS": "2",
    }
    expected = {("api-key-1", "glm-4.6"): 5, ("api-key-1", "glm-4.5-flash"): 2, ("api-key-2", "glm-4.6"): 3}
    with gateway(simulator, **environment) as process:
        ask(process, "first", "glm-4.6", 3)
        ask(process, "first", "glm-4.6", 2, stream=True)
        ask(process, "first", "glm-4.5-flash", 2)
        # A worker that is killed loses what it has not published or written.
        of_first = {labels: count for labels, count in expected.items() if labels[0] == "api-key-1"}
        process.wait_for(lambda: requests_of(process) == of_first)
        process.wait_for(lambda: (tmp_path / "access.log").read_text().count("/v1/chat/completions") == 7)
        for pid in process.children():
            process.kill(signal.SIGKILL, pid)
        process.wait_for(lambda: process.output.count("restarting it") == 2)
        ask(process, "second", "glm-4.6", 3)
        process.wait_for(lambda: requests_of(process) == expected)
        process.kill(signal.SIGTERM)
        assert process.wait() == 0
    records = [json.loads(line) for line in (tmp_path / "access.log").read_text().splitlines()]
    records = [record for record in records if record.get("model")]
    with gateway(simulator, **environment) as process:
        assert requests_of(process) == expected
        for row in usage(process):
            own = [each for each in records if (each["key"], each["model"]) == (row["key"], row["model"])]
            facts = zai_models()[row["model"]]
            assert facts.input_price is not None and facts.output_price is not None
            assert datetime.date.fromisoformat(row["day"])
            assert row["input_tokens"] == sum(each.get("input_tokens", 0) for each in own) > 0
            assert row["output_tokens"] == sum(each.get("output_tokens", 0) for each in own) > 0
            cost = row["input_tokens"] * facts.input_price + row["output_tokens"] * facts.output_price
            cost -= row["cached_tokens"] * (facts.input_price - (facts.cached_input_price or 0))
            assert abs(row["cost_usd"] - cost / 1e6) < 1e-9
            assert abs(row["cost_usd"] - sum(each.get("cost_usd", 0) for each in own)) < 1e-9
            assert row["unpriced_requests"] == row["denied"] == 0
        assert {row["key"]: row["requests"] for row in usage(process, by="key")} == {"api-key-1": 7, "api-key-2": 3}
        assert [row["requests"] for row in usage(process, by="day", model="glm-4.6")] == [8]
        assert usage(process, to="2026-01-01") == []
        (first, *_) = csv.DictReader(io.StringIO(command(process, "--csv", "--key", "api-key-2")))
        assert (first["key"], first["model"], first["requests"]) == ("api-key-2", "glm-4.6", "3")
        assert json.loads(command(process, "--json"))["usage"] == usage(process)
        table = [line.split() for line in command(process, "--by", "key").splitlines()]
        rows = [["KEY", "REQUESTS"], ["api-key-1", "7"], ["api-key-2", "3"], ["total", "10"]]
        assert [row[:2] for row in table] == rows


def test_requests_without_a_key_have_none(simulator: Stack, tmp_path: Path) -> None:
    with gateway(simulator, ZTOAPI_HISTORY_FILE=str(tmp_path / "history.db")) as process:
        httpx.post(
            f"{process.url}/v1/chat/completions",
            json={"model": "glm-4.6", "messages": [{"role": "user", "content": "x"}]},
        )
        page = httpx.get(f"{process.url}/admin/usage").json()
        assert [(row["key"], row["model"], row["requests"]) for row in page["usage"]] == [(None, "glm-4.6", 1)]
        assert "ztoapi_key_requests_total{" not in httpx.get(f"{process.url}/metrics").text
