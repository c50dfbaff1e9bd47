"""Inputs of the microbenchmarks: events as each upstream sends them, and ``note``, which records the work per call."""

from pytest_benchmark.fixture import BenchmarkFixture

from bench.inmemory import zai_end, zai_event

__all__ = ["BURST", "STREAMS", "note"]

BURST = 8
"""Events in one read of a busy stream, as observed with 200 concurrent streams."""


def note(benchmark: BenchmarkFixture, group: str, **facts: int) -> None:
    """Sets the group of a benchmark, and records the work of one call."""
    benchmark.group = group
    benchmark.extra_info.update(facts)


def _web_event(text: str) -> bytes:
    return b'data: {"type":"chat:completion","data":{"phase":"answer","delta_content":"%b"}}\n\n' % text.encode()


_WEB_END = (
    b'data: {"type":"chat:completion","data":{"phase":"other","delta_content":"","usage":{"prompt_tokens":9,'
    b'"completion_tokens":12,"total_tokens":21}}}\n\n'
    b'data: {"type":"chat:completion","data":{"phase":"done","done":true}}\n\n'
)


def _zread_event(text: str) -> bytes:
    return b'event:answer\ndata:{"id":"m1","text":"%b","reasoning_content":""}\n\n' % text.encode()


_ZREAD_END = b'event:round_finish\ndata:{"id":"m1","text":""}\n\nevent:finish\ndata:{}\n\n'

STREAMS = {
    "openai": (zai_event, zai_end()),
    "zai": (zai_event, zai_end()),
    "zai_web": (_web_event, _WEB_END),
    "zread": (_zread_event, _ZREAD_END),
}
"""By dialect: a delta with text, and the end of a stream."""
