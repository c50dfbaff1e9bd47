"""When two bodies are the same question: any way to write the same JSON, and nothing else."""

import json
import random  # noqa: TID251 - hypothesis gives the randomness, this names its type
from typing import TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.nesting import TOO_DEEP
from ztoapi.cache.key import cache_key

Value: TypeAlias = "bool | int | float | str | list[Value] | dict[str, Value] | None"

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES: st.SearchStrategy[Value] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
BODIES = st.dictionaries(st.sampled_from(["messages", "tools", "seed", "temperature", "x"]) | TEXTS, VALUES, max_size=5)
SPACE = ("", " ", "\n", "\t \r\n")


def written(value: Value, random: random.Random) -> str:
    """``value`` as JSON, in one of the many ways there are."""
    if isinstance(value, dict):
        pairs = list(value.items())
        random.shuffle(pairs)
        inner = [
            f"{spaced(escaped(name, random), random)}:{spaced(written(one, random), random)}" for name, one in pairs
        ]
        return "{" + ",".join(inner) + spaced("", random) + "}"
    if isinstance(value, list):
        return "[" + ",".join(spaced(written(one, random), random) for one in value) + "]"
    return escaped(value, random) if isinstance(value, str) else json.dumps(value)


def spaced(text: str, random: random.Random) -> str:
    return random.choice(SPACE) + text + random.choice(SPACE)


def escaped(text: str, random: random.Random) -> str:
    return '"' + "".join(escaped_character(one, random) for one in text) + '"'


def escaped_character(one: str, random: random.Random) -> str:
    if random.random() < 0.3:
        units = one.encode("utf-16-be")
        return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
    return json.dumps(one, ensure_ascii=random.random() < 0.5)[1:-1]


def same(one: Value, other: Value) -> bool:
    """Whether two values are one in JSON: 1 is not 1.0, nor true."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        assert isinstance(other, dict)
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list):
        assert isinstance(other, list)
        return len(one) == len(other) and all(map(same, one, other))
    return repr(one) == repr(other)


def of(body: Value, *, stream: bool = False, terms: tuple[str | None, ...] = ("zai",)) -> bytes | None:
    return cache_key(json.dumps(body).encode(), stream=stream, parts=terms)


@given(BODIES, st.randoms(use_true_random=False))
def test_the_same_value_is_the_same_question_however_it_is_written(
    body: dict[str, Value], random: random.Random
) -> None:
    found = cache_key(written(body, random).encode(), stream=True, parts=("a",))
    assert found is not None
    assert len(found) == 32
    assert found == cache_key(bytearray(written(body, random).encode()), stream=True, parts=("a",))


@given(BODIES, BODIES)
def test_two_values_are_two_questions(one: dict[str, Value], other: dict[str, Value]) -> None:
    one, other = ({**body, "stream": False} for body in (one, other))
    for body in (one, other):
        body.pop("stream_options", None)
    assert (of(one) == of(other)) is same(one, other)


@given(BODIES, st.data())
def test_one_change_anywhere_is_another_question(body: dict[str, Value], data: st.DataObject) -> None:
    name = data.draw(TEXTS.filter(lambda name: name not in ("stream", "stream_options")))
    value = data.draw(VALUES)
    if name not in body or not same(body[name], value):
        assert of({**body, name: value}) != of(body)


def test_terms_and_stream_are_part_of_the_question() -> None:
    body: dict[str, Value] = {"model": "glm-4.6"}
    found = [
        of(body),
        of(body, stream=True),
        of(body, terms=("zread",)),
        of(body, terms=("zai", None)),
        of(body, terms=("zai", "")),
        of(body, terms=("za", "i")),
    ]
    assert len(set(found)) == len(found)
    # The form of the response is decided by now: the field of the body, or the default.
    assert of({**body, "stream": True}) == of(body)
    assert of({**body, "stream_options": {"include_usage": True}}) == of(body)
    streamed = of({**body, "stream_options": {"include_usage": True}}, stream=True)
    assert streamed != of(body, stream=True)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":2}',
        b'{"a":[{"role":"user","role":"user"}]}',
        b'{"a":1,"\\u0061":1}',
        b'{"a":NaN}',
        b'{"a":"\\ud800"}',
        b'{"a":' + b"[" * TOO_DEEP + b"]" * TOO_DEEP + b"}",
    ],
)
def test_what_two_readers_could_read_differently_is_no_question(body: bytes) -> None:
    assert cache_key(body, stream=False, parts=()) is None


def test_a_body_that_would_take_long_is_no_question() -> None:
    bodies = [b'{"a":"%b"}' % (b"x" * size) for size in (2**20 - 8, 2**20 - 7)]
    assert [cache_key(body, stream=False, parts=()) is None for body in bodies] == [False, True]


def test_numbers_are_compared_as_they_are_written() -> None:
    bodies = [b'{"a":1}', b'{"a":1.0}', b'{"a":true}', b'{"a":"1"}', b'{"a":null}', b'{"a":-0.0}', b'{"a":0}']
    bodies += [b'{"a":-0}', b'{"a":0.1}', b'{"a":0.1000000000000000000001}', b'{"a":1e400}', b'{"a":2e400}']
    bodies += [b'{"a":%b}' % (digit * 5000) for digit in (b"8", b"9")]
    assert len({cache_key(body, stream=False, parts=()) for body in bodies}) == len(bodies)
