"""Requests of every API with any JSON value in any place: each is translated or refused with status 400."""

import json
from collections.abc import Callable
from typing import TypeAlias

from hypothesis import given
from hypothesis import strategies as st

from tests.support.table import table
from ztoapi.apis.completions import CompletionRequest
from ztoapi.apis.messages.request import decode, decode_count
from ztoapi.apis.responses.request import ResponsesRequest
from ztoapi.dialects.capabilities import UNKNOWN, ModelCapabilities
from ztoapi.dialects.request import ChatRequest, decode_request
from ztoapi.errors import ApiError

Read: TypeAlias = Callable[[bytes], ChatRequest]
MODEL = ModelCapabilities(thinking="toggle", max_output_tokens=4096, tool_stream=True, web_search=True)
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}
COMPLETION = {
    "model": "glm-4.6",
    "prompt": ["text"],
    "stream": True,
    "stream_options": {"include_usage": True},
    "best_of": 1,
    "echo": False,
    "logprobs": 0,
    "n": 1,
    "suffix": "",
    "max_tokens": 10,
    "temperature": 0.5,
    "stop": ["x"],
    "user": "somebody",
}
RESPONSE = {
    "model": "glm-4.6",
    "instructions": "Be brief.",
    "input": [
        {"type": "message", "role": "developer", "content": "Now."},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "hi"},
                {"type": "input_image", "image_url": "https://x.test/a.png", "detail": "low"},
                {"type": "input_image", "image_url": {"url": "https://x.test/a.png"}},
                {"type": "input_file", "file_url": "https://x.test/a.pdf"},
            ],
        },
        {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": "s"}],
            "content": [{"type": "reasoning_text", "text": "t"}],
            "encrypted_content": "e",
        },
        {"type": "message", "role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
        {"type": "function_call", "call_id": "c1", "name": "ls", "namespace": "n", "arguments": "{}"},
        {"type": "custom_tool_call", "call_id": "c2", "name": "sh", "input": "ls"},
        {"type": "local_shell_call", "call_id": "c3", "action": {"type": "exec"}},
        {"type": "apply_patch_call", "call_id": "c4", "operation": {"type": "create"}},
        {"type": "function_call_output", "call_id": "c1", "output": [{"type": "input_text", "text": "x"}]},
        {"type": "tool_search_output", "tools": [{"type": "function", "name": "later", "parameters": SCHEMA}]},
    ],
    "tools": [
        {"type": "function", "name": "ls", "description": "Lists.", "parameters": SCHEMA, "strict": True},
        {"type": "function", "function": {"name": "nested", "parameters": SCHEMA}},
        {"type": "custom", "name": "sh", "format": {"type": "grammar", "syntax": "lark", "definition": "x"}},
        {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "ls"}]},
        {"type": "web_search"},
    ],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "ls"}]},
    "parallel_tool_calls": False,
    "reasoning": {"effort": "high", "summary": "auto", "generate_summary": "auto"},
    "text": {
        "format": {"type": "json_schema", "name": "r", "description": "d", "schema": SCHEMA, "strict": True},
        "verbosity": "low",
    },
    "temperature": 0.5,
    "top_p": 0.5,
    "presence_penalty": 0.5,
    "frequency_penalty": 0.5,
    "max_output_tokens": 10,
    "user": "somebody",
    "safety_identifier": "somebody",
    "metadata": {"a": "b"},
    "prompt_cache_key": "k",
    "stream": True,
    "store": False,
    "background": False,
    "conversation": None,
    "prompt": None,
    "previous_response_id": None,
}
TEXT = {"type": "text", "text": "hi"}
MESSAGE = {
    "model": "glm-4.6",
    "max_tokens": 10,
    "system": [TEXT],
    "messages": [
        {
            "role": "user",
            "content": [
                TEXT,
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
                {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
                {"type": "document", "title": "t", "context": "c", "source": {"type": "text", "data": "d"}},
                {"type": "document", "source": {"type": "content", "content": [TEXT]}},
                {"type": "document", "source": {"type": "base64", "media_type": "text/plain", "data": "AAAA"}},
                {"type": "search_result", "title": "t", "source": "s", "content": [TEXT]},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "t", "signature": "s"},
                TEXT,
                {"type": "tool_use", "id": "c1", "name": "ls", "input": {"a": 1}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "is_error": True, "content": [TEXT]},
                {"type": "tool_reference", "tool_name": "later"},
            ],
        },
        {"role": "system", "content": "Now."},
    ],
    "tools": [
        {"name": "ls", "description": "Lists.", "input_schema": SCHEMA},
        {"name": "later", "input_schema": SCHEMA, "defer_loading": True},
        {"type": "web_search_20250305", "name": "web_search", "allowed_domains": ["x.test"]},
    ],
    "tool_choice": {"type": "tool", "name": "ls", "disable_parallel_tool_use": True},
    "thinking": {"type": "enabled", "display": "omitted"},
    "stream": True,
    "metadata": {"user_id": "somebody"},
    "stop_sequences": ["x"],
    "temperature": 0.5,
    "top_p": 0.5,
    "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": SCHEMA}},
    "output_format": {"type": "json_schema", "schema": SCHEMA},
}
CHAT = {
    "model": "glm-4.6",
    "messages": [{"role": "user", "name": "n", "content": "hi"}],
    "stream": True,
    "stream_options": {"include_usage": True},
    "enable_thinking": True,
    "n": 1,
    "max_tokens": 10,
}
CASES: dict[str, tuple[dict[str, object], Read]] = {
    "chat": (CHAT, decode_request),
    "completions": (COMPLETION, lambda body: CompletionRequest(body).chat(MODEL)),
    "completions of an unknown model": (COMPLETION, lambda body: CompletionRequest(body).chat(UNKNOWN)),
    "messages": (MESSAGE, lambda body: decode(body, lambda _: MODEL)[0]),
    "messages of an unknown model": (MESSAGE, lambda body: decode(body, lambda _: UNKNOWN)[0]),
    "message counts": (MESSAGE, decode_count),
    "responses": (RESPONSE, lambda body: ResponsesRequest(body).chat(MODEL)[0]),
    "responses of an unknown model": (RESPONSE, lambda body: ResponsesRequest(body).chat(UNKNOWN)[0]),
    "response counts": (RESPONSE, lambda body: ResponsesRequest(body, counts=True).chat(UNKNOWN)[0]),
}
REQUESTS = table("case", CASES)
RAW = {
    "number of 5,000 digits": "9" * 5000,
    "number beyond a double": "1e999",
    "number of 70 bits": str(2**70),
    "deep list": "[" * 2000 + "]" * 2000,
    "deep object": '{"a":' * 2000 + "1" + "}" * 2000,
    "long text": json.dumps("a\n" * 5000),
    "long name": json.dumps({"a\n" * 5000: 1}),
    "half": '"cut \\ud83d"',
    "other half": '"\\ude00 cut"',
    "halves in a key": '{"\\ud83d":1}',
}
"""JSON that ``json.dumps`` does not write, or that no message may contain as a whole."""
MARK = "(the value)"
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
).map(json.dumps) | st.sampled_from(list(RAW.values()))


