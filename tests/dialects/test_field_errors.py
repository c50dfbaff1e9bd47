"""Errors about fields: plain sentences with the field, the expected kind and the kind found."""

from typing import Annotated, Literal

import msgspec
import pytest

from tests.support.table import table
from ztoapi.dialects.field_errors import excerpt, field_error, missing
from ztoapi.errors import ApiError


class Part(msgspec.Struct):
    type: Literal["text", "image"]
    size: Annotated[int, msgspec.Meta(ge=1)] = 1


class Message(msgspec.Struct):
    role: str
    content: str | list[Part] | None = None
    weights: dict[str, float] = {}


def error_of(value: object, *, field: str = "messages", dotted: bool = False) -> ApiError:
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.json.decode(msgspec.json.encode(value), type=list[Message])
    return field_error(field, caught.value, dotted=dotted)


@table(
    ("value", "param", "code", "message"),
    [
        (5, "messages", "invalid_type", "messages must be a list, not a number"),
        (None, "messages", "invalid_type", "messages must be a list, not null"),
        ([True], "messages[0]", "invalid_type", "messages[0] must be an object, not a boolean"),
        ([{"role": None}], "messages[0].role", "invalid_type", "messages[0].role must be a string, not null"),
        (
            [{"role": "user"}, {"role": "user", "content": 1.5}],
            "messages[1].content",
            "invalid_type",
            "messages[1].content must be a string or a list, not a number with a fraction",
        ),
        ([{}], "messages[0].role", "missing_required_parameter", "messages[0].role is missing: it is required"),
        (
            [{"role": "user", "content": [{"type": "text", "size": "9"}]}],
            "messages[0].content[0].size",
            "invalid_type",
            "messages[0].content[0].size must be a whole number, not a string",
        ),
        (
            [{"role": "user", "content": [{"type": "text", "size": 0}]}],
            "messages[0].content[0].size",
            "invalid_value",
            "messages[0].content[0].size is not valid: Expected int >= 1",
        ),
        (
            [{"role": "user", "content": [{"type": "sound"}]}],
            "messages[0].content[0].type",
            "invalid_value",
            "messages[0].content[0].type is not valid: Invalid enum value 'sound'",
        ),
        (
            [{"role": "user", "weights": {"a": "b"}}],
            "messages[0].weights[...]",
            "invalid_type",
            "messages[0].weights[...] must be a number, not a string",
        ),
    ],
)
def test_an_error_names_the_field_and_both_kinds(value: object, param: str, code: str, message: str) -> None:
    error = error_of(value)
    assert (error.status, error.param, error.code, error.message) == (400, param, code, message)


def test_a_place_in_the_notation_of_the_messages_api() -> None:
    assert error_of([{"role": 5}], dotted=True).message == "messages.0.role must be a string, not a number"
    assert error_of([{"role": 5}], field="", dotted=True).param == "0.role"


def test_the_whole_body_has_no_name() -> None:
    error = error_of("x", field="")
    assert (error.param, error.message) == (None, "the request body must be a list, not a string")


def test_a_string_with_half_a_surrogate_pair() -> None:
    with pytest.raises(msgspec.DecodeError) as caught:
        msgspec.json.decode(b'"\\ud800"', type=str)
    error = field_error("model", caught.value)
    assert (error.param, error.code) == ("model", "invalid_json")
    assert error.message.startswith("model is not valid JSON: ")
    assert "byte" not in error.message, "the place would count from the field's start"


def test_a_missing_field_has_a_remedy() -> None:
    assert missing("n", "send one").message == "n is missing: send one"


@pytest.mark.parametrize("value", ["a" * 100_000, ["a" * 100_000] * 100, {"a" * 100_000: ["a" * 100_000]}, None, 1.5])
def test_an_excerpt_is_short_whatever_the_value(value: object) -> None:
    assert len(excerpt(value)) < 700
    assert excerpt("tool\n") == r"'tool\n'"
