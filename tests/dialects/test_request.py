"""Decoding a client's request: what is wrong is named, what is unknown is kept."""

import pytest

from tests.support.nesting import TOO_DEEP
from tests.support.table import table
from ztoapi.config.model import DEFAULT_MODEL
from ztoapi.dialects.field_errors import REMEDIES
from ztoapi.dialects.request import decode_request
from ztoapi.errors import ApiError

GOOD = b'{"model":"glm-4.6","messages":[{"role":"user","content":"x"}]'


JSON = "the request body is not valid JSON: "


@table(
    ("body", "param", "code", "words"),
    [
        (b"", None, "invalid_json", "the request body is empty: send a JSON object"),
        (b" \n", None, "invalid_json", "the request body is empty"),
        (b"nonsense", None, "invalid_json", JSON + "invalid character (byte 4)"),
        (GOOD, None, "invalid_json", JSON + "it ends too early"),
        (b"[]", None, "invalid_type", "the request body must be a JSON object"),
        (b"null", None, "invalid_type", "the request body must be a JSON object"),
        (b'{"messages":[{}]}', "model", "missing_required_parameter", 'model is missing: send one, such as "model": '),
        (b'{"model":null,"messages":[{}]}', "model", "missing_required_parameter", "GET /v1/models"),
        (b'{"model":"","messages":[{}]}', "model", "missing_required_parameter", "model is missing"),
        (b'{"model":7,"messages":[{}]}', "model", "invalid_type", "model must be a string, not a number"),
        (b'{"model":["m"],"messages":[{}]}', "model", "invalid_type", "model must be a string, not a list"),
        (b'{"model":"' + b"m" * 300 + b'","messages":[{}]}', "model", "string_above_max_length", "256 characters"),
        (b'{"model":"m"}', "messages", "missing_required_parameter", "missing: send the conversation as a list"),
        (b'{"model":"m","messages":null}', "messages", "missing_required_parameter", "messages is missing"),
        (b'{"model":"m","messages":"hi"}', "messages", "invalid_type", "messages must be a list: send"),
        (b'{"model":"m","messages":[ ]}', "messages", "empty_array", "messages is empty: send"),
        (GOOD + b',"stream":"yes"}', "stream", "invalid_type", "stream must be true or false, not a string"),
        (GOOD + b',"stream":1}', "stream", "invalid_type", "stream must be true or false, not a number"),
        (GOOD + b',"enable_thinking":{}}', "enable_thinking", "invalid_type", "true or false, not an object"),
        (GOOD + b',"stream_options":[]}', "stream_options", "invalid_type", "must be an object, not a list"),
        (
            GOOD + b',"stream_options":{"include_usage":"no"}}',
            "stream_options.include_usage",
            "invalid_type",
            "stream_options.include_usage must be true or false, not a string",
        ),
        (GOOD + b',"temperature":NaN}', None, "invalid_json", JSON),
        (b'{"model":"\xff","messages":[{}]}', None, "invalid_json", JSON + "it is not UTF-8 (byte 10)"),
        (GOOD + b',"x":"\xff"}', None, "invalid_json", JSON + "it is not UTF-8"),
        (b'{"model":"m","messages":' + b"[" * TOO_DEEP, None, "invalid_json", JSON + "it is nested too deeply"),
        ('{"model":"m","messages":[{}]}'.encode("utf-16"), None, "invalid_json", JSON),
    ],
)
def test_what_is_wrong_is_named(body: bytes, param: str | None, code: str, words: str) -> None:
    with pytest.raises(ApiError) as caught:
        decode_request(body)
    assert (caught.value.status, caught.value.param, caught.value.code) == (400, param, code)
    assert words in caught.value.message


def test_the_example_of_a_model_is_the_default_model() -> None:
    assert f'"model": "{DEFAULT_MODEL}"' in REMEDIES["model"]


def test_explicit_nulls_are_accepted() -> None:
    request = decode_request(GOOD + b',"stream":null,"stream_options":null,"enable_thinking":null,"tools":null}')
    assert request.stream is None
    assert request.include_usage is False
    assert request.enable_thinking is None


def test_defect_05_array_content_is_accepted() -> None:
    body = b'{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}],"stream":true}'
    assert decode_request(body).stream is True


def test_body_may_be_a_bytearray() -> None:
    assert decode_request(bytearray(GOOD + b"}")).model == "glm-4.6"


@pytest.mark.parametrize(
    "more",
    [
        b',"made_up":[[1],{"a":[2]}]',
        b',"number":1e999',
        b',"metadata":{"include_usage":"yes"}',
        b',"functions":[{"name":7}]',
    ],
)
def test_a_request_of_an_unusual_form_is_decoded_too(more: bytes) -> None:
    request = decode_request(GOOD + more + b',"stream":true,"stream_options":{"include_usage":true},"n":2}')
    assert (request.model, request.stream, request.include_usage, request.choices) == ("glm-4.6", True, True, 2)
    assert "stream_options" in request.names
    assert "temperature" not in request.names


@pytest.mark.parametrize("n", [b"null", b"2.5", b'"2"', b"true", b"0"])
def test_an_unusual_number_of_choices_is_left_to_the_upstream(n: bytes) -> None:
    assert decode_request(GOOD + b',"n":%b}' % n).choices == 1


def test_names_of_fields_may_be_escaped() -> None:
    request = decode_request(GOOD.replace(b"model", b"mod\\u0065l") + b',"str\\u0065am":true}')
    assert request.model == "glm-4.6"
    assert request.stream is True
    assert "stream" in request.names
