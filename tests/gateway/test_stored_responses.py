"""The stateful part of the Responses API, with a store in memory, in Redis, and without one."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import openai
import pytest
from redis import Redis

from tests.limits.redis_server import RedisServer
from tests.stack import Stack

Fields = dict[str, object]
RESPONSES = "/v1/responses"


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture(params=["memory", "redis"])
def storing(request: pytest.FixtureRequest) -> Iterator[Stack]:
    """A gateway with two client keys and each kind of store."""
    if request.param == "memory":
        with in_memory(API_KEYS="one|two") as stack:
            yield stack
    else:
        with in_redis(request.getfixturevalue("redis"), API_KEYS="one|two") as stack:
            yield stack


def in_memory(**variables: str) -> Stack:
    return Stack(options=None, ZTOAPI_RESPONSES_STORE="memory", **variables)


@contextmanager
def in_redis(redis: RedisServer, **variables: str) -> Iterator[Stack]:
    with Stack(options=None, REDIS_URL=redis.url, ZTOAPI_RESPONSES_STORE="redis", **variables) as stack:
        wait_until_up(stack)
        yield stack


def wait_until_up(stack: Stack, *, up: bool = True) -> None:
    store = stack.application._response_store
    assert store is not None
    stack.wait_for(lambda: store.up is up)


def call(stack: Stack, method: str, path: str, body: Fields | None = None, *, key: str = "one") -> httpx.Response:
    return httpx.request(method, stack.url + path, json=body, headers={"authorization": f"Bearer {key}"})


def create(stack: Stack, text: str, *, key: str = "one", **more: object) -> httpx.Response:
    return call(stack, "POST", RESPONSES, {"model": "glm-5.3", "input": text, **more}, key=key)


def last_event(response: httpx.Response) -> Fields:
    found: Fields = json.loads(response.text.rstrip().rpartition("data: ")[2])
    return found


@pytest.mark.parametrize("stream", [False, True])
def test_a_conversation_continues(storing: Stack, stream: bool) -> None:
    answer = create(storing, "Remember: blue.", stream=stream)
    first = last_event(answer)["response"] if stream else answer.json()
    assert isinstance(first, dict)
    assert first["store"] is True
    whole = call(storing, "POST", f"{RESPONSES}/input_tokens", {"model": "glm-5.3", "input": "Which colour?"}).json()
    more = {"previous_response_id": first["id"]}
    counted = call(
        storing, "POST", f"{RESPONSES}/input_tokens", {"model": "glm-5.3", "input": "Which colour?", **more}
    ).json()
    assert counted["input_tokens"] > whole["input_tokens"]
    second = create(storing, "Which colour?", **more).json()
    assert second["previous_response_id"] == first["id"]
    assert second["usage"]["input_tokens"] > first["usage"]["input_tokens"]
    items = call(storing, "GET", f"{RESPONSES}/{second['id']}/input_items?order=asc").json()["data"]
    types = [item["type"] for item in items]
    assert types == ["message", *(item["type"] for item in first["output"]), "message"]
    assert items[0]["content"] == "Remember: blue."
    assert items[-1]["content"] == "Which colour?"
    # A third turn has the items of both.
    third = create(storing, "Sure?", previous_response_id=second["id"]).json()
    assert third["usage"]["input_tokens"] > second["usage"]["input_tokens"]


def test_a_response_is_retrieved_and_deleted(storing: Stack) -> None:
    made = create(storing, "Hello").json()
    path = f"{RESPONSES}/{made['id']}"
    assert call(storing, "GET", path).json() == made
    assert call(storing, "HEAD", path).status_code == 200
    assert call(storing, "GET", path.removeprefix("/v1")).json() == made
    assert call(storing, "DELETE", path).json() == {"id": made["id"], "object": "response", "deleted": True}
    for method in ("GET", "DELETE"):
        assert call(storing, method, path).status_code == 404
    continued = create(storing, "more", previous_response_id=made["id"])
    assert (continued.status_code, continued.json()["error"]["code"]) == (400, "previous_response_not_found")
    assert continued.json()["error"]["param"] == "previous_response_id"


def test_a_stream_and_its_record_are_the_same(storing: Stack) -> None:
    done = last_event(create(storing, "Hello", stream=True))["response"]
    assert isinstance(done, dict)
    assert call(storing, "GET", f"{RESPONSES}/{done['id']}").json() == done


def test_no_key_reads_the_response_of_another(storing: Stack) -> None:
    id = create(storing, "Hello").json()["id"]
    path = f"{RESPONSES}/{id}"
    refused = [call(storing, method, path, key="two") for method in ("GET", "DELETE")]
    refused += [
        call(storing, "GET", f"{path}/input_items", key="two"),
        call(storing, "POST", f"{path}/cancel", key="two"),
    ]
    for answer in refused:
        assert (answer.status_code, answer.json()["error"]["message"]) == (404, f"Response with id '{id}' not found.")
    assert create(storing, "more", key="two", previous_response_id=id).status_code == 400
    assert call(storing, "GET", path).status_code == 200
    assert httpx.get(storing.url + path).status_code == 401


def test_a_response_is_not_stored_if_the_client_refuses(storing: Stack) -> None:
    made = create(storing, "Hello", store=False).json()
    assert made["store"] is False
    assert call(storing, "GET", f"{RESPONSES}/{made['id']}").status_code == 404


def test_a_response_that_failed_is_not_stored() -> None:
    with in_memory() as stack:
        body = {"model": "glm-4.6:fault=truncate", "input": "a", "stream": True}
        received = b""
        with (
            pytest.raises(httpx.RemoteProtocolError),
            httpx.stream("POST", stack.url + RESPONSES, json=body) as answer,
        ):
            for piece in answer.iter_raw():
                received += piece
        id = json.loads(received.decode().rstrip().rpartition("data: ")[2])["response"]["id"]
        assert httpx.get(f"{stack.url}{RESPONSES}/{id}").status_code == 404


def test_pages_of_input_items(storing: Stack) -> None:
    items = [{"role": "user", "content": str(number)} for number in range(5)]
    id = call(storing, "POST", RESPONSES, {"model": "glm-5.3", "input": items}).json()["id"]
    path = f"{RESPONSES}/{id}/input_items"
    newest = call(storing, "GET", f"{path}?limit=2").json()
    assert [item["content"] for item in newest["data"]] == ["4", "3"]
    assert newest["has_more"]
    rest = call(storing, "GET", f"{path}?limit=100&after={newest['last_id']}").json()
    assert [item["content"] for item in rest["data"]] == ["2", "1", "0"]
    for query, param in (("limit=0", "limit"), ("limit=x", "limit"), ("order=up", "order"), ("after=x", "after")):
        refused = call(storing, "GET", f"{path}?{query}")
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, param)


def test_a_complete_response_cannot_be_cancelled(storing: Stack) -> None:
    id = create(storing, "Hello").json()["id"]
    refused = call(storing, "POST", f"{RESPONSES}/{id}/cancel")
    assert refused.status_code == 400
    assert "background=true" in refused.json()["error"]["message"]


def test_openai_s_library_uses_the_store(storing: Stack) -> None:
    with openai.OpenAI(base_url=storing.base_url, api_key="one", max_retries=0) as client:
        first = client.responses.create(model="glm-5.3", input="Hello")
        second = client.responses.create(model="glm-5.3", input="More", previous_response_id=first.id)
        assert client.responses.retrieve(second.id).output_text == second.output_text
        items = list(client.responses.input_items.list(second.id, limit=1, order="asc"))
        assert len(items) == 2 + len(first.output)
        client.responses.delete(second.id)
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(second.id)
        with pytest.raises(openai.BadRequestError):
            client.responses.cancel(first.id)
        with pytest.raises(openai.BadRequestError):
            client.responses.create(model="glm-5.3", input="More", previous_response_id=second.id)


@pytest.mark.parametrize("path", ["", "/input_items", "/cancel"])
def test_without_a_store_there_are_no_responses(shared: Stack, path: str) -> None:
    method = "POST" if path == "/cancel" else "GET"
    answer = httpx.request(method, f"{shared.url}{RESPONSES}/resp_1{path}")
    assert answer.status_code == 404
    assert answer.json()["error"] == {
        "message": "Response with id 'resp_1' not found.",
        "type": "invalid_request_error",
        "param": None,
        "code": "response_not_found",
    }
    assert httpx.delete(f"{shared.url}{RESPONSES}/resp_1").status_code == 404


def test_compaction_does_not_exist(shared: Stack) -> None:
    answer = httpx.post(f"{shared.url}{RESPONSES}/compact", json={"model": "glm-5.3", "input": "a"})
    assert answer.status_code == 404
    assert "compaction" in answer.json()["error"]["message"]


def test_a_broken_id_is_refused(shared: Stack) -> None:
    answer = httpx.get(f"{shared.url}{RESPONSES}/%zz")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_path")


def test_a_record_that_is_too_large_is_not_stored() -> None:
    with in_memory(ZTOAPI_RESPONSES_MAX_BYTES="1000") as stack:
        for stream in (False, True):
            body = {"model": "glm-5.3", "input": "x" * 2000, "stream": stream}
            answer = httpx.post(stack.url + RESPONSES, json=body)
            made = last_event(answer)["response"] if stream else answer.json()
            assert isinstance(made, dict)
            assert (made["status"], made["store"]) == ("completed", False)
            assert httpx.get(f"{stack.url}{RESPONSES}/{made['id']}").status_code == 404


def test_two_gateways_share_responses(redis: RedisServer) -> None:
    with in_redis(redis) as one, in_redis(redis) as two:
        id = create(one, "Hello").json()["id"]
        assert create(two, "More", previous_response_id=id).status_code == 200


def test_redis_holds_no_names(redis: RedisServer) -> None:
    with in_redis(redis, API_KEYS="one") as stack:
        id = create(stack, "Hello").json()["id"]
        with Redis.from_url(redis.url) as client:
            keys = client.keys()
            assert isinstance(keys, list)
            (key,) = keys
            assert key.startswith(b"ztoapi:response:")
            assert id.encode() not in key
            left = client.pttl(key)
        assert isinstance(left, int)
        assert 86_300_000 < left <= 86_400_000


def test_an_unreachable_store_is_not_hidden(redis: RedisServer) -> None:
    with in_redis(redis) as stack:
        id = create(stack, "Hello").json()["id"]
        redis.kill()
        # The first one finds it out, when it has been announced as stored; the next one is not announced so.
        for _ in range(2):
            answer = create(stack, "Hello", stream=True)
            last = last_event(answer)
            assert last["type"] == "response.completed"
            assert last["response"]["store"] is False  # type: ignore[index]
        assert '"store":true' not in answer.text
        refused = create(stack, "More", previous_response_id=id)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "store_unavailable")
        assert "retry-after" in refused.headers
        assert call(stack, "GET", f"{RESPONSES}/{id}").status_code == 503
        checks = httpx.get(stack.url + "/health").json()["checks"]
        assert checks["redis:responses"][0]["status"] == "warn"
        redis.start()
        wait_until_up(stack)
        assert create(stack, "Hello").json()["store"] is True
        # The server has started empty: a record is gone, and that is no failure of the store.
        assert call(stack, "GET", f"{RESPONSES}/{id}").status_code == 404


def test_a_full_redis_stores_nothing(redis: RedisServer) -> None:
    with in_redis(redis) as stack:
        id = create(stack, "Hello").json()["id"]
        with Redis.from_url(redis.url) as client:
            client.config_set("maxmemory", 1)
        assert create(stack, "Hello").json()["store"] is False
        assert call(stack, "GET", f"{RESPONSES}/{id}").status_code == 200


def test_a_client_that_leaves_while_its_response_is_stored(redis: RedisServer) -> None:
    with in_redis(redis) as stack:
        redis.stop()
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(stack.url + RESPONSES, json={"model": "glm-5.3:itl=0:tokens=2", "input": "a"}, timeout=0.5)
        stack.wait_for(lambda: stack.application.recorder.total >= 1)
        redis.go_on()
        assert create(stack, "Hello").status_code == 200


@pytest.mark.parametrize("path", ["", "/input_tokens"])
def test_references_stand_for_stored_items(storing: Stack, path: str) -> None:
    prompt = 'Add. [simulate:add{"a":2,"b":3}>"Done."]'
    tool = {"type": "function", "name": "add", "parameters": {"type": "object"}}
    user: Fields = {"role": "user", "content": prompt}
    first = create(storing, prompt, tools=[tool], store=True).json()
    (call_id,) = [item["call_id"] for item in first["output"] if item["type"] == "function_call"]
    output = {"type": "function_call_output", "call_id": call_id, "output": "5"}
    references = [{"type": "item_reference", "id": item["id"]} for item in first["output"]]
    asked: Fields = {"model": "glm-5.3", "tools": [tool], "input": [user, *references, output]}
    whole: Fields = {**asked, "input": [user, *first["output"], output]}
    by_reference, sent = (call(storing, "POST", RESPONSES + path, each).json() for each in (asked, whole))
    usage = (by_reference.get("input_tokens"), sent.get("input_tokens"))
    if not path:
        assert by_reference["output"][-1]["content"][0]["text"] == "Done."
        usage = (by_reference["usage"]["input_tokens"], sent["usage"]["input_tokens"])
    assert usage[0] == usage[1]
    refused = call(storing, "POST", RESPONSES + path, asked, key="two")
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input[1]")


@pytest.mark.parametrize("id", ["rs_1_0", "x", "", "resp_1_2_3", "item_0_0"])
def test_a_reference_to_nothing_is_refused(storing: Stack, id: str) -> None:
    items: list[Fields] = [{"role": "user", "content": "a"}, {"type": "item_reference", "id": id}]
    refused = call(storing, "POST", RESPONSES, {"model": "glm-5.3", "input": items})
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "unsupported_content")
