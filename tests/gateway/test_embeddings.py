"""Embeddings through the gateway, as OpenAI's SDK requests them."""

import httpx
import openai
import pytest

from tests.gateway.replies import Replies, streamed, whole
from tests.stack import Stack

PATH = "/v1/embeddings"
LIST = b'{"object":"list", "data":[],"model":"m","usage":{"prompt_tokens":3,"total_tokens":3}}'


def ask(stack: Stack, **fields: object) -> httpx.Response:
    return httpx.post(stack.url + PATH, json={"model": "m", "input": "Hello", **fields})


@pytest.mark.parametrize("platform", ["zai", "openai"])
def test_embeddings_of_the_sdk(platform: str) -> None:
    with (
        Stack(platform, toml='upstream_model_id_map = { "public" = "embedding-3" }\n') as stack,
        openai.OpenAI(base_url=stack.base_url, api_key="any", max_retries=0) as client,
    ):
        made = client.embeddings.create(model="public", input=["one", "two"], dimensions=4)
        floats = client.embeddings.create(model="public", input=["one", "two"], dimensions=4, encoding_format="float")
        record = stack.record()
    assert [len(each.embedding) for each in made.data] == [4, 4]
    assert made.data[0].embedding == pytest.approx(floats.data[0].embedding)
    assert made.model == "public"
    assert record.usage is not None
    assert (record.route, record.status, record.usage.total_tokens) == (PATH, 200, made.usage.total_tokens)


def test_bytes_stay_the_same() -> None:
    with Replies(lambda _: whole(LIST)) as replies, replies.stack() as stack:
        got = ask(stack, user="u", unknown={"a": 1})
    assert got.content == LIST
    assert replies.bodies == [{"model": "m", "input": "Hello", "user": "u", "unknown": {"a": 1}}]


@pytest.mark.parametrize(
    ("fields", "param"),
    [({"input": None, "model": ""}, "model"), ({"stream": True}, "stream"), ({"model": 3}, "model")],
)
def test_invalid_requests(shared: Stack, fields: dict[str, object], param: str) -> None:
    got = ask(shared, **fields)
    assert (got.status_code, got.json()["error"]["param"]) == (400, param)
    assert httpx.post(shared.url + PATH, json={"model": "m"}).json()["error"]["param"] == "input"


def test_platforms_without_embeddings() -> None:
    with Stack("zai_web") as stack:
        got = ask(stack)
    assert (got.status_code, got.json()["error"]["code"]) == (400, "unsupported_model")


@pytest.mark.parametrize(("fault", "status"), [("1302", 429), ("1211", 404), ("1000", 502), ("html_200", 502)])
def test_failures_of_the_upstream(fault: str, status: int) -> None:
    with Stack(ZTOAPI_MAX_TRIES="1") as stack:
        got = ask(stack, model=f"m:fault={fault}")
    assert got.status_code == status
    assert set(got.json()["error"]) == {"message", "type", "param", "code"}


def test_a_stream_is_no_embedding() -> None:
    with Replies(lambda _: streamed(b"data: {}\n\n")) as replies, replies.stack(ZTOAPI_MAX_TRIES="1") as stack:
        assert ask(stack).status_code == 502


def test_limits() -> None:
    with Stack(toml="[limits.global]\nrequests_per_minute = 1\n") as stack:
        assert [ask(stack).status_code for _ in range(2)] == [200, 429]


@pytest.mark.parametrize("fields", [{}, {"max_tokens": 900}, {"max_output_tokens": 900}])
def test_no_tokens_are_reserved_for_a_response(fields: dict[str, object]) -> None:
    with Stack(toml="[limits.global]\ntokens_per_minute = 1000\n") as stack:
        got = ask(stack, **fields)
    assert (got.status_code, got.json()["usage"]["total_tokens"]) == (200, 2)
    assert int(got.headers["x-ratelimit-remaining-tokens"]) > 980


def test_vectors_are_not_charged_as_text() -> None:
    body = b'{"object":"list","data":[%b],"model":"m"}' % b",".join([b"0.123456"] * 1000)
    limits = "[limits.global]\ntokens_per_minute = 1000\n"
    with Replies(lambda _: whole(body)) as replies, replies.stack(toml=limits) as stack:
        left = [int(ask(stack).headers["x-ratelimit-remaining-tokens"]) for _ in range(2)]
    assert left[1] > 950
