"""Any stream of the event grammar, spelled as servers spell it and cut anywhere, gives the text of a plain parser.

The parser below follows the standard line by line and reads JSON with Python's own decoder. The subject is the path of
the gateway from bytes to bytes: ``EventBlocks`` and the reader of a dialect.
"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.pieces import cut
from tests.support.relaying import relayed
from ztoapi.dialects.chunk_writer import ChunkWriter
from ztoapi.dialects.openai import NO_REWRITE, KnownTemplates, OpenAIReader, Rewrite, completion
from ztoapi.dialects.zai_web import WebReader
from ztoapi.dialects.zread import ZreadReader
from ztoapi.wire.sse import BYTE_ORDER_MARK

ENDS = [b"\n", b"\r\n", b"\r"]
TEXTS = st.sampled_from(
    ["a", "Hel", "é", "\U0001f600", "\n\n", '"}}]}', '"finish_reason":"stop"', "[DONE]", "data: x", "\\ud83d", "", " "]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
COUNTS = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def reference(stream: bytes) -> list[tuple[str, str]]:
    """The events of a stream as (name, data), by the standard's steps."""
    stream = stream.removeprefix(BYTE_ORDER_MARK)
    lines = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")[:-1]
    found = []
    name, data = b"", b""
    for line in lines:
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if not line:
            if data.strip():
                found.append((name.decode(), data[:-1].decode("utf-8", "surrogatepass")))
            name, data = b"", b""
        elif field == b"data":
            data += value + b"\n"
        elif field == b"event":
            name = value
    return found


def said(stream: bytes) -> tuple[dict[str, str], bool]:
    """The texts in a stream of chunks, by choice and field, and whether [DONE] ends it."""
    texts: dict[str, str] = {}
    for name, data in reference(stream):
        if data.strip() == "[DONE]":
            return texts, True
        if name not in ("", "message") and not data.startswith("{"):
            continue
        chunk = json.loads(data)
        choices = chunk.get("choices") if isinstance(chunk, dict) else None
        for choice in choices if isinstance(choices, list) else ():
            delta = choice.get("delta") or {}
            pieces = {field: delta.get(field) for field in ("content", "reasoning_content")}
            for call in delta.get("tool_calls") or ():
                pieces[f"arguments {call['index']}"] = call["function"]["arguments"]
            for field, text in pieces.items():
                texts[field] = texts.get(field, "") + (text or "")
    return {field: text for field, text in texts.items() if text}, False


def whole_texts(stream: bytes) -> dict[str, str]:
    return {field: text for field, text in said(stream)[0].items() if text}


@st.composite
def events(draw: st.DrawFn, payloads: list[tuple[str, bytes]]) -> bytes:
    """A stream of these events: (name, JSON)."""
    out = [draw(st.sampled_from([b"", b"", BYTE_ORDER_MARK]))]
    end = draw(st.sampled_from([*ENDS, None]))

    def line(text: bytes) -> bytes:
        return text + (end if end is not None else draw(st.sampled_from(ENDS[:2])))

    for name, payload in payloads:
        for noise in draw(st.lists(NOISE, max_size=1)):
            out += [line(text) for text in noise.split(b"\n")]
        extra = draw(st.sampled_from([b"", b"", b"", b"id: 7", b": comment", b"retry: 10", b"unknown: field", b"id"]))
        if extra:
            out.append(line(extra))
        if name:
            out.append(line(b"event: " + name.encode()))
        lead = draw(st.sampled_from([b"data: ", b"data:"]))
        at = payload.find(b',"') if draw(st.integers(0, 5)) == 0 else -1
        if at >= 0:
            out += [line(lead + payload[: at + 1]), line(lead + payload[at + 1 :])]
        else:
            out.append(line(lead + payload))
        out.append(line(b""))
    return b"".join(out)


NOISE = st.sampled_from(
    [
        b": ping\n",
        b"data:\n",
        b"data: \n",
        b"\n",
        b"id: 3\n",
        b"retry: 3000\n",
        b"event: ping\n",
        b"event: ping\ndata: {}\n",
        b"event: ping\ndata: now\n",
        b'data: {"choices":null,"usage":null}\n',
    ]
)


