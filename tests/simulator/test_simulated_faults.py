"""Faults, byte for byte where they are broken HTTP."""

import re
import socket

import pytest

from tests.simulator.asking import ask, events, raw_request, read_to_the_end
from tests.stack import Stack

PATHS = {
    "official": "/api/paas/v4/chat/completions",
    "plain": "/v1/chat/completions",
    "web": "/api/chat/completions",
    "zread": "/api/v1/talk/talk-1/message",
}
PLAIN = PATHS["plain"]
LAST_CHUNK = b"\r\n0\r\n\r\n"
every_dialect = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())


def read(stack: Stack, path: str, model: str, *, stream: bool = True) -> tuple[bytes, bool]:
    return read_to_the_end(stack.simulator_port, raw_request(path, model, stream=stream))


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("1113", 429),
        ("1302", 429),
        ("1305", 429),
        ("500", 500),
        ("529", 529),
        ("1234", 500),
        ("1003", 401),
        ("502", 502),
    ],
)
@pytest.mark.parametrize("retry_after", [0, 7])
def test_error_codes(origin: str, code: str, status: int, retry_after: int) -> None:
    response = ask(origin, PATHS["official"], f"m:fault={code}:retry_after={retry_after}")
    assert response.status_code == status
    assert response.json()["error"]["code"] == code
    assert response.headers.get("retry-after") == ("7" if retry_after else None)


def test_a_fault_for_some_times_lets_later_requests_pass(origin: str) -> None:
    model = "m:fault=1302:fault_times=2"
    assert [ask(origin, PLAIN, model).status_code for _ in range(4)] == [429, 429, 200, 200]
    assert ask(origin, PLAIN, model + ":tokens=1").status_code == 429


@every_dialect
@pytest.mark.parametrize(("fault", "reset"), [("refuse", False), ("reset", True)])
def test_a_connection_that_ends_without_an_answer(stack: Stack, path: str, fault: str, reset: bool) -> None:
    assert read(stack, path, f"m:fault={fault}") == (b"", reset)
    stack.wait_for(lambda: stack.simulator.stats.open_streams == 0)
    assert stack.simulator.stats.cancels == 0


@every_dialect
def test_a_truncated_stream_lacks_its_last_chunk(stack: Stack, path: str) -> None:
    data, reset = read(stack, path, "m:tokens=8:fault=truncate")
    assert data.count(b"data:") == 4
    assert not data.endswith(LAST_CHUNK)
    assert not reset
    assert stack.simulator.stats.cancels == 0


@every_dialect
def test_a_reset_in_the_middle_is_no_cancel(stack: Stack, path: str) -> None:
    _, reset = read(stack, path, "m:itl=1:fault=reset_mid")
    assert reset
    stack.wait_for(lambda: stack.simulator.stats.open_streams == 0)
    assert stack.simulator.stats.cancels == 0


@every_dialect
def test_garbage_in_the_middle_is_an_event_that_cannot_be_read(stack: Stack, origin: str, path: str) -> None:
    text = ask(origin, path, "m:tokens=8:fault=garbage_mid", stream=True, query="x").text
    *whole, broken = text.removesuffix("\n\n").split("\n\n")
    assert all(event.endswith("}") for event in whole)
    assert not broken.endswith("}")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("fault", ["truncate", "bad_chunk", "hang_mid"])
def test_whole_answers_break_off_too(stack: Stack, fault: str, stream: bool) -> None:
    if fault == "hang_mid":
        request = raw_request(PLAIN, f"m:fault={fault}", stream=stream)
        with socket.create_connection(("127.0.0.1", stack.simulator_port)) as client:
            client.sendall(request)
            assert b"200 OK" in client.recv(65536)
        stack.wait_for(lambda: stack.simulator.stats.cancels == 1)
        return
    data, _ = read(stack, PLAIN, f"m:fault={fault}", stream=stream)
    assert b"200 OK" in data
    assert not data.endswith(LAST_CHUNK)
    assert data.endswith(b"nonsense\r\n") is (fault == "bad_chunk")


def test_what_is_no_http(stack: Stack) -> None:
    assert read(stack, PLAIN, "m:fault=garbage")[0].startswith(b"\x00\x01")
    head, _ = read(stack, PLAIN, "m:fault=bad_head")
    assert b"content-length" in head and b"transfer-encoding" in head


@pytest.mark.parametrize(("fault", "status"), [("html", 405), ("html_200", 200)])
def test_a_page_of_the_edge(origin: str, fault: str, status: int) -> None:
    response = ask(origin, PLAIN, f"m:fault={fault}")
    assert (response.status_code, response.headers["content-type"]) == (status, "text/html")


def test_an_empty_stream(origin: str) -> None:
    response = ask(origin, PLAIN, "m:fault=empty", stream=True)
    assert (response.status_code, response.text) == (200, "")
    assert response.headers["content-type"].startswith("text/event-stream")


@every_dialect
@pytest.mark.parametrize("size", [0, 5000])
def test_one_huge_event_among_ordinary_ones(origin: str, path: str, size: int) -> None:
    text = ask(origin, path, f"m:fault=huge:tokens=8:size={size}", stream=True, query="x", thinking=None).text
    sizes = sorted(len(event) for event in text.split("\n\n") if not event.startswith("event:round_finish"))
    assert sizes[-1] - sizes[-2] >= (size or 1_000_000) - 500


@every_dialect
def test_a_drip_is_the_same_stream_in_single_bytes(stack: Stack, origin: str, path: str) -> None:
    dripped, _ = read_to_the_end(
        stack.simulator_port,
        raw_request(path, "m:tokens=2:fault=drip").replace(b"host: x", b"host: x\r\nconnection: close"),
    )
    assert dripped.count(b"\r\n1\r\n") > 20
    chunks = dripped.split(b"\r\n\r\n", 1)[1].split(b"\r\n")[1::2]
    plain = ask(origin, path, "m:tokens=2", stream=True, query="x").content
    assert strip_id(b"".join(chunks)) == strip_id(plain)


def strip_id(data: bytes) -> bytes:
    return re.sub(rb'"id":"[^"]*"', b'"id":""', data)


def test_a_stream_without_its_done_is_whole_otherwise(origin: str) -> None:
    text = ask(origin, PLAIN, "m:fault=no_done", stream=True).text
    assert "[DONE]" not in text
    assert events(text)[-1]["choices"][0]["finish_reason"] == "stop"


def test_a_stream_that_is_too_short_for_its_fault_has_it_at_the_end(stack: Stack) -> None:
    data, _ = read(stack, PLAIN, "m:tokens=0:epw=100:fault=truncate")
    assert data.count(b"data:") == 1
    assert not data.endswith(LAST_CHUNK)


@pytest.mark.parametrize("fault", ["hang", "hang_mid"])
@every_dialect
def test_a_hanging_answer_ends_when_the_client_goes(stack: Stack, path: str, fault: str) -> None:
    with socket.create_connection(("127.0.0.1", stack.simulator_port)) as client:
        client.sendall(raw_request(path, f"m:fault={fault}"))
        stack.wait_for(lambda: stack.simulator.stats.open_streams == 1)
        if fault == "hang_mid":
            assert b"200 OK" in client.recv(65536)
    stack.wait_for(lambda: stack.simulator.stats.cancels == 1)
    assert stack.simulator.stats.open_streams == 0
