"""Large requests of every API are decoded and translated beside the event loop, and small ones are served meanwhile."""

import asyncio
import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest

from tests.gateway.replies import COMPLETION, Replies, ask, text_of, whole
from tests.keys.files import add
from tests.stack import Stack
from tests.support.serving import Client
from tests.support.waiting import WAIT_SECONDS
from ztoapi.apis.responses.request import ResponsesRequest
from ztoapi.dialects import request as chat_request
from ztoapi.errors import Ending
from ztoapi.handlers import messages, responses
from ztoapi.relay import completions
from ztoapi.wire.limits import BODY_VALUES, LARGE_BODY_BYTES, LARGE_CHAT_BODY_BYTES

HELLO = {"role": "user", "content": "Hello"}
TURNS = [HELLO, {"role": "assistant", "content": "Hi"}]
MANY = TURNS * 1200 + [HELLO]
TOOL = {"name": "Read", "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}}}
TEXT = "word " * (LARGE_BODY_BYTES // 5)
PARTS = [{"type": "text", "text": "a"}] * (LARGE_CHAT_BODY_BYTES // 20)

LARGE: dict[str, tuple[str, Mapping[str, object]]] = {
    "chat": ("/v1/chat/completions", {"messages": MANY}),
    "chat, one text": ("/v1/chat/completions", {"messages": [{**HELLO, "content": TEXT * 9}]}),
    "chat, content parts": ("/v1/chat/completions", {"messages": [{**HELLO, "content": PARTS}]}),
    "chat, tools": (
        "/v1/chat/completions",
        {"messages": [HELLO], "tools": [{"type": "function", "function": {**TOOL, "strict": True}}] * 1200},
    ),
    "chat, lists in a list": ("/v1/chat/completions", {"messages": MANY, "unknown": [[1]]}),
    "messages": ("/v1/messages", {"max_tokens": 10, "messages": MANY}),
    "messages, one text": ("/v1/messages", {"max_tokens": 10, "messages": [{**HELLO, "content": TEXT}]}),
    "messages, blocks": ("/v1/messages", {"max_tokens": 10, "messages": [{**HELLO, "content": PARTS}]}),
    "messages, tools": ("/v1/messages", {"max_tokens": 10, "messages": [HELLO], "tools": [TOOL] * 1200}),
    "tokens": ("/v1/messages/count_tokens", {"messages": MANY}),
    "responses": ("/v1/responses", {"input": MANY}),
    "responses, one text": ("/v1/responses", {"input": TEXT}),
    "responses, tools": (
        "/v1/responses",
        {"input": "Hello", "tools": [{"type": "function", "name": f"n{n}", "parameters": {}} for n in range(1500)]},
    ),
    "input tokens": ("/v1/responses/input_tokens", {"input": MANY}),
    "completions": ("/v1/completions", {"prompt": TEXT}),
    "embeddings": ("/v1/embeddings", {"input": [[1] * 2000] * 150}),
}


EMBEDDINGS = b'{"object":"list","data":[],"model":"m","usage":{"prompt_tokens":3,"total_tokens":3}}'


@pytest.fixture
def replies() -> Iterator[Replies]:
    with Replies(lambda body: whole(EMBEDDINGS if "input" in body else COMPLETION)) as replies:
        yield replies


@contextlib.contextmanager
def occupied(stack: Stack) -> Iterator[None]:
    """Keeps the thread for large bodies at work."""
    begun, may_end = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        assert may_end.wait(WAIT_SECONDS)

    working = asyncio.run_coroutine_threadsafe(stack.application.large_bodies.run(work), stack.loop)
    assert begun.wait(WAIT_SECONDS)
    try:
        yield
    finally:
        may_end.set()
        working.result(WAIT_SECONDS)


@contextlib.contextmanager
def post(stack: Stack, path: str, fields: Mapping[str, object], headers: str = "") -> Iterator[Client]:
    """Sends a request, and waits until it is in flight."""
    before = stack.application.admission.in_flight
    with Client(stack.port) as client:
        body = json.dumps({"model": "m", **fields}, separators=(",", ":")).encode()
        assert len(body) > LARGE_BODY_BYTES
        client.send(
            b"POST %b HTTP/1.1\r\nhost: localhost\r\n%bcontent-length: %d\r\n\r\n"
            % (path.encode(), headers.encode(), len(body))
        )
        client.send(body)
        stack.wait_for(lambda: stack.application.admission.in_flight == before + 1)
        yield client


@pytest.mark.parametrize("case", LARGE)
def test_small_requests_are_served_while_large_ones_wait(replies: Replies, case: str) -> None:
    path, fields = LARGE[case]
    with replies.stack() as stack:
        with contextlib.ExitStack() as waiting:
            with occupied(stack):
                large = waiting.enter_context(post(stack, path, fields))
                for _ in range(2):
                    assert httpx.get(f"{stack.url}/livez").status_code == 200
                    assert text_of(ask(stack, stream=False)) == "Good day"
                # Only the small requests have reached the upstream.
                assert [len(json.dumps(body)) < 1000 for body in replies.bodies] == [True, True]
            assert large.answer("POST").status == 200
        assert stack.record(5).ending is Ending.DONE


def test_nothing_goes_over_a_large_body_in_the_event_loop(
    replies: Replies, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a key that is for certain models, limits, the response cache, and a fallback for the model."""
    threads: dict[str, set[str]] = {}

    def watch(owner: object, name: str) -> None:
        real = getattr(owner, name)

        def watched(*values: object, **named: object) -> object:
            threads.setdefault(name, set()).add(threading.current_thread().name.rstrip("_0123456789"))
            return real(*values, **named)

        monkeypatch.setattr(owner, name, watched)

    watch(chat_request, "_decode_members")
    watch(completions, "cache_key")
    watch(messages, "prompt_weight")
    watch(responses, "prompt_weight")
    watch(ResponsesRequest, "chat")
    path = tmp_path / "keys.toml"
    key = add(path, "one", models=["m", "other"])
    replies.reply = lambda body: whole(b"{}", b"503 No") if body["model"] == "m" else whole(COMPLETION)
    with replies.stack(
        ZTOAPI_KEY_FILE=str(path),
        ZTOAPI_CACHE_ENABLED="true",
        ZTOAPI_KEY_TOKENS_PER_MINUTE="100000000",
        MODEL_FALLBACKS=json.dumps({"m": ["other"]}),
        ZTOAPI_MAX_TRIES="1",
    ) as stack:
        headers = f"authorization: Bearer {key}\r\nx-ztoapi-cache: on\r\n"
        for case in ("chat, content parts", "messages", "responses"):
            with post(stack, *LARGE[case], headers=headers) as client:
                assert client.answer("POST").status == 200
    assert threads.keys() == {"_decode_members", "cache_key", "prompt_weight", "chat"}
    assert set().union(*threads.values()) == {"large-bodies"}


def test_a_client_that_leaves_while_its_request_waits_gives_its_place_back(replies: Replies) -> None:
    with replies.stack(ZTOAPI_GLOBAL_MAX_CONCURRENCY="1", ZTOAPI_MAX_IN_FLIGHT="2") as stack:
        with occupied(stack):
            for case in ("chat", "messages", "responses"):
                with post(stack, *LARGE[case]):
                    pass
                stack.wait_for(lambda: not stack.application.admission.in_flight)
        assert stack.application.context.buffers.used == 0
        assert [stack.record(number).ending for number in (1, 2, 3)] == [Ending.CLIENT_DISCONNECT] * 3
        assert not replies.bodies
        with post(stack, *LARGE["messages"]) as client:
            assert client.answer("POST").status == 200
        assert text_of(ask(stack, stream=False)) == "Good day"


def test_the_translation_of_a_large_request_is_that_of_a_small_one(replies: Replies) -> None:
    with replies.stack("zai") as stack:
        for case in ("messages", "responses"):
            path, fields = LARGE[case]
            field = "messages" if "messages" in fields else "input"
            small = {**fields, field: [*TURNS, HELLO]}
            sent = httpx.post(stack.url + path, json={"model": "m", **small})
            assert sent.status_code == 200
            with post(stack, path, fields) as client:
                assert client.answer("POST").status == 200
            first, second = replies.bodies[-2:]
            assert second["messages"] == TURNS * 1200 + [HELLO]
            assert first["messages"] == [*TURNS, HELLO]
            assert {**first, "messages": 0} == {**second, "messages": 0}


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("/v1/chat/completions", {"messages": [{"a": 1}] * BODY_VALUES}, "messages"),
        ("/v1/chat/completions", {"messages": [HELLO], "tools": [{"a": 1}] * BODY_VALUES}, "tools"),
        ("/v1/messages", {"max_tokens": 1, "messages": [{**HELLO, "content": [{}] * BODY_VALUES}]}, "messages"),
        ("/v1/messages/count_tokens", {"messages": [{}] * BODY_VALUES}, "messages"),
        ("/v1/responses", {"input": [{}] * BODY_VALUES}, "input"),
        ("/v1/responses/input_tokens", {"input": [{}] * BODY_VALUES}, "input"),
        ("/v1/completions", {"prompt": [1] * BODY_VALUES}, "prompt"),
    ],
)
def test_too_many_values_are_refused(shared: Stack, path: str, fields: Mapping[str, object], param: str) -> None:
    refused = httpx.post(shared.url + path, json={"model": "m", **fields})
    error = refused.json()["error"]
    assert refused.status_code == 413
    assert f"{param} is too large" in error["message"]
    assert error["type" if "messages" in path else "code"] == "request_too_large"


@pytest.mark.parametrize("case", ["chat", "messages", "responses"])
def test_10000_messages_are_served(replies: Replies, case: str) -> None:
    path, fields = LARGE[case]
    fields = {name: TURNS * 5_000 + [HELLO] if value is MANY else value for name, value in fields.items()}
    with replies.stack("zai") as stack, post(stack, path, fields) as client:
        assert client.answer("POST").status == 200
    assert len(replies.bodies[0]["messages"]) == 10_001
