"""One chunk in a block, in each spelling of the event."""

import pytest

from ztoapi.dialects.chunks import read_chunks
from ztoapi.errors import UpstreamError

JSON = b'{"choices":[{"index":0,"delta":{"content":"a"}}]}'


@pytest.mark.parametrize(
    "block",
    [
        b"data: " + JSON + b"\n\n",
        b"data:" + JSON + b"\n\n",
        b"data: " + JSON + b"\r\n\r\n",
        b"data: " + JSON + b"\r\r",
        b"data: " + JSON[:-1] + b"\rdata: }\n\n",
        b": comment\n\ndata: " + JSON + b"\n\n",
    ],
)
def test_every_spelling_is_the_same_chunk(block: bytes) -> None:
    chunks, done = read_chunks(block)
    assert not done and len(chunks) == 1
    choices = chunks[0].choices
    assert choices is not None and choices[0].delta is not None and choices[0].delta.content == "a"


def test_a_malformed_chunk_is_an_error() -> None:
    with pytest.raises(UpstreamError):
        read_chunks(b"data: {]\n\n")
