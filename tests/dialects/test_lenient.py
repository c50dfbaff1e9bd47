"""Half surrogates are found whatever stands around them, and without a search through data that has none."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ztoapi.dialects import lenient, pieces
from ztoapi.dialects.lenient import hide_halves, replace_halves, restore_halves
from ztoapi.dialects.request import decode_large_request
from ztoapi.errors import ApiError

TOKENS = st.lists(
    st.sampled_from(
        [rb"\ud83d", rb"\uDe00", rb"\uDBFF", rb"\udc00", rb"\u00e9", rb"\\", rb"\n", b"ud83d", b"uDe00", b"a", b'"']
    ),
    max_size=12,
).map(b"".join)
ESCAPE = re.compile(rb"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F]..)|\\.")
"""Takes the escapes one after the other. Slow, but plainly right."""


@given(data=TOKENS, piece=st.integers(2, 30))
def test_halves_are_replaced_and_pairs_are_kept(data: bytes, piece: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lenient, "PIECE_BYTES", piece)
        patch.setattr(pieces, "PIECE_BYTES", piece)
        assert replace_halves(data) == ESCAPE.sub(lambda match: rb"\ufffd" if match[1] else match[0], data)
        hidden = hide_halves(data)
        assert hidden == ESCAPE.sub(lambda match: b"\xff" + match[1][1:] if match[1] else match[0], data)
        assert restore_halves(hidden) == data


class Searches:
    """In place of the expression: notes the number of bytes of each search."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def finditer(self, text: bytes, begin: int, end: int) -> tuple[()]:
        self.sizes.append(end - begin)
        return ()


@pytest.mark.parametrize(
    ("body", "searched"),
    [
        (b'{"model":"m","messages":[{"role":"user","content":"' + rb"\n\u00e9\\" * 100_000 + b'"}]', True),
        (b"\0" * 1_000_000, True),
        (b'"' * 1_000_000, False),
        (b"[" + b'"a"' * 300_000 + b"]", False),
    ],
    ids=["broken", "no JSON", "no object", "a list"],
)
def test_no_search_through_a_rejected_body_takes_long(
    body: bytes, searched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    searches = Searches()
    monkeypatch.setattr(lenient, "_HALF", searches)
    with pytest.raises(ApiError) as caught:
        decode_large_request(body)
    assert caught.value.code == ("invalid_json" if searched else "invalid_type")
    assert bool(searches.sizes) is searched
    assert max(searches.sizes, default=0) <= 300_000
