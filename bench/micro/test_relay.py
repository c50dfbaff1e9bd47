"""The relay and what it is made of, on transports that only count.

Times are for one machine and one moment; ``python -m bench.gate`` counts what does not change.
"""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.inmemory import Gateway, chunked, request, stream_head, zai_event
from ztoapi.config.model import DialectName
from ztoapi.wire.limits import Limits
from ztoapi.wire.request import parse_head


@pytest.mark.parametrize("events", [1, 8])
@pytest.mark.parametrize("dialect", ["zai", "openai"])
def test_one_upstream_read(benchmark: BenchmarkFixture, dialect: DialectName, events: int) -> None:
    gateway = Gateway(dialect)
    gateway.ask(request(stream=True))
    gateway.answer(stream_head() + chunked(zai_event("The")))
    benchmark(gateway.feeder(b"".join(chunked(zai_event(" word")) for _ in range(events))))
    gateway.close()


def test_one_whole_request(benchmark: BenchmarkFixture) -> None:
    body = (
        b'{"id":"1","created":1767225600,"model":"glm-4.6","choices":[{"index":0,"message":{"role":"assistant",'
        b'"content":"%b"},"finish_reason":"stop"}],"usage":{"prompt_tokens":9,"completion_tokens":12,'
        b'"total_tokens":21}}' % (b"x" * 800)
    )
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    question = request(stream=False, prompt="hello " * 150)
    gateway = Gateway()

    def exchange() -> None:
        gateway.ask(question)
        gateway.answer(answer)

    benchmark(exchange)
    gateway.close()


def test_request_head(benchmark: BenchmarkFixture) -> None:
    head = request(stream=True).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    benchmark(parse_head, head, Limits())
