"""What the gates have found for a remembered head equals what they find for a new one."""

import json
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.stack import Stack
from tests.support.serving import Client

BODY = json.dumps({"model": "glm-4.6", "messages": [{"role": "user", "content": "x"}]}).encode()
KEYS = (b"one", b"two", b"unknown", b"")


class Seen(NamedTuple):
    """A response and its record, without what differs in each request."""

    status: int
    headers: dict[str, str]
    error: bytes
    client: str | None
    key: str | None
    route: str
    user_agent: bytes | None
    trace_id: str | None


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    # Without bounds on wrong keys, so that the examples are independent.
    with Stack(
        API_KEYS="one,two",
        CORS_ORIGINS="http://page",
        toml='[server]\nmax_wrong_keys_per_minute = 0\ntrusted_proxies = ["127.0.0.1"]',
    ) as running:
        yield running


def fields(name: bytes, values: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    """A header line, or none."""
    return st.sampled_from([b"", *(b"%b: %b\r\n" % (name, value) for value in values)])


heads = st.tuples(
    st.sampled_from([b"POST", b"POST", b"POST", b"GET", b"OPTIONS", b"HEAD"]),
    st.sampled_from(
        [b"/v1/chat/completions", b"/v1/chat/completions", b"/v1/nowhere", b"/v1/models", b"/livez", b"/metrics"]
    ),
    fields(b"authorization", tuple(b"Bearer %b" % key for key in KEYS)),
    fields(b"x-api-key", KEYS),
    fields(b"origin", (b"http://page", b"http://elsewhere")),
    fields(b"content-encoding", (b"identity", b"gzip")),
    fields(b"x-request-id", (b"mine", b"not valid")),
    fields(b"user-agent", (b"agent", b"a" * 200)),
    fields(b"x-forwarded-for", (b"192.0.2.7",)),
    fields(b"traceparent", (b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",)),
)


def see(stack: Stack, client: Client, request: bytes) -> Seen:
    recorder = stack.application.recorder
    number = recorder.total + 1
    client.send(request)
    answer = client.answer(request.partition(b" ")[0].decode())
    stack.wait_for(lambda: recorder.total == number)
    record = recorder.recent[-1]
    assert answer.headers.pop("x-request-id") == record.request_id
    del answer.headers["date"]
    if answer.status == 200:
        # The metrics change.
        del answer.headers["content-length"]
    assert (record.request_id == "mine") == (b"x-request-id: mine" in request)
    error = answer.body if answer.status >= 400 else b""
    facts = record.client, record.key, record.route, record.user_agent, record.trace_id
    return Seen(answer.status, answer.headers, error, *facts)


@given(heads)
@settings(max_examples=60)
def test_every_reading_of_a_head_passes_the_gates_like_the_first(stack: Stack, head: tuple[bytes, ...]) -> None:
    method, path, *lines = head
    # No other example has the same head.
    unique = b"x-number: %d\r\n" % stack.application.recorder.total
    request = b"%b %b HTTP/1.1\r\nhost: localhost\r\n%b%bcontent-length: %d\r\n\r\n%b" % (
        method, path, b"".join(lines), unique, len(BODY), BODY
    )  # fmt: skip
    with Client(stack.port) as client, Client(stack.port) as other:
        first = see(stack, client, request)
        assert [see(stack, one, request) for one in (client, client, other, other)] == [first] * 4


def test_a_remembered_key_is_refused_at_an_address_that_has_sent_too_many_wrong_ones() -> None:
    with Stack(API_KEYS="right", toml="[server]\nmax_wrong_keys_per_minute = 2") as stack, Client(stack.port) as client:
        request = b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer %b\r\n\r\n"
        statuses = []
        for key in (b"right", b"right", b"wrong", b"wrong", b"wrong", b"right"):
            client.send(request % key)
            statuses.append(client.answer().status)
    assert statuses == [200, 200, 401, 401, 429, 429]
