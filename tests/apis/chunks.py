"""Chunk events as the dialects' readers write them, for the event writers."""

import itertools
import json

from hypothesis import strategies as st

__all__ = ["DONE", "calls", "chunk", "delta", "runs", "usage"]

DONE = b"data: [DONE]\n\n"
USAGE = {
    "prompt_tokens": 150,
    "completion_tokens": 7,
    "total_tokens": 157,
    "prompt_tokens_details": {"cached_tokens": 50},
}


def chunk(**fields: object) -> bytes:
    return b"data: " + json.dumps({"id": "x", "object": "chat.completion.chunk"} | fields).encode() + b"\n\n"


def delta(finish_reason: str | None = None, **fields: object) -> bytes:
    return chunk(choices=[{"index": 0, "delta": fields, "finish_reason": finish_reason}])


def usage(**fields: object) -> bytes:
    return chunk(choices=[], usage=USAGE | fields)


def calls(*parts: tuple[int, str, str, str]) -> bytes:
    """Returns a chunk with parts of tool calls: index, id, name and arguments, each left out where it is empty."""
    found: list[dict[str, object]] = []
    for index, id, name, arguments in parts:
        function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value}
        found.append({"index": index, **({"id": id, "type": "function"} if id else {}), "function": function})
    return delta(tool_calls=found)


def _cut(text: str, points: list[int]) -> list[str]:
    places = [0, *sorted(min(point, len(text)) for point in points), len(text)]
    return [text[start:stop] for start, stop in itertools.pairwise(places)]


@st.composite
def runs(draw: st.DrawFn) -> tuple[list[bytes], dict[str, object]]:
    """Draws the chunks of a response, and its text, reasoning and tool calls. Parts of several calls interleave."""
    text = draw(st.lists(st.text(max_size=6), max_size=5))
    reasoning = draw(st.lists(st.text(max_size=6), max_size=5))
    inputs = draw(
        st.lists(st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=6), max_size=2), max_size=3)
    )
    streams: list[list[bytes]] = [
        [delta(content=one) for one in text],
        [delta(reasoning_content=one) for one in reasoning],
    ]
    for index, value in enumerate(inputs):
        encoded = json.dumps(value)
        first, *pieces = _cut(encoded, draw(st.lists(st.integers(0, len(encoded)), max_size=3)))
        streams.append(
            [calls((index, f"call_{index}", f"tool{index}", first)), *(calls((index, "", "", one)) for one in pieces)]
        )
    chunks: list[bytes] = []
    while any(streams):
        stream = draw(st.sampled_from([one for one in streams if one]))
        chunks.append(stream.pop(0))
    return chunks, {"text": "".join(text), "reasoning": "".join(reasoning), "inputs": inputs}
