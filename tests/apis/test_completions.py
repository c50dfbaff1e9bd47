"""The writer of legacy completions."""

import json
import tracemalloc

from tests.apis.chunks import DONE, delta
from ztoapi.apis.completions import CompletionWriter


def writer() -> CompletionWriter:
    return CompletionWriter("m", "cmpl-1", 1, include_usage=False)


def test_a_stream_is_not_kept() -> None:
    under_test = writer()
    block = delta(content="x" * 10_000)
    for _ in range(5):
        under_test.feed(block)
    tracemalloc.start()
    for _ in range(200):
        under_test.feed(block)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 200_000


def test_a_whole_completion_has_its_text() -> None:
    message = {"content": [{"type": "text", "text": "hi"}]}
    completion = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}
    assert json.loads(writer().whole(json.dumps(completion).encode()))["choices"][0]["text"] == "hi"
    assert DONE in writer().feed(delta("stop", content="hi") + DONE)
