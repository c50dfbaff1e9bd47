"""The responses of a whole gateway to each kind of key."""

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import httpx
import pytest

from tests.keys.files import FAR_AWAY, add, remove
from tests.stack import Stack
from tests.support.serving import Client
from ztoapi.config.keyfile import revoke_key
from ztoapi.config.load import load
from ztoapi.server.context import ServerContext

BODY = {"model": "glm-4.6", "messages": [{"role": "user", "content": "x"}]}
EXPIRY = 1_800_000_000
LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)


class Clock:
    """Unix seconds as a test sets them."""

    now = float(EXPIRY - 1)


class Keys:
    """A gateway with a key file, and its clients. ``path`` is the file."""

    def __init__(self, stack: Stack, path: Path, clock: Clock) -> None:
        self.stack = stack
        self.path = path
        self.clock = clock

    def client(self, key: str) -> httpx.Client:
        return httpx.Client(base_url=self.stack.base_url, headers={"authorization": f"Bearer {key}"})

    def ask(self, key: str, **body: object) -> httpx.Response:
        with self.client(key) as client:
            return client.post("/chat/completions", json={**BODY, **body})

    def models(self, key: str) -> list[str]:
        with self.client(key) as client:
            return [model["id"] for model in client.get("/models").json()["data"]]

    def reload(self) -> bool:
        async def reload() -> bool:
            return self.stack.application.keys.reload()

        return self.stack.call(reload())

    def recorded(self) -> list[str | None]:
        return [record.key for record in self.stack.records()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "keys.toml"
    path.touch()
    return path


@pytest.fixture(params=["zai", "openai"])
def keys(path: Path, request: pytest.FixtureRequest) -> Iterator[Keys]:
    clock = Clock()
    models = json.dumps({"quick": {"upstream": "glm-4.5-air"}})
    with (
        patch.object(ServerContext, "wall_clock", staticmethod(lambda: clock.now)),
        Stack(request.param, ZTOAPI_KEY_FILE=str(path), DEFAULT_KEY="chosen", MODEL_PLATFORM_MAP=models) as stack,
    ):
        yield Keys(stack, path, clock)


def code(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]["code"]


def test_a_record_has_the_name_of_the_key_and_nothing_of_the_key(keys: Keys) -> None:
    alice = add(keys.path, "alice")
    expired = add(keys.path, "bob", expires=LONG_AGO)
    keys.reload()
    for key in (alice, "chosen", expired, "unknown"):
        keys.ask(key)
    keys.stack.record(4)
    assert keys.recorded() == ["alice", "default", "bob", None]
    for record in keys.stack.records():
        shown = str([getattr(record, field) for field in record.__struct_fields__])
        assert alice[20:] not in shown and "chosen" not in shown and "blake2b" not in shown


def test_the_contents_of_the_file_are_no_keys(keys: Keys) -> None:
    alice = add(keys.path, "alice")
    keys.reload()
    assert keys.ask(alice).status_code == 200
    words = keys.path.read_text().replace('"', " ").replace(":", " ").split()
    for word in {*words, alice[:-1], alice[:20], "sk-zto-", "alice", "default"}:
        assert code(keys.ask(word)) == (401, "invalid_api_key")
    assert keys.stack.stats()["requests"] == 1


def test_only_the_holder_of_a_key_learns_that_it_is_over(keys: Keys) -> None:
    expired = add(keys.path, "bob", expires=LONG_AGO)
    revoked = add(keys.path, "carol")
    revoke_key(keys.path, "carol")
    keys.reload()
    assert code(keys.ask(expired)) == (401, "api_key_expired")
    assert "2020-01-01" in keys.ask(expired).json()["error"]["message"]
    assert code(keys.ask(revoked)) == (401, "api_key_revoked")
    nobody = keys.ask("sk-zto-" + "0" * 12 + "-" + "0" * 48)
    for key in (expired, revoked):
        wrong = keys.ask(key[:-1] + ("0" if key[-1] != "0" else "1"))
        assert (wrong.status_code, wrong.content) == (401, nobody.content)
    assert keys.stack.stats()["requests"] == 0


def test_an_expiry_ends_a_connection_that_is_kept_alive(keys: Keys) -> None:
    expires = datetime.datetime.fromtimestamp(EXPIRY, datetime.UTC)
    with keys.client(add(keys.path, "alice", expires=expires)) as client:
        keys.reload()
        assert client.post("/chat/completions", json=BODY).status_code == 200
        keys.clock.now = float(EXPIRY)
        assert code(client.post("/chat/completions", json=BODY)) == (401, "api_key_expired")
    assert keys.recorded() == ["alice", "alice"]


def test_a_reload_counts_for_the_next_request_of_a_connection_and_not_for_its_stream(keys: Keys) -> None:
    with keys.client(add(keys.path, "alice")) as client, keys.client(add(keys.path, "bob")) as other:
        keys.reload()
        assert other.post("/chat/completions", json=BODY).status_code == 200
        long = {**BODY, "model": "glm-4.6:itl=5:tokens=40", "stream": True}
        with client.stream("POST", "/chat/completions", json=long) as response:
            lines = response.iter_lines()
            next(lines)
            revoke_key(keys.path, "alice")
            remove(keys.path, "bob")
            assert keys.reload()
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert len(rest) >= 40
        assert code(client.post("/chat/completions", json=long)) == (401, "api_key_revoked")
        assert code(other.post("/chat/completions", json=BODY)) == (401, "invalid_api_key")


def test_a_reload_between_head_and_body_counts(keys: Keys) -> None:
    """The same head as in the request before, which the connection remembers."""
    body = json.dumps(BODY).encode()
    field = f"authorization: Bearer {add(keys.path, 'alice')}\r\n"
    keys.reload()
    with Client(keys.stack.port) as client:
        client.post("/v1/chat/completions", body, field)
        assert client.answer().status == 200
        head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\ncontent-length: {len(body)}\r\n{field}\r\n"
        client.send(head.encode() + body[:5])
        keys.stack.wait_for(lambda: any(one.busy for one in keys.stack.application.context.connections))
        remove(keys.path, "alice")
        keys.reload()
        client.send(body[5:])
        assert client.answer().status == 401
        client.post("/v1/chat/completions", body, field)
        assert client.answer().status == 401
    assert keys.stack.stats()["requests"] == 1


def test_models_that_a_key_is_not_for_are_refused_as_openai_does(keys: Keys) -> None:
    alice = add(keys.path, "alice", models=["glm-4.6*", "quick"])
    keys.reload()
    for model in ("glm-4.6", "GLM-4.6-air", "quick"):
        assert keys.ask(alice, model=model).json()["model"] == model
    refused = keys.ask(alice, model="glm-4.5")
    assert code(refused) == (403, "model_not_found")
    error = refused.json()["error"]
    assert (error["type"], error["param"]) == ("invalid_request_error", "model")
    assert "alice does not have access to the model 'glm-4.5'" in error["message"]
    assert keys.stack.stats()["requests"] == 3
    assert keys.ask("chosen", model="glm-4.5").status_code == 200


def test_models_that_a_key_is_not_for_are_not_listed(keys: Keys) -> None:
    alice = add(keys.path, "alice", models=["quick"])
    keys.reload()
    assert keys.models(alice) == ["quick"]
    assert {"quick", "glm-4.6"} < set(keys.models("chosen"))
    with keys.client(alice) as client:
        assert client.get("/models/quick").json()["id"] == "quick"
        assert code(client.get("/models/glm-4.6")) == (404, "model_not_found")


@pytest.mark.parametrize("field", ["Model", "MODEL", "models", "fallbacks"])
def test_no_other_field_names_a_model(keys: Keys, field: str) -> None:
    alice = add(keys.path, "alice", models=["glm-4.6"])
    keys.reload()
    refused = keys.ask(alice, **{field: ["glm-4.5"]})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, field)
    assert keys.stack.stats()["requests"] == 0
    assert keys.ask("chosen", models=["glm-4.5"]).status_code == 200


