"""Decoding a client's request: what is wrong is named, what is unknown is kept."""

import pytest

from ztoapi.dialects.request import decode_request
from ztoapi.errors import ApiError

GOOD = b'{"model":"glm-4.6","messages":[{"role":"user","content":"x"}]'


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (b"", None, "not valid JSON"),
        (b"nonsense", None, "not valid JSON"),
        (b"[]", None, "must be a JSON object"),
        (b"null", None, "must be a JSON object"),
        (b'{"messages":[{}]}', "model", "model is missing"),
        (b'{"model":null,"messages":[{}]}', "model", "model is not valid"),
        (b'{"model":7,"messages":[{}]}', "model", "model is not valid"),
        (b'{"model":"' + b"m" * 300 + b'","messages":[{}]}', "model", "longer than 256 characters"),
        (b'{"model":"m"}', "messages", "messages is missing"),
        (b'{"model":"m","messages":"hi"}', "messages", "must be a list"),
        (b'{"model":"m","messages":[ ]}', "messages", "is empty"),
        (GOOD + b',"stream":"yes"}', "stream", "stream is not valid"),
        (GOOD + b',"stream_options":[]}', "stream_options", "stream_options is not valid"),
        (GOOD + b',"temperature":NaN}', None, "not valid JSON"),
        (b'{"model":"\xff","messages":[{}]}', None, "not valid JSON"),
        (GOOD + b',"x":"\xff"}', None, "not valid JSON"),
        (b'{"model":"m","messages":' + b"[" * 100000, None, "nested too deeply"),
        ('{"model":"m","messages":[{}]}'.encode("utf-16"), None, "not valid JSON"),
    ],
)
def test_what_is_wrong_is_named(body: bytes, param: str | None, words: str) -> None:
    with pytest.raises(ApiError) as caught:
        decode_request(body)
    assert caught.value.status == 400
    assert caught.value.param == param
    assert words in caught.value.message


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
