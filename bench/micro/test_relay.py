"""The whole relay on in-memory transports: from the bytes of one socket to the bytes of the other.

Times depend on the machine and the moment; ``python -m bench.gate`` has stable counts.
"""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.inmemory import Gateway, chunked, request, stream_head, whole_response, zai_end, zai_event
from bench.micro.pieces import BURST, note
from ztoapi.dialects.registry import DialectName

DIALECTS: list[DialectName] = ["openai", "zai"]
EVENTS_OF_A_STREAM = 64


@pytest.mark.parametrize("events", [1, BURST])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_one_upstream_read(benchmark: BenchmarkFixture, dialect: DialectName, events: int) -> None:
    gateway = Gateway(dialect)
    gateway.receive_request(request(stream=True))
    gateway.receive_response(stream_head() + chunked(zai_event("The")))
    data = b"".join(chunked(zai_event(" word")) for _ in range(events))
    note(benchmark, f"relay: a read of {events}", bytes=len(data), events=events)
    benchmark(gateway.feeder(data))
    assert gateway.client.last.count(b" word") == events
    gateway.close()


@pytest.mark.parametrize("reads", [1, EVENTS_OF_A_STREAM // BURST, EVENTS_OF_A_STREAM])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_stream_of_64_from_request_to_done(benchmark: BenchmarkFixture, dialect: DialectName, reads: int) -> None:
    gateway, question = Gateway(dialect), request(stream=True)
    events = [chunked(zai_event(" word")) for _ in range(EVENTS_OF_A_STREAM)]
    size = EVENTS_OF_A_STREAM // reads
    blocks = [b"".join(events[at : at + size]) for at in range(0, EVENTS_OF_A_STREAM, size)]
    blocks[0] = stream_head() + blocks[0]
    blocks.append(chunked(zai_end()) + b"0\r\n\r\n")

    def stream() -> None:
        gateway.receive_request(question)
        for block in blocks:
            gateway.receive_response(block)

    note(benchmark, "relay: a stream of 64", events=EVENTS_OF_A_STREAM, reads=len(blocks))
    benchmark(stream)
    assert gateway.client.last.endswith(b"0\r\n\r\n")
    gateway.close()


@pytest.mark.parametrize("prompt", [800, 300_000])
def test_unary(benchmark: BenchmarkFixture, prompt: int) -> None:
    gateway = Gateway()
    question, response = request(stream=False, prompt="x" * prompt), whole_response("x" * 800)

    def exchange() -> None:
        gateway.receive_request(question)
        gateway.receive_response(response)

    note(benchmark, "relay: unary", request_bytes=len(question), response_bytes=len(response))
    benchmark(exchange)
    assert b" 200 OK" in gateway.client.last
    gateway.close()


def test_refusal(benchmark: BenchmarkFixture) -> None:
    gateway = Gateway()
    question = request(stream=False).replace(b"Bearer key", b"Bearer no!")
    note(benchmark, "relay: unary", request_bytes=len(question))
    benchmark(gateway.receive_request, question)
    assert b" 401 " in gateway.client.last
    gateway.close()