@pytest.mark.parametrize("first", ['"model"', '"mod\\u0065l"'])
def test_a_model_named_twice_reaches_the_upstream_once(keys: Keys, first: str) -> None:
    alice = add(keys.path, "alice", models=["glm-4.6"])
    keys.reload()
    body = json.dumps(BODY).replace("{", f'{{{first}: "glm-4.5", ', 1)
    with keys.client(alice) as client:
        answer = client.post("/chat/completions", content=body)
    assert answer.status_code == 200
    last = keys.stack.stats()["last_request"]
    assert isinstance(last, dict)
    assert last["body"]["model"] == "glm-4.6"
    assert last["body_bytes"] <= len(json.dumps(BODY))


def test_requests_within_the_limits_are_served(keys: Keys) -> None:
    add(keys.path, "alice", requests_per_minute=60, max_concurrency=2, expires=FAR_AWAY)
    keys.reload()
    key = keys.stack.application.keys.by_name.get("alice")
    assert key is not None
    assert (key.limits.requests_per_minute, key.limits.max_concurrency, key.limits.burst) == (60, 2, None)


def test_a_file_without_valid_keys_allows_no_request(path: Path) -> None:
    with Stack(ZTOAPI_KEY_FILE=str(path)) as stack:
        for headers in ({}, {"authorization": "Bearer"}, {"authorization": "Bearer x"}, {"x-api-key": "x"}):
            assert httpx.get(stack.base_url + "/models", headers=headers).status_code == 401
        assert httpx.get(stack.url + "/health").status_code == 200


def test_a_key_file_allows_a_public_address(path: Path) -> None:
    variables = {"HOST": "0.0.0.0", "ZTOAPI_KEY_FILE": str(path)}
    loaded = load({}, environ=variables, directory=path.parent)
    assert any("contains no active key" in warning for warning in loaded.config.warnings)
    add(path, "alice")
    loaded = load({}, environ=variables, directory=path.parent)
    assert not any("active" in warning for warning in loaded.config.warnings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("authorization", "Bearer {}"),
        ("authorization", "bearer   {}"),
        ("authorization", "BEARER {}"),
        ("x-api-key", "{}"),
    ],
)
def test_a_key_may_stand_in_either_field(path: Path, name: str, value: str) -> None:
    alice = add(path, "alice")
    with Stack(ZTOAPI_KEY_FILE=str(path)) as stack:
        assert httpx.get(stack.base_url + "/models", headers={name: value.format(alice)}).status_code == 200
        both = {"authorization": "Basic eA==", name: value.format(alice)}
        assert httpx.get(stack.base_url + "/models", headers=both).status_code == 200
