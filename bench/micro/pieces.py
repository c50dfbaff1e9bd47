"""What the microbenchmarks feed: events as each upstream writes them, and a way to note what a call does."""

from pytest_benchmark.fixture import BenchmarkFixture

from bench.inmemory import zai_end, zai_event

__all__ = ["BURST", "STREAMS", "note"]

BURST = 8
"""Events in one read of a busy stream: what 200 streams beside each other were seen to have."""


def note(benchmark: BenchmarkFixture, group: str, **facts: int) -> None:
    """Put a benchmark into its group, and write into its record what one call of it does."""
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
"""For each dialect one delta with a text, and the end of a stream."""
