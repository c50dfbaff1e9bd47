"""The figures of ``/sim/stats``, of one worker and of several."""

import json
import socket

import httpx
import pytest

from tests.processes.gateway_process import GatewayProcess
from tests.simulator.asking import MESSAGES, ask, raw_request
from tests.stack import Stack
from ztoapi.cli.main import main
from ztoapi.simulator.shared_counts import CountCell, SharedCounts

PLAIN = "/v1/chat/completions"


def test_the_last_request_is_shown_with_its_credential_masked(stack: Stack, origin: str) -> None:
    body = {"model": "m", "messages": MESSAGES, "user": "\u00e9"}
    httpx.post(origin + PLAIN, json=body, headers={"authorization": "Bearer secret-key-1234", "x-mark": "a"})
    shown = httpx.get(origin + "/sim/stats").text
    assert "secret" not in shown
    last = json.loads(shown)["last_request"]
    assert last["headers"]["authorization"] == "...1234"
    assert (last["path"], last["headers"]["x-mark"], last["body"]) == (PLAIN, "a", body)
    assert last["body_bytes"] == len(httpx.Request("POST", "http://x", json=body).content)


def test_a_large_body_is_counted_and_not_kept(stack: Stack, origin: str) -> None:
    ask(origin, PLAIN, messages=[{"role": "user", "content": "x" * 70000}])
    last = stack.stats()["last_request"]
    assert isinstance(last, dict)
    assert last["body"] is None
    assert last["body_bytes"] > 70000


def test_open_streams_and_their_peak_are_counted(stack: Stack, origin: str) -> None:
    stats = stack.simulator.stats
    clients = [socket.create_connection(("127.0.0.1", stack.simulator_port)) for _ in range(3)]
    for client in clients:
        client.sendall(raw_request(PLAIN, "m:fault=hang"))
    stack.wait_for(lambda: stats.open_streams == 3)
    clients[0].close()
    stack.wait_for(lambda: stats.cancels == 1)
    shown = stack.stats()
    assert (shown["open_streams"], shown["peak_concurrency"], shown["requests"]) == (2, 3, 3)
    httpx.post(origin + "/sim/reset")
    shown = stack.stats()
    assert (shown["open_streams"], shown["peak_concurrency"], shown["requests"]) == (2, 2, 0)
    assert (shown["by_model"], shown["last_request"]) == ({}, {})
    for client in clients[1:]:
        client.close()
    stack.wait_for(lambda: stats.open_streams == 0)
    assert stats.cancels == 2


def test_connections_are_counted_once(stack: Stack, origin: str) -> None:
    before = stack.simulator.stats.connections
    with httpx.Client() as client:
        for _ in range(3):
            client.post(origin + PLAIN, json={"model": "m", "messages": MESSAGES})
    assert stack.simulator.stats.connections == before + 1


def test_asking_for_statistics_counts_for_nothing(stack: Stack, origin: str) -> None:
    httpx.get(origin + "/v1/models")
    shown = stack.stats()
    assert (shown["requests"], shown["peak_concurrency"]) == (0, 0)
    assert httpx.get(origin + "/sim/reset").status_code == 405


def test_a_model_is_counted_anew_after_a_reset(stack: Stack, origin: str) -> None:
    for model in ("a", "b", "b"):
        ask(origin, PLAIN, model)
    httpx.post(origin + "/sim/reset")
    ask(origin, PLAIN, "b")
    assert stack.stats()["by_model"] == {"b": 1}


def test_models_are_counted_separately_up_to_a_bound() -> None:
    board, index = SharedCounts(), dict[bytes, int]()
    for number in range(2000):
        board.count_model(0, index, b"model-%d" % number)
    board.count_model(0, index, b"model-5")
    models = board.models()
    assert (len(models), models[b"model-5"], models[b"other"]) == (1000, 2, 1001)


def test_rows_add_up_and_a_worker_that_comes_again_finds_its_names() -> None:
    board = SharedCounts(2)
    for row in range(2):
        index: dict[bytes, int] = {}
        board.add(row, CountCell.REQUESTS, row + 1)
        board.count_model(row, index, b"both")
        board.count_model(row, index, b"x" * 400)
    assert board.total(CountCell.REQUESTS) == 3
    assert board.models() == {b"both": 2, b"x" * 248: 2}
    assert board.names(1) == [b"both", b"x" * 248]
    board.set_last(0, b"first", 1)
    board.set_last(1, b"second", 2)
    assert board.last() == b"second"


def test_any_worker_knows_what_all_have_seen() -> None:
    with GatewayProcess("simulate", "--port", "0", "--workers", "3", "--ttft-ms", "0", "--itl-ms", "0") as process:
        model = "m:fault=1302:fault_times=10"
        statuses = [ask(process.url, PLAIN, model).status_code for _ in range(30)]
        assert statuses == [429] * 10 + [200] * 20
        seen = [httpx.get(process.url + "/sim/stats").json() for _ in range(10)]
        assert [shown["requests"] for shown in seen] == [30] * 10
        assert [shown["by_model"] for shown in seen] == [{model: 30}] * 10
        assert seen[0]["last_request"]["body"]["model"] == model
        httpx.post(process.url + "/sim/reset")
        assert {httpx.get(process.url + "/sim/stats").json()["requests"] for _ in range(10)} == {0}
        assert ask(process.url, PLAIN, model).status_code == 429


@pytest.mark.parametrize("option", ["--tokens=-1", "--workers=0"])
def test_invalid_options_are_refused_before_listening(option: str) -> None:
    with pytest.raises(SystemExit) as refusal:
        main(["simulate", "--port", "0", option])
    assert refusal.value.code == 2
