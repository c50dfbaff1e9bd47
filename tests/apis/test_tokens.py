"""Estimates of the tokens of a prompt."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ztoapi.apis import tokens as module
from ztoapi.apis.tokens import UNITS, Calibration, native_weight, prompt_weight, weigh
from ztoapi.dialects.request import ChatRequest, decode_request


def request(**fields: object) -> ChatRequest:
    return decode_request(
        json.dumps({"model": "glm-4.6", "messages": [{"role": "user", "content": "hi"}]} | fields).encode()
    )


def tokens(text: str) -> float:
    return weigh(text.encode()) / UNITS


@given(st.text(), st.text())
def test_weights_are_additive(one: str, other: str) -> None:
    assert weigh((one + other).encode()) == weigh(one.encode()) + weigh(other.encode())


@pytest.mark.parametrize(
    ("text", "least", "most"),
    [
        ("", 0, 0),
        ("The gateway forwards each chunk of the response to the client as it arrives. ", 13, 20),
        ("def weigh(text: bytes) -> int:\n    return sum(text)\n", 12, 20),
        ("网关将响应的每个数据块转发给客户端。", 9, 15),
        ("\N{GRINNING FACE}" * 4, 3, 12),
        ("20261129", 3, 5),
    ],
)
def test_estimates_are_near_the_counts_of_vocabularies(text: str, least: int, most: int) -> None:
    assert least <= tokens(text) <= most


def test_every_part_of_a_prompt_counts() -> None:
    tool = {"type": "function", "function": {"name": "read", "parameters": {"type": "object"}}}
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    plain = prompt_weight(request())
    with_tool = prompt_weight(request(tools=[tool])) - plain
    assert 8 * UNITS < with_tool < 80 * UNITS
    assert prompt_weight(request(tools=[tool, tool])) - plain == pytest.approx(2 * with_tool, abs=5 * UNITS)
    seen = prompt_weight(request(messages=[{"role": "user", "content": [picture]}]))
    assert 1000 * UNITS < seen < 1100 * UNITS
    assert prompt_weight(request(messages=[{"role": "user", "content": "hi " * 100}])) > plain + 50 * UNITS


def test_a_uri_in_a_text_without_images_is_text() -> None:
    text = '"data:,' + "x" * 1000 + '"'
    assert prompt_weight(request(messages=[{"role": "user", "content": text}])) > 200 * UNITS


TEXTS = st.lists(st.sampled_from(["data:image/png;base64,AA", "A" * 256, "base64", "hi", 'say "hi"', ""]), max_size=12)


@given(texts=TEXTS, piece=st.integers(1, 300))
def test_images_are_found_whatever_the_pieces(texts: list[str], piece: int) -> None:
    fields = {"input": msgspec.Raw(json.dumps(texts).encode())}
    parts = [{"type": "image_url", "image_url": {"url": text}} for text in texts]
    messages = request(messages=[{"role": "user", "content": parts}])
    weights = native_weight(fields), prompt_weight(messages)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_PIECE_BYTES", piece)
        assert (native_weight(fields), prompt_weight(messages)) == weights


def test_reported_counts_correct_the_estimate() -> None:
    calibration = Calibration()
    assert calibration.tokens("glm-4.6", 900 * UNITS + 1) == 901
    for _ in range(200):
        calibration.note("glm-4.6", 1000 * UNITS, 1300)
    assert calibration.tokens("glm-4.6", 1000 * UNITS) == 1300
    assert calibration.tokens("glm-5", 1000 * UNITS) == 1000


def test_one_response_moves_the_ratio_little() -> None:
    calibration = Calibration()
    for _ in range(100):
        calibration.note("glm-4.6", 1000 * UNITS, 1000)
    calibration.note("glm-4.6", 1000 * UNITS, 2000)
    assert calibration.tokens("glm-4.6", 1000 * UNITS) == 1032


@pytest.mark.parametrize(("reported", "least", "most"), [(1, 940, 1000), (1300, 1000, 1040), (10**9, 1000, 1112)])
def test_the_first_response_moves_it_little_too(reported: int, least: int, most: int) -> None:
    calibration = Calibration()
    calibration.note("glm-4.6", 1000 * UNITS, reported)
    assert least <= calibration.tokens("glm-4.6", 1000 * UNITS) <= most


def test_half_of_the_difference_takes_few_responses() -> None:
    calibration = Calibration()
    for _ in range(8):
        calibration.note("glm-4.6", 1000 * UNITS, 1200)
    assert calibration.tokens("glm-4.6", 1000 * UNITS) == 1100


@pytest.mark.parametrize(("reported", "estimate"), [(1, 500), (10**9, 2000)])
def test_odd_counts_do_no_harm(reported: int, estimate: int) -> None:
    calibration = Calibration()
    for _ in range(500):
        calibration.note("glm-4.6", 1000 * UNITS, reported)
    # The mean comes arbitrarily close to the limit, and the estimate is rounded up.
    assert estimate <= calibration.tokens("glm-4.6", 1000 * UNITS) <= estimate + 1


@pytest.mark.parametrize(("weight", "reported"), [(10 * UNITS, 20), (1000 * UNITS, 0), (1000 * UNITS, -1)])
def test_a_small_prompt_and_an_unknown_count_leave_the_ratio(weight: int, reported: int) -> None:
    calibration = Calibration()
    calibration.note("glm-4.6", weight, reported)
    assert calibration.tokens("glm-4.6", 1000 * UNITS) == 1000


def test_the_number_of_models_is_bounded() -> None:
    calibration = Calibration()
    for number in range(300):
        calibration.note(f"model-{number}", 1000 * UNITS, 2000)
    assert calibration.tokens("model-299", 1000 * UNITS) == 1112
    assert calibration.tokens("model-0", 1000 * UNITS) == 1000
