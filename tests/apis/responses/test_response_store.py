"""Stored responses: what is put in comes back to its owner, for a time, within a bound."""

import json

import pytest

from tests.apis.responses.answering import DONE, Event, chunk, request, writer
from ztoapi.apis.responses.response_store import (
    MemoryResponseStore,
    StoredResponse,
    deleted_body,
    input_items_body,
    record,
    response_not_found,
)
from ztoapi.dialects.capabilities import UNKNOWN
from ztoapi.errors import ApiError


def turn(*history: StoredResponse, **fields: object) -> StoredResponse:
    under_test = writer(**fields)
    under_test.feed(chunk({"content": "Hello"}, "stop") + DONE)
    earlier = history[0].history() if history else []
    return record(earlier, request(**fields).items, under_test.response, "u")


def store() -> MemoryResponseStore:
    return MemoryResponseStore(100_000, 60.0)


def page(stored: StoredResponse, **options: object) -> Event:
    found = json.loads(input_items_body(stored, **options))  # type: ignore[arg-type]
    assert isinstance(found, dict)
    return found


def test_a_response_comes_back() -> None:
    under_test = store()
    under_test.put("key", "resp_1", turn(), 0.0)
    found = under_test.get("key", "resp_1", 59.0)
    assert found is not None
    assert json.loads(bytes(found.response))["output"][0]["content"][0]["text"] == "Hello"


def test_a_response_belongs_to_its_owner() -> None:
    under_test = store()
    under_test.put("key", "resp_1", turn(), 0.0)
    assert under_test.get("other", "resp_1", 1.0) is None
    assert not under_test.delete("other", "resp_1", 1.0)
    assert under_test.get("key", "resp_2", 1.0) is None


def test_a_response_expires() -> None:
    under_test = store()
    under_test.put("key", "resp_1", turn(), 0.0)
    assert under_test.get("key", "resp_1", 60.0) is None
    under_test.put("key", "resp_1", turn(), 0.0)
    assert not under_test.delete("key", "resp_1", 60.0)


def test_a_response_can_be_deleted_once() -> None:
    under_test = store()
    under_test.put("key", "resp_1", turn(), 0.0)
    assert under_test.delete("key", "resp_1", 1.0)
    assert not under_test.delete("key", "resp_1", 1.0)
    assert under_test.get("key", "resp_1", 1.0) is None


def test_the_least_recently_used_response_makes_room() -> None:
    under_test = MemoryResponseStore(4500, 60.0)
    for number in range(4):
        under_test.put("key", f"resp_{number}", turn(), 0.0)
        under_test.get("key", "resp_0", 0.0)
    kept = [number for number in range(4) if under_test.get("key", f"resp_{number}", 0.0) is not None]
    assert kept[0] == 0
    assert kept[-1] == 3
    assert len(kept) < 4


def test_a_stored_conversation_goes_on() -> None:
    second = turn(turn(input="hi"), input="and")
    made, _ = request(previous_response_id="resp_2", input="more").chat(UNKNOWN, history=second.history())
    assert [(message["role"], message["content"]) for message in json.loads(made.body)["messages"]] == [
        ("user", "hi"),
        ("assistant", "Hello"),
        ("user", "and"),
        ("assistant", "Hello"),
        ("user", "more"),
    ]


def test_input_items_have_ids_and_types() -> None:
    item = {"role": "user", "content": "a", "id": None}
    own = {"type": "message", "id": "msg_own", "role": "user", "content": "b"}
    assert page(turn(input=[item, own])) == {
        "object": "list",
        "data": [own, {"id": "item_u_0", "type": "message", "role": "user", "content": "a"}],
        "first_id": "msg_own",
        "last_id": "item_u_0",
        "has_more": False,
    }


def test_pages_follow_each_other() -> None:
    stored = turn(input=[{"role": "user", "content": str(number)} for number in range(5)])
    first = page(stored, limit=2, ascending=True)
    second = page(stored, limit=3, ascending=True, after=first["last_id"])
    assert (first["has_more"], second["has_more"]) == (True, False)
    assert [item["content"] for found in (first, second) for item in found["data"]] == list("01234")  # type: ignore[attr-defined]
    assert page(stored, limit=2, ascending=True, after=second["last_id"])["data"] == []


@pytest.mark.parametrize(
    ("options", "param"), [({"limit": 0}, "limit"), ({"limit": 101}, "limit"), ({"after": "x"}, "after")]
)
def test_a_page_that_cannot_be_served(options: Event, param: str) -> None:
    with pytest.raises(ApiError) as caught:
        page(turn(), **options)
    assert caught.value.param == param


def test_the_bodies_of_the_paths() -> None:
    assert json.loads(deleted_body("resp_1")) == {"id": "resp_1", "object": "response", "deleted": True}
    error = response_not_found("resp_1")
    assert (error.status, error.message) == (404, "Response with id 'resp_1' not found.")
