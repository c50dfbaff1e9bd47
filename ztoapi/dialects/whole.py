"""Converts a whole completion into the requested stream, because some servers ignore ``stream``."""

import msgspec

from ztoapi.dialects.chunk_writer import DONE
from ztoapi.dialects.lenient import hide_halves, read_objects, restore_halves
from ztoapi.errors import malformed

__all__ = ["completion_events"]

_Fields = dict[str, msgspec.Raw]
_NULL = msgspec.Raw(b"null")

_encode = msgspec.json.Encoder().encode
_decode_fields = msgspec.json.Decoder(_Fields).decode


def completion_events(completion: bytes, *, include_usage: bool) -> bytes:
    """The events of ``completion``: one with all of each choice, one with the finish reasons, usage if
    ``include_usage``, and ``[DONE]``. Raises UpstreamError if a choice cannot be read."""
    try:
        # Line ends are white space in JSON, and would end the line of an event.
        line = hide_halves(completion.replace(b"\r", b" ").replace(b"\n", b" "))
        fields = _decode_fields(line)
        deltas = list(map(_delta, read_objects(fields["choices"])))
    except (msgspec.DecodeError, RecursionError, KeyError) as error:
        raise malformed("a completion", error) from error
    usage = fields.pop("usage", _NULL)
    fields["object"] = msgspec.Raw(b'"chat.completion.chunk"')
    finishes = [{**choice, "delta": {}, "finish_reason": finish} for choice, finish in deltas]
    chunks: list[dict[str, object]] = [
        {**fields, "choices": [choice for choice, _ in deltas]},
        {**fields, "choices": finishes},
    ]
    if include_usage and usage != _NULL:
        chunks.append({**fields, "choices": [], "usage": usage})
    return b"".join([*(b"data: %b\n\n" % restore_halves(_encode(chunk)) for chunk in chunks), DONE])


def _delta(choice: _Fields) -> tuple[dict[str, object], msgspec.Raw]:
    """Returns the choice of the first chunk, and the finish reason for the second one."""
    message = _decode_fields(choice.get("message", b"{}"))
    delta: dict[str, object] = dict(message)
    calls = read_objects(message.get("tool_calls", _NULL))
    if calls:
        delta["tool_calls"] = [{"index": index, **call} for index, call in enumerate(calls)]
    index, finish = choice.get("index", msgspec.Raw(b"0")), choice.get("finish_reason", _NULL)
    return {"index": index, "delta": delta, "finish_reason": None}, finish
