"""Limits through real sockets: what each scope allows, the fields of the response, and the release of everything."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai
import pytest

from tests.keys.files import add
from tests.limits.redis_server import RedisServer
from tests.stack import Stack
from tests.support.serving import Client
from ztoapi.errors import Ending

CHAT = "/v1/chat/completions"


def body(model: str = "glm-4.6", **more: object) -> dict[str, object]:
    return {"model": model, "messages": [{"role": "user", "content": "Hello"}], **more}


def ask(stack: Stack, model: str = "glm-4.6", *, key: str = "one", **more: object) -> httpx.Response:
    return httpx.post(stack.url + CHAT, json=body(model, **more), headers={"authorization": f"Bearer {key}"})


@contextmanager
def limited(**variables: str) -> Iterator[Stack]:
    with Stack(options=None, API_KEYS="one|two", **variables) as stack:
        yield stack


def requests_at_upstream(stack: Stack) -> int:
    count = stack.stats()["requests"]
    assert isinstance(count, int)
    return count


def test_a_key_has_so_many_requests_and_another_key_its_own() -> None:
    with limited(ZTOAPI_KEY_REQUESTS_PER_MINUTE="2", ZTOAPI_IETF_HEADERS="1") as stack:
        first = ask(stack)
        assert first.headers["x-ratelimit-limit-requests"] == "2"
        assert first.headers["x-ratelimit-remaining-requests"] == "1"
        assert first.headers["x-ratelimit-reset-requests"].endswith("s")
        assert first.headers["ratelimit-policy"] == '"key_requests_per_minute";q=2;w=60'
        assert first.headers["ratelimit"].startswith('"key_requests_per_minute";r=1;t=')
        assert ask(stack).headers["x-ratelimit-remaining-requests"] == "0"
        denied = ask(stack)
        assert denied.status_code == 429
        error = denied.json()["error"]
        assert (error["type"], error["code"]) == ("requests", "rate_limit_exceeded")
        assert "this API key may take 2 requests a minute" in error["message"]
        assert denied.headers["x-ratelimit-remaining-requests"] == "0"
        assert 1 <= int(denied.headers["retry-after"]) <= 30
        assert int(denied.headers["retry-after-ms"]) <= 30_000
        assert ask(stack, key="two").status_code == 200
        assert requests_at_upstream(stack) == 3
        assert [record.ending for record in stack.records()].count(Ending.RATE_LIMITED) == 1
        limits = stack.application.rate_limits
        assert limits is not None
        assert limits.denied == {"key_requests_per_minute": 1}
        assert limits.granted == 3


def test_streams_carry_the_fields_too_and_sdks_know_the_error() -> None:
    with (
        limited(ZTOAPI_KEY_REQUESTS_PER_MINUTE="1") as stack,
        openai.OpenAI(base_url=stack.base_url, api_key="one", max_retries=0) as client,
    ):
        answer = client.chat.completions.with_raw_response.create(
            model="glm-4.6", messages=[{"role": "user", "content": "x"}], stream=True
        )
        assert answer.headers["x-ratelimit-remaining-requests"] == "0"
        assert list(answer.parse())
        with pytest.raises(openai.RateLimitError, match="try again in"):
            client.chat.completions.create(model="glm-4.6", messages=[{"role": "user", "content": "x"}])


def test_tokens_are_estimated_then_settled() -> None:
    with limited(ZTOAPI_KEY_TOKENS_PER_MINUTE="10000") as stack:
        first = ask(stack, max_tokens=5000)
        left = int(first.headers["x-ratelimit-remaining-tokens"])
        assert 4900 < left < 5000
        used = first.json()["usage"]["total_tokens"]
        second = ask(stack, max_tokens=5000)
        assert second.status_code == 200
        # The first one's estimate has made room for what it used.
        assert 10000 - used - 5100 < int(second.headers["x-ratelimit-remaining-tokens"]) <= 10000 - used - 5000 + 100


def test_more_tokens_than_there_can_be_take_the_whole_bucket() -> None:
    with limited(ZTOAPI_KEY_TOKENS_PER_MINUTE="1000") as stack:
        first = ask(stack, max_tokens=100_000)
        assert first.status_code == 200
        assert first.headers["x-ratelimit-remaining-tokens"] == "0"
        assert ask(stack, max_tokens=100).status_code == 200


def test_a_failed_request_gives_its_tokens_back() -> None:
    with limited(ZTOAPI_KEY_TOKENS_PER_MINUTE="1000") as stack:
        for _ in range(5):
            assert ask(stack, "glm-4.6:fault=1210", max_tokens=900).status_code == 400
        assert ask(stack, max_tokens=900).status_code == 200


def test_missing_tokens_are_reported() -> None:
    with limited(ZTOAPI_KEY_TOKENS_PER_MINUTE="1000") as stack:
        with holding(stack, "one"):
            denied = ask(stack, max_tokens=900)
        assert denied.status_code == 429
        assert denied.json()["error"]["type"] == "tokens"
        assert denied.headers["x-ratelimit-limit-tokens"] == "1000"


@contextmanager
def holding(stack: Stack, key: str, model: str = "glm-4.6:ttft=60000") -> Iterator[socket.socket]:
    """A request of ``key`` is in hand, until the client goes away."""
    payload = json.dumps(body(model, max_tokens=900)).encode()
    before = stack.application.admission.in_flight
    with socket.create_connection(("127.0.0.1", stack.port)) as client:
        client.sendall(
            b"POST %b HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer %b\r\ncontent-length: %d\r\n\r\n%b"
            % (CHAT.encode(), key.encode(), len(payload), payload)
        )
        stack.wait_for(lambda: stack.application.admission.in_flight == before + 1)
        yield client
    stack.wait_for(lambda: stack.application.admission.in_flight == before)


def test_so_many_at_a_time_and_a_client_that_leaves_gives_its_place_back() -> None:
    with limited(ZTOAPI_KEY_MAX_CONCURRENCY="1") as stack:
        with holding(stack, "one"):
            denied = ask(stack)
            assert denied.status_code == 429
            assert denied.json()["error"]["code"] == "concurrency_limit_exceeded"
            assert denied.headers["retry-after"] == "1"
            assert ask(stack, key="two").status_code == 200
        for _ in range(3):
            assert ask(stack).status_code == 200


def test_limits_of_models_addresses_and_all_requests() -> None:
    with limited(ZTOAPI_MODEL_MAX_CONCURRENCY="1") as stack, holding(stack, "one", "glm-4.6:ttft=60001"):
        assert "this model" in ask(stack, "GLM-4.6:ttft=60001").json()["error"]["message"]
        assert ask(stack, "glm-4.5").status_code == 200
    with limited(ZTOAPI_ADDRESS_REQUESTS_PER_MINUTE="1", ZTOAPI_TRUSTED_PROXIES="127.0.0.1") as stack:
        headers = {"authorization": "Bearer one"}
        for address, status in (("9.9.9.9", 200), ("9.9.9.9", 429), ("8.8.8.8", 200)):
            forwarded = {**headers, "x-forwarded-for": address}
            assert httpx.post(stack.url + CHAT, json=body(), headers=forwarded).status_code == status
    with limited(ZTOAPI_GLOBAL_REQUESTS_PER_SECOND="1", ZTOAPI_GLOBAL_BURST="2") as stack:
        answers = [ask(stack, key=key) for key in ("one", "two", "one", "two")]
        assert [answer.status_code for answer in answers][:2] == [200, 200]
        assert "the gateway may take 1 requests a second" in answers[-1].text or answers[-1].status_code == 200


def test_names_of_claude_share_the_limit_of_their_model() -> None:
    with limited(ZTOAPI_MODEL_REQUESTS_PER_MINUTE="1") as stack:
        answers = [
            ask(stack, name) for name in ("claude-a", "CLAUDE-zz", "claude-opus-4-8[1m]", "claude-glm-5.3", "GLM-5.3")
        ]
        assert [answer.status_code for answer in answers] == [200, 429, 429, 429, 429]
        assert [ask(stack, name).status_code for name in ("claude-haiku-4-5", "glm-4.5-air", "glm-4.6")] == [
            200,
            429,
            200,
        ]


def test_a_denial_by_one_scope_costs_nothing_in_another() -> None:
    with limited(ZTOAPI_KEY_REQUESTS_PER_MINUTE="1", ZTOAPI_GLOBAL_REQUESTS_PER_MINUTE="2") as stack:
        assert ask(stack).status_code == 200
        for _ in range(5):
            assert ask(stack).status_code == 429
        assert ask(stack, key="two").status_code == 200


def test_a_stream_is_paced_and_complete() -> None:
    with limited(ZTOAPI_KEY_BANDWIDTH_BYTES_PER_SECOND="100000") as stack:
        response = ask(stack, "glm-4.6:size=20000:tokens=10:reasoning=0", stream=True)
        assert response.text.count('"content":') >= 10
        assert response.text.endswith("data: [DONE]\n\n")
        record = stack.record()
        # 200 KB at 100 KB a second, of which one second's worth goes at once. A slow machine only takes longer.
        assert record.finished is not None and record.first_byte is not None
        assert record.finished - record.first_byte > 0.5


@pytest.mark.parametrize("transport", ["native", "httpx"])
def test_a_paced_stream_comes_in_pieces_of_a_tenth_of_a_second(transport: str) -> None:
    with limited(ZTOAPI_KEY_BANDWIDTH_BYTES_PER_SECOND="100000", ZTOAPI_TRANSPORT=transport) as stack:
        # The upstream has all of it there at once.
        model = "glm-4.6:size=1000:tokens=64:reasoning=0:itl=0:epw=64"
        with Client(stack.port) as client:
            payload = json.dumps(body(model, stream=True)).encode()
            client.send(
                b"POST %b HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer one\r\ncontent-length: %d\r\n\r\n%b"
                % (CHAT.encode(), len(payload), payload)
            )
            chunks = client.until(b"\r\n0\r\n\r\n").partition(b"\r\n\r\n")[2]
        sizes = []
        while chunks:
            line, _, rest = chunks.partition(b"\r\n")
            sizes.append(int(line, 16))
            chunks = rest[sizes[-1] + 2 :]
        # A piece, and the part of an event that the one before it has left.
        assert sum(sizes) > 64_000 and max(sizes) < 12_000


def test_keys_of_the_file_have_limits_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    alice = add(path, "alice", requests_per_minute=1)
    bob = add(path, "bob")
    with Stack(ZTOAPI_KEY_FILE=str(path), ZTOAPI_KEY_REQUESTS_PER_MINUTE="3") as stack:
        assert [ask(stack, key=alice).status_code for _ in range(2)] == [200, 429]
        assert [ask(stack, key=bob).status_code for _ in range(4)] == [200, 200, 200, 429]
        # A new key, and the old one unchanged: its bucket is not filled by a reload.
        carol = add(path, "carol", requests_per_minute=2)
        stack.call(reload(stack))
        assert [ask(stack, key=carol).status_code for _ in range(3)] == [200, 200, 429]
        assert ask(stack, key=alice).status_code == 429
        limits = stack.application.rate_limits
        assert limits is not None
        assert set(limits.denied) == {"key_requests_per_minute"}


async def reload(stack: Stack) -> None:
    assert stack.application.keys.reload()


def test_refused_requests_are_not_counted() -> None:
    with limited(ZTOAPI_KEY_REQUESTS_PER_MINUTE="1") as stack:
        bad = httpx.post(stack.url + CHAT, json={"model": 1}, headers={"authorization": "Bearer one"})
        assert bad.status_code == 400
        assert ask(stack, key="nobody").status_code == 401
        assert ask(stack).status_code == 200


def test_zread_and_its_client_that_leaves(tmp_path: Path) -> None:
    with Stack("zread", ZREAD_REPOSITORY="a/b", ZTOAPI_MODEL_MAX_CONCURRENCY="1") as stack:
        for _ in range(2):
            response = httpx.post(stack.url + CHAT, json=body())
            assert response.status_code == 200, response.text


@pytest.mark.usefixtures("_patient_limiter")
def test_two_gateways_share_limits_by_redis(tmp_path: Path) -> None:
    with RedisServer(tmp_path) as redis:
        shared = {
            "REDIS_URL": redis.url,
            "ZTOAPI_KEY_REQUESTS_PER_MINUTE": "20",
            "ZTOAPI_KEY_TOKENS_PER_MINUTE": "1000000",
            "ZTOAPI_GATEWAYS": "2",
        }
        with limited(**shared) as one, limited(**shared) as other:
            answers = [ask(stack) for _ in range(20) for stack in (one, other)]
            granted = [answer.status_code for answer in answers].count(200)
            # The reserve of a lease can be at the gateway that does not need it.
            assert 16 <= granted <= 20
            assert answers[0].headers["x-ratelimit-limit-requests"] == "20"
            assert "this API key may take 20 requests a minute" in answers[-1].text
            redis.kill()
            limiter = one.application._redis
            assert limiter is not None
            while not limiter.statistics().away:
                # The last refusal is believed for a moment.
                ask(one)
            # Each decides by its share then, which is a bucket of its own.
            assert 1 <= [ask(one).status_code for _ in range(12)].count(200) <= 10
            redis.start()


@pytest.mark.usefixtures("_patient_limiter")
def test_more_tokens_than_there_can_be_take_the_whole_bucket_of_redis_or_of_a_share(tmp_path: Path) -> None:
    with (
        RedisServer(tmp_path) as redis,
        limited(REDIS_URL=redis.url, ZTOAPI_GATEWAYS="4", ZTOAPI_KEY_TOKENS_PER_MINUTE="1000") as stack,
    ):
        for key in ("one", "two"):
            first = ask(stack, max_tokens=100_000, key=key)
            assert first.status_code == 200
            assert first.headers["x-ratelimit-remaining-tokens"] == "0"
            redis.kill()


def test_without_redis_requests_are_refused_if_so_configured(tmp_path: Path) -> None:
    with limited(
        REDIS_URL=f"unix://{tmp_path}/none.sock", ZTOAPI_ON_STORE_ERROR="deny", ZTOAPI_KEY_REQUESTS_PER_MINUTE="20"
    ) as stack:
        denied = ask(stack)
        assert denied.status_code == 503
        assert denied.json()["error"]["code"] == "limits_unavailable"
        assert denied.headers["retry-after"] == "1"
        assert httpx.get(stack.url + "/health").status_code == 200


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("203.0.113.7:5001", "203.0.113.7:5002"),
        ("[2001:db8::1]:5001", "[2001:db8::1]:5002"),
        ("203.0.113.7:5001", "203.0.113.7"),
        ("203.0.113.7, 10.0.0.9:4444", "203.0.113.7, 10.0.0.9:4445"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("2001:db8::1", "2001:db8::2"),
        ("_one", "_two"),
    ],
)
def test_a_client_behind_proxies_is_one_address_however_it_is_written(first: str, second: str) -> None:
    with limited(ZTOAPI_TRUSTED_PROXIES="::ffff:127.0.0.1,10.0.0.0/8", ZTOAPI_ADDRESS_REQUESTS_PER_MINUTE="1") as stack:
        headers = {"authorization": "Bearer one"}
        statuses = [
            httpx.post(stack.url + CHAT, json=body(), headers={**headers, "x-forwarded-for": forwarded}).status_code
            for forwarded in (first, second, "198.51.100.1")
        ]
        assert statuses == [200, 429, 200]
