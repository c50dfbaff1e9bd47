"""Requests to a gateway with a response cache, and the number of requests that reach its upstream."""

from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import msgspec

from tests.stack import Stack
from tests.support.serving import Client

__all__ = ["CHAT", "MODEL", "ask", "asked", "body", "cached", "counts", "send"]

CHAT = "/v1/chat/completions"
MODEL = "glm-4.6:tokens=20:itl=0"


def body(text: str = "Hello", **more: object) -> dict[str, object]:
    """A request that may be answered from the cache: ``temperature`` is 0."""
    return {"model": MODEL, "messages": [{"role": "user", "content": text}], "temperature": 0, **more}


@contextmanager
def cached(platform: str = "zai", **variables: str) -> Iterator[Stack]:
    with Stack(platform, options=None, ZTOAPI_CACHE_ENABLED="1", API_KEYS="one|two", **variables) as stack:
        yield stack


def ask(
    stack: Stack, text: str = "Hello", *, key: str = "one", headers: dict[str, str] | None = None, **more: object
) -> httpx.Response:
    return httpx.post(
        stack.url + CHAT, json=body(text, **more), headers={"authorization": f"Bearer {key}", **(headers or {})}
    )


def send(client: Client, text: str = "Hello", *, key: str = "one", fields: str = "", **more: object) -> None:
    """The same on a socket of the test's own."""
    client.post(CHAT, msgspec.json.encode(body(text, **more)), f"authorization: Bearer {key}\r\n{fields}")


def asked(stack: Stack) -> int:
    """How many requests the upstream has seen."""
    count = stack.stats()["requests"]
    assert isinstance(count, int)
    return count


def counts(stack: Stack) -> dict[str, float]:
    """The results and the contents that the cache reports."""
    cache = stack.application.response_cache
    assert cache is not None
    return {sample.first or sample.metric.removeprefix("ztoapi_cache_"): sample.value for sample in cache.samples()}