@st.composite
def chunks(draw: st.DrawFn) -> tuple[list[tuple[str, bytes]], bool]:
    """The events of a chat stream, and whether it is complete."""
    spaced = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    no_reason = draw(st.sampled_from([None, "", "absent"]))
    odd = draw(
        st.dictionaries(st.sampled_from(["id", "created", "model", "system_fingerprint", "x"]), JSON, max_size=2)
    )
    head = {"id": "u1", "object": "chat.completion.chunk", "created": 1, "model": "m", **odd}
    behind = draw(st.dictionaries(st.sampled_from(["usage", "error", "service_tier", "logprobs"]), JSON, max_size=2))
    if behind.get("error"):
        behind["error"] = draw(st.sampled_from([None, {}, ""]))
    index: dict[str, Any] = draw(st.sampled_from([{"index": 0}, {"index": 0}, {"index": None}, {}, {"index": "0"}]))
    role = draw(st.booleans())
    last_first = draw(st.booleans())

    def event(delta: object, reason: object) -> bytes:
        choice: dict[str, Any] = {**index, "delta": delta}
        if reason != "absent":
            choice = {"finish_reason": reason, **choice} if last_first else {**choice, "finish_reason": reason}
        fields = {**head, "choices": [choice], **behind}
        return json.dumps(fields, separators=spaced, ensure_ascii=draw(st.booleans())).encode()

    deltas: list[object] = [{"role": "assistant", "content": ""}] if role else []
    for field, text in draw(
        st.lists(st.tuples(st.sampled_from(["content", "reasoning_content", "tool"]), TEXTS), max_size=7)
    ):
        if field == "tool":
            deltas.append({"tool_calls": [{"index": 1, "function": {"arguments": text}}]})
        else:
            deltas.append({"role": "assistant", field: text} if role else {field: text})
    if draw(st.integers(0, 3)) == 0:
        deltas.append(None)
    made = [event(delta, no_reason) for delta in deltas]
    finishes = draw(st.booleans())
    if finishes:
        made.append(event({}, draw(st.sampled_from(["stop", "length", "tool_calls"]))))
        if draw(st.booleans()):
            usage = draw(st.sampled_from([COUNTS, COUNTS, "n/a", None]))
            made.append(json.dumps({**head, "choices": [], "usage": usage}, separators=spaced).encode())
    done = draw(st.booleans()) if finishes else False
    if done:
        made.append(draw(st.sampled_from([b"[DONE]", b"[DONE] ", b" [DONE]"])))
    return [("", payload) for payload in made], finishes


CUTS = st.lists(st.integers(1, 1500), max_size=12)


@given(st.data())
@pytest.mark.parametrize("normalise", [False, True], ids=["plain", "zai"])
def test_chunks_are_the_same_at_every_split(normalise: bool, data: st.DataObject) -> None:
    known: KnownTemplates = {}
    include_usage = data.draw(st.booleans())
    for _ in range(2):
        payloads, complete = data.draw(chunks())
        stream = data.draw(events(payloads))
        pieces = cut(stream, data.draw(CUTS))
        rewrite = Rewrite("chatcmpl-7", "alias", normalise=True) if normalise else NO_REWRITE
        reader = OpenAIReader(rewrite, known, include_usage=include_usage)
        out = relayed(reader, pieces)
        texts, ended = said(out)
        if any(json.loads(payload).get("choices") for _, payload in payloads if b"[DONE]" not in payload[:7]):
            assert reader.done is ended is complete, (reader.error, out)
            assert {field: text for field, text in texts.items() if text} == whole_texts(stream)
        else:
            assert not ended
        for _, payload in reference(out):
            if payload.strip() != "[DONE]":
                assert isinstance(json.loads(payload)["choices"], list)
        assert b"\nid" not in out and b"retry" not in out


@st.composite
def web_events(draw: st.DrawFn) -> tuple[list[tuple[str, bytes]], str, bool]:
    texts = draw(st.lists(TEXTS, min_size=1, max_size=6))
    odd: dict[str, object] = draw(st.sampled_from([{}, {"usage": "n/a"}, {"x": None}, {"done": "no"}, {"done": None}]))
    fields: list[dict[str, object]] = [{"phase": "answer", "delta_content": text, **odd} for text in texts]
    complete = draw(st.booleans())
    if complete:
        fields.append({"phase": "done", "done": True})
    made = [("", json.dumps({"type": "chat:completion", "data": one}).encode()) for one in fields]
    return made, "".join(texts), complete


@given(web_events(), st.data())
def test_web_events_say_what_they_say(case: tuple[list[tuple[str, bytes]], str, bool], data: st.DataObject) -> None:
    payloads, text, complete = case
    stream = data.draw(events(payloads))
    reader = WebReader(ChunkWriter("c", 1, "m", include_usage=False), "reasoning", include_usage=False)
    out = relayed(reader, cut(stream, data.draw(CUTS)))
    texts, ended = said(out)
    if text:
        assert texts.get("content", "") == text
        assert reader.done is ended is complete
    else:
        assert not ended


@given(st.lists(TEXTS, min_size=1, max_size=6), st.booleans(), st.data())
def test_zread_events_say_what_they_say(texts: list[str], complete: bool, data: st.DataObject) -> None:
    payloads = [("answer", json.dumps({"text": text}).encode()) for text in texts]
    if complete:
        payloads.append(("finish", data.draw(st.sampled_from([b"{}", b"x", b'{"a":1}']))))
    stream = data.draw(events(payloads))
    reader = ZreadReader(ChunkWriter("c", 1, "m", include_usage=False), "reasoning", include_usage=False)
    out = relayed(reader, cut(stream, data.draw(CUTS)))
    found, ended = said(out)
    text = "".join(texts)
    if text:
        assert found.get("content", "") == text
        assert reader.done is ended is complete
    else:
        assert not ended


@given(JSON, st.booleans())
@pytest.mark.parametrize("rewrite", [NO_REWRITE, Rewrite("c", "m", normalise=True)], ids=["plain", "zai"])
def test_usage_of_any_value_spoils_no_whole_response(rewrite: Rewrite, usage: object, ascii: bool) -> None:
    body = {"id": "c", "choices": [{"index": 0, "message": {"content": "Hi"}, "finish_reason": "stop"}], "usage": usage}
    out, _ = completion(json.dumps(body, ensure_ascii=ascii).encode(), rewrite)
    assert json.loads(out)["choices"][0]["message"]["content"] == "Hi"
    assert json.loads(out)["usage"] == usage
