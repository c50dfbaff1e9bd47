"""Records of responses: the conversation that they continue, and the pages of their input items."""

import json

import pytest

from tests.apis.responses.answering import DONE, NOW, Event, chunk, request, writer
from ztoapi.apis.responses.events import ResponseWriter
from ztoapi.apis.responses.stored import (
    StoredResponse,
    deleted_body,
    input_items_body,
    record,
    response_not_found,
    without_store,
)
from ztoapi.dialects.capabilities import UNKNOWN
from ztoapi.errors import ApiError


def turn(*history: StoredResponse, **fields: object) -> StoredResponse:
    under_test = writer(**fields)
    under_test.feed(chunk({"content": "Hello"}, "stop") + DONE)
    earlier = history[0].history() if history else []
    return record(earlier, request(**fields).items, under_test.response, f"u{len(earlier) or ''}")


def page(stored: StoredResponse, **options: object) -> Event:
    found = json.loads(input_items_body(stored, **options))  # type: ignore[arg-type]
    assert isinstance(found, dict)
    return found


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


@pytest.mark.parametrize("ascending", [True, False])
def test_items_with_the_same_id_are_each_on_one_page(ascending: bool) -> None:
    items = [{"id": "msg_1", "role": "user", "content": str(number)} for number in range(3)]
    # The same id in two notations, and once more in the next turn.
    items[2]["id"] = "\\u006dsg_1"
    stored = turn(turn(input=items), input=[*items, {"role": "user", "content": "3"}])
    shown: list[object] = []
    after: str | None = None
    for _ in range(len(stored.input)):
        found = page(stored, limit=1, ascending=ascending, after=after)
        shown += [item["id"] for item in found["data"]]  # type: ignore[attr-defined]
        after = str(found["last_id"])
    assert not found["has_more"]
    assert len(set(shown)) == len(shown) == 8


def test_a_page_after_an_unknown_item_cannot_be_served() -> None:
    with pytest.raises(ApiError) as caught:
        page(turn(), after="x")
    assert caught.value.param == "after"


def test_an_id_that_is_no_text_is_replaced() -> None:
    assert page(turn(input=[{"id": 5, "role": "user", "content": "a"}]))["first_id"] == "item_u_0"


@pytest.mark.parametrize("after", [b"", b"}\n\n"])
def test_a_response_that_could_not_be_stored_has_store_false(after: bytes) -> None:
    tool = {"type": "function", "name": "f", "parameters": {"store": True}}
    under_test = ResponseWriter(request(tools=[tool]).chat(UNKNOWN, stored=True)[1], "u", lambda: NOW)
    under_test.feed(chunk({"content": '"store":true'}, "stop") + DONE)
    changed = json.loads(without_store(under_test.response + after)[: -len(after) or None])
    original = json.loads(under_test.response)
    assert (original["store"], changed["store"]) == (True, False)
    assert {**original, "store": False} == changed


def test_the_bodies_of_the_paths() -> None:
    assert json.loads(deleted_body("resp_1")) == {"id": "resp_1", "object": "response", "deleted": True}
    error = response_not_found("resp_1")
    assert (error.status, error.message) == (404, "Response with id 'resp_1' not found.")
