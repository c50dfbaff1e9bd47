"""One cached response serves all client APIs whose requests become the same chat request."""

import itertools
import json

import httpx

from tests.stack import Stack
from tests.support.table import table

Fields = dict[str, object]
CACHE = "[cache]\nenabled = true\n"
MODEL = "glm-4.6:tokens=20:itl=0"
CHAT: Fields = {
    "model": MODEL,
    "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
    "temperature": 0,
    "max_tokens": 50,
}
THINKING_OFF: Fields = {"thinking": {"type": "disabled"}}
"""The other fields for it depend on the platform."""
REQUESTS: dict[str, Fields] = {
    "/v1/messages": {
        "model": MODEL,
        "system": "Be brief.",
        "messages": [{"role": "user", "content": "Hello"}],
        "temperature": 0,
        "max_tokens": 50,
    },
    "/v1/responses": {
        "model": MODEL,
        "instructions": "Be brief.",
        "input": "Hello",
        "reasoning": {"effort": "none"},
        "temperature": 0,
        "max_output_tokens": 50,
    },
    "/v1/chat/completions": {**CHAT, **THINKING_OFF},
}


def shown(path: str, answer: httpx.Response, *, stream: bool) -> str:
    """The text of a response."""
    if not stream:
        return text_of(path, answer.json())
    texts = []
    for line in answer.text.splitlines():
        if not line.startswith("data: ") or line == "data: [DONE]":
            continue
        event = json.loads(line[6:])
        if path == "/v1/chat/completions":
            texts += [choice["delta"].get("content") or "" for choice in event["choices"]]
        elif event["type"] == "response.output_text.delta":
            texts.append(event["delta"])
        elif event["type"] == "content_block_delta":
            texts.append(event["delta"]["text"])
    return "".join(texts)


def text_of(path: str, body: Fields) -> str:
    keys = {
        "/v1/messages": ("content", 0, "text"),
        "/v1/responses": ("output", -1, "content", 0, "text"),
        "/v1/chat/completions": ("choices", 0, "message", "content"),
    }
    found: object = body
    for key in keys[path]:
        found = found[key]  # type: ignore[index]
    assert isinstance(found, str)
    return found


@table("stream", [False, True])
@table("paths", list(itertools.permutations(REQUESTS)), ids=lambda paths: paths[0])
def test_a_response_to_one_api_serves_the_others(paths: tuple[str, ...], stream: bool) -> None:
    with Stack(toml=CACHE) as stack:
        answers = {}
        for path in paths:
            body = {**REQUESTS[path], "stream": stream}
            if path == "/v1/chat/completions":
                body |= {"enable_thinking": False, "chat_template_kwargs": {"enable_thinking": False}}
                if stream:
                    body["stream_options"] = {"include_usage": True}
            answers[path] = httpx.post(stack.url + path, json=body)
        assert [answer.headers["x-ztoapi-cache"] for answer in answers.values()] == ["miss", "hit", "hit"]
        texts = {shown(path, answer, stream=stream) for path, answer in answers.items()}
        assert len(texts) == 1
        assert texts != {""}
        assert stack.stats()["requests"] == 1
