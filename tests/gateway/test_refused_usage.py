"""An upstream that refuses stream_options, which the gateway adds to count tokens."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.gateway.replies import GOOD, Replies, Reply, ask, streamed, text_of, whole

FASTAPI = b'{"detail":[{"loc":["body","stream_options"],"msg":"Extra inputs are not permitted"}]}'
OPENAI = (
    b'{"error":{"message":"Unrecognized request argument supplied: stream_options","type":"invalid_request_error"}}'
)
NESTED = b'{"error":{"code":400,"message":"include_usage: unknown field"}}'


def refusing(refusal: Reply) -> Callable[[dict[str, Any]], Reply]:
    return lambda body: refusal if "stream_options" in body else streamed(*GOOD)


@pytest.mark.parametrize(
    "refusal",
    [
        whole(FASTAPI, b"422 Unprocessable Entity"),
        whole(OPENAI, b"400 Bad Request"),
        whole(NESTED),
        streamed(b": hi\n\n", b"data: %b\n\n" % NESTED),
    ],
)
@pytest.mark.parametrize("alias", [False, True])
def test_one_further_attempt_leaves_it_out_and_that_is_remembered(refusal: Reply, alias: bool) -> None:
    settings = {"MODEL_PLATFORM_MAP": '{"glm-4.6":{"platform":"openai","upstream":"m"}}'} if alias else {}
    with (
        Replies(refusing(refusal)) as upstream,
        upstream.stack(ZTOAPI_MAX_TRIES="1", **settings) as stack,
    ):
        assert text_of(ask(stack)) == "Good day"
        assert ["stream_options" in body for body in upstream.bodies] == [True, False]
        record = stack.record()
        assert (record.attempts, record.usage) == (2, None)
        assert text_of(ask(stack)) == "Good day"
        assert ["stream_options" in body for body in upstream.bodies] == [True, False, False]
        assert stack.application.upstreams["openai"].statistics().credentials[0].failures == {}


def test_it_is_tried_again_after_some_time() -> None:
    with Replies(refusing(whole(FASTAPI, b"422 X"))) as upstream, upstream.stack() as stack:
        assert text_of(ask(stack)) == "Good day"
        stack.application.upstreams["openai"].no_usage_until -= 3600.0
        assert text_of(ask(stack)) == "Good day"
        assert ["stream_options" in body for body in upstream.bodies] == [True, False] * 2


def test_a_client_that_wants_usage_gets_the_refusal() -> None:
    with Replies(refusing(whole(FASTAPI, b"422 X"))) as upstream, upstream.stack() as stack:
        response = ask(stack, stream_options={"include_usage": True})
        error = response.json()["error"]
        assert (response.status_code, error["param"]) == (400, "stream_options")
        assert "Extra inputs are not permitted" in error["message"]
        assert len(upstream.bodies) == 1


def test_the_client_s_own_options_stay() -> None:
    def reply(body: dict[str, Any]) -> Reply:
        return whole(FASTAPI, b"422 X") if "include_usage" in json.dumps(body) else streamed(*GOOD)

    with Replies(reply) as upstream, upstream.stack() as stack:
        assert text_of(ask(stack, stream_options={"x": 1})) == "Good day"
        assert upstream.bodies[1]["stream_options"] == {"x": 1}


def test_one_that_refuses_the_request_as_well_is_not_remembered() -> None:
    with Replies(lambda _: whole(FASTAPI, b"422 X")) as upstream, upstream.stack() as stack:
        for count in (2, 4):
            assert ask(stack).status_code == 400
            assert len(upstream.bodies) == count