def places(value: object, place: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Returns the path to every value within ``value``."""
    children: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        children = list(value.items())
    elif isinstance(value, list):
        children = list(enumerate(value))
    return [place, *(inner for key, child in children for inner in places(child, (*place, key)))]


def replaced(value: object, place: tuple[str | int, ...], new: str) -> bytes:
    """Returns the JSON of ``value`` with ``new`` in the ``place``."""

    def put(inner: object, rest: tuple[str | int, ...]) -> object:
        if not rest:
            return MARK
        if isinstance(inner, dict):
            return {key: put(child, rest[1:]) if key == rest[0] else child for key, child in inner.items()}
        assert isinstance(inner, list)
        return [put(child, rest[1:]) if key == rest[0] else child for key, child in enumerate(inner)]

    return json.dumps(put(value, place)).replace(json.dumps(MARK), new).encode()


def read(case: str, body: bytes) -> ChatRequest | None:
    """Returns the chat request; None if the request is refused."""
    try:
        request = CASES[case][1](body)
    except ApiError as error:
        refused = error
    else:
        json.loads(request.body, parse_int=str)
        return request
    assert refused.status == 400
    assert "Expected `" not in refused.message
    assert len(refused.message) + len(refused.param or "") < 1000
    return None


@REQUESTS
def test_the_samples_are_accepted(case: str) -> None:
    assert read(case, json.dumps(CASES[case][0]).encode()) is not None


@REQUESTS
@given(data=st.data())
def test_any_value_is_translated_or_refused(case: str, data: st.DataObject) -> None:
    sample = CASES[case][0]
    request = read(case, replaced(sample, data.draw(st.sampled_from(places(sample))), data.draw(VALUES)))
    assert request is None or request.body


@REQUESTS
@table("value", ["null", *RAW.values()], ids=["null", *RAW])
def test_every_place_takes_an_unusual_value(case: str, value: str) -> None:
    sample = CASES[case][0]
    for place in places(sample):
        request = read(case, replaced(sample, place, value))
        assert request is None or request.body


@REQUESTS
@table("half", ["\\ud83d", "\\ude00"])
def test_half_surrogates_become_replacement_characters(case: str, half: str) -> None:
    sample = json.dumps(CASES[case][0])
    text = "text" if "completions" in case else "hi"
    assert f'"{text}"' in sample
    request = read(case, sample.replace(f'"{text}"', f'"cut {half}"').encode())
    assert request is not None
    assert "cut \ufffd" in json.dumps(json.loads(request.body), ensure_ascii=False)
