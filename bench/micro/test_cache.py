"""The response cache: the cost of a hit, compared with the upstream request it saves, and of storing a response."""

import itertools

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.inmemory import Gateway, chunked, request, stream_head, whole_response, zai_end, zai_event
from bench.micro.pieces import note
from ztoapi.cache.key import cache_key
from ztoapi.config.model import CacheConfig
from ztoapi.structures.lru import Lru

ON = CacheConfig(enabled=True)
BATCH = 100
DETERMINISTIC = b',"temperature":0'
CHUNKS = 64


def _stream_parts() -> list[bytes]:
    """Returns the reads of a stream with one chunk each."""
    return [
        stream_head() + chunked(zai_event("The")),
        *(chunked(zai_event(" word")) for _ in range(CHUNKS)),
        chunked(zai_end()) + b"0\r\n\r\n",
    ]


@pytest.mark.parametrize("characters", [800, 300_000])
def test_question(benchmark: BenchmarkFixture, characters: int) -> None:
    body = request(stream=True, prompt="x" * characters, more=DETERMINISTIC).partition(b"\r\n\r\n")[2]
    note(benchmark, "cache: the key of a request", characters=characters)
    assert benchmark(lambda: cache_key(body, stream=True, parts=("key", "zai", "glm-4.6", None))) is not None


def test_lru(benchmark: BenchmarkFixture) -> None:
    lru = Lru(BATCH * 1000)
    keys = [number.to_bytes(32, "big") for number in range(2 * BATCH)]

    def put_and_get() -> None:
        for key in keys[:BATCH]:
            lru.put(key, b"answer", 1.0, 100.0)
            lru.get(key, 2.0)

    note(benchmark, "cache: pieces", puts=BATCH, gets=BATCH)
    benchmark(put_and_get)


@pytest.mark.parametrize("cache", ["off", "bypass", "miss", "hit"])
def test_whole_response(benchmark: BenchmarkFixture, cache: str) -> None:
    gateway = Gateway(cache=None if cache == "off" else ON)
    response = whole_response("x" * 800)
    more = b"" if cache == "bypass" else DETERMINISTIC
    fixed = request(stream=False, prompt="x" * 800, more=more)
    # Each miss has its own key; all have the same length.
    questions = (request(stream=False, prompt=f"{number:08d}" * 100, more=more) for number in itertools.count())

    def repeat() -> None:
        gateway.receive_request(fixed)
        gateway.receive_response(response)

    def request_anew() -> None:
        gateway.receive_request(next(questions))
        gateway.receive_response(response)

    repeat()
    note(benchmark, "cache: a whole response", requests=1)
    benchmark({"hit": lambda: gateway.receive_request(fixed), "miss": request_anew}.get(cache, repeat))
    assert (b"x-ztoapi-cache: %b\r\n" % cache.encode() in gateway.client.last) is (cache != "off")
    gateway.close()


@pytest.mark.parametrize("cache", ["off", "miss", "hit"])
def test_stream(benchmark: BenchmarkFixture, cache: str) -> None:
    gateway = Gateway(cache=None if cache == "off" else ON)
    feeders = [gateway.feeder(part) for part in _stream_parts()]
    fixed = request(stream=True, prompt="x" * 800, more=DETERMINISTIC)
    questions = (request(stream=True, prompt=f"{number:08d}" * 100, more=DETERMINISTIC) for number in itertools.count())

    def stream(question: bytes) -> None:
        gateway.receive_request(question)
        for feed in feeders:
            feed()

    stream(fixed)
    note(benchmark, "cache: a stream", chunks=CHUNKS)
    if cache == "hit":
        benchmark(lambda: gateway.receive_request(fixed))
    else:
        benchmark(lambda: stream(next(questions)))
    assert b"[DONE]" in gateway.client.last
    gateway.close()
