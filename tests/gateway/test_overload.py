"""An overloaded gateway, through real sockets."""

import concurrent.futures
import json
import socket

import httpx

from tests.stack import Stack
from ztoapi.errors import Ending

CHAT = "/v1/chat/completions"


def body(model: str) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": "x"}]}


def holder(stack: Stack) -> socket.socket:
    """A client whose request takes a minute."""
    payload = json.dumps(body("glm-4.6:ttft=60000")).encode()
    client = socket.create_connection(("127.0.0.1", stack.port))
    client.sendall(
        b"POST %b HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n%b" % (CHAT.encode(), len(payload), payload)
    )
    return client


def test_health_is_answered_and_places_come_back() -> None:
    with (
        Stack(ZTOAPI_MAX_IN_FLIGHT="2", ZTOAPI_MAX_QUEUED="1", ZTOAPI_QUEUE_SECONDS="60") as stack,
        concurrent.futures.ThreadPoolExecutor(1) as thread,
    ):
        admission = stack.application.admission
        held = [holder(stack), holder(stack)]
        stack.wait_for(lambda: admission.in_flight == 2)
        waiting = thread.submit(httpx.post, stack.url + CHAT, json=body("glm-4.6"), timeout=20)
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
        endings = [record.ending for record in stack.application.recorder.recent if record.path == CHAT]
        assert endings.count(Ending.REJECTED) == 1
        assert endings.count(Ending.CLIENT_DISCONNECT) == 2
        assert endings.count(Ending.DONE) == 1
