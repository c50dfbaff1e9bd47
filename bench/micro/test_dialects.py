"""Each dialect's reader: a first event, one in the middle, eight in one block, and the last ones."""

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.micro.pieces import BURST, STREAMS, note
from ztoapi.dialects import openai, zai_web, zread
from ztoapi.dialects.chunk_writer import ChunkWriter
from ztoapi.dialects.reader import Reader

DIALECTS = sorted(STREAMS)


def reader(dialect: str, known: openai.KnownTemplates | None = None) -> Reader:
    """``openai`` passes bytes on; ``zai`` rewrites the head of each chunk; the web dialects write every chunk anew."""
    if dialect in ("openai", "zai"):
        glm = dialect == "zai"
        rewrite = openai.Rewrite("chatcmpl-1", "glm-4.6" if glm else None, normalise=glm)
        return openai.OpenAIReader(rewrite, {} if known is None else known, include_usage=True)
    writer = ChunkWriter("chatcmpl-1", 1767225600, "glm-4.6", include_usage=True)
    if dialect == "zai_web":
        return zai_web.WebReader(writer, "reasoning", True)
    return zread.ZreadReader(writer, "reasoning", True)


@pytest.mark.parametrize("events", [1, BURST])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_events_in_the_middle(benchmark: BenchmarkFixture, dialect: str, events: int) -> None:
    event, _ = STREAMS[dialect]
    stream, block = reader(dialect), event(" word") * events
    stream.feed(event("The"))
    note(benchmark, f"dialect: {events} in a block", bytes=len(block), events=events)
    out = benchmark(stream.feed, block)
    assert out.count(b" word") == events


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_whole_short_stream(benchmark: BenchmarkFixture, dialect: str) -> None:
    event, end = STREAMS[dialect]
    first, middle = event("The"), event(" word")
    known: openai.KnownTemplates = {}

    def read() -> Reader:
        stream = reader(dialect, known)
        for block in (first, middle, end):
            stream.feed(block)
        return stream

    note(benchmark, "dialect: a stream of three reads", bytes=len(first + middle + end), reads=3)
    assert benchmark(read).done
