"""Users that stream chats and time what matters: first token, gaps between tokens, the whole answer.

Against the demo: ``ztoapi demo`` in one terminal, then
``locust -f loadtests/locustfile.py --headless -u 20 -r 20 -t 15s -H http://127.0.0.1:9090``
"""

import os
import time

from locust import FastHttpUser, constant, task

KEY = os.environ.get("ZTOAPI_KEY", "any")
MODEL = os.environ.get("ZTOAPI_MODEL", "glm-4.6")


class StreamingUser(FastHttpUser):
    """Asks, reads the answer line by line as it comes, asks again."""

    wait_time = constant(0)

    @task
    def chat(self) -> None:
        body = {"model": MODEL, "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
        start = last = time.perf_counter()
        done, first = False, True
        headers = {"authorization": f"Bearer {KEY}"}
        with self.client.post(
            "/v1/chat/completions", json=body, headers=headers, stream=True, catch_response=True, name="stream head"
        ) as response:
            if response.status_code != 200:
                response.failure(f"status {response.status_code}")
                return
            # iter_lines reads in blocks of 1 KB, which would time the block instead of the event.
            while line := response._response.readline(b"\n"):
                now = time.perf_counter()
                if line.startswith(b"data: {"):
                    self.report("TTFT" if first else "ITL", now - last)
                    last, first = now, False
                done = done or line.startswith(b"data: [DONE]")
        self.report("E2E", time.perf_counter() - start, None if done else RuntimeError("no [DONE]"))

    def report(self, name: str, seconds: float, error: Exception | None = None) -> None:
        self.environment.events.request.fire(
            request_type="SSE", name=name, response_time=seconds * 1000, response_length=0, exception=error, context={}
        )
