"""An overloaded gateway, through real sockets."""

import concurrent.futures
import json
import socket
from pathlib import Path

import httpx

from tests.keys.files import add
from tests.stack import Stack
from ztoapi.errors import Ending

CHAT = "/v1/chat/completions"


def body(model: str) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": "x"}]}


def holder(stack: Stack, key: str = "") -> socket.socket:
    """A client whose request takes a minute."""
    payload = json.dumps(body("glm-4.6:ttft=60000")).encode()
    client = socket.create_connection(("127.0.0.1", stack.port))
    head = f"POST {CHAT} HTTP/1.1\r\nhost: localhost\r\nx-api-key: {key}\r\ncontent-length: {len(payload)}\r\n\r\n"
    client.sendall(head.encode() + payload)
    return client


def test_health_is_answered_and_places_come_back() -> None:
    with (
        Stack(ZTOAPI_MAX_IN_FLIGHT="2", ZTOAPI_MAX_QUEUED="1", ZTOAPI_QUEUE_SECONDS="60") as stack,
        concurrent.futures.ThreadPoolExecutor(1) as thread,
    ):
        admission = stack.application.admission
        held = [holder(stack), holder(stack)]
        stack.wait_for(lambda: admission.in_flight == 2)
        waiting = thread.submit(httpx.post, stack.url + CHAT, json=body("glm-4.6"))
        stack.wait_for(lambda: admission.waiting == 1)
        refused = httpx.post(stack.url + CHAT, json=body("glm-4.6"))
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        assert refused.json()["error"]["code"] == "overloaded"
        for path in ("/health", "/health/", "/livez", "/readyz"):
            assert httpx.get(stack.url + path).status_code == 200
        for client in held:
            client.close()
        assert waiting.result().status_code == 200
        stack.wait_for(lambda: admission.in_flight == 0)
        assert admission.waiting == 0
        endings = [record.ending for record in stack.records() if record.path == CHAT]
        assert endings.count(Ending.REJECTED) == 1
        assert endings.count(Ending.CLIENT_DISCONNECT) == 2
        assert endings.count(Ending.DONE) == 1


def test_a_key_of_high_priority_leaves_the_queue_first(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    urgent, normal = add(path, "urgent", priority="high"), add(path, "normal")

    def ask(stack: Stack, key: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {key}"}
        return httpx.post(stack.url + CHAT, json=body("glm-4.6"), headers=headers)

    with (
        Stack(
            ZTOAPI_MAX_IN_FLIGHT="1", ZTOAPI_MAX_QUEUED="1", ZTOAPI_QUEUE_SECONDS="60", ZTOAPI_KEY_FILE=str(path)
        ) as stack,
        concurrent.futures.ThreadPoolExecutor(2) as threads,
    ):
        admission = stack.application.admission
        with holder(stack, normal):
            stack.wait_for(lambda: admission.in_flight == 1)
            second = threads.submit(ask, stack, normal)
            stack.wait_for(lambda: admission.waiting == 1)
            third = threads.submit(ask, stack, urgent)
            assert second.result().status_code == 503
        assert third.result().status_code == 200
