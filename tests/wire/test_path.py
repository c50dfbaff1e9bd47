"""Paths: one form for all spellings of a route, and names out of them."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.table import table
from ztoapi.wire.path import decoded, normal_path


@table(
    ("path", "normal"),
    [
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("//v1///chat//completions//", "/v1/chat/completions/"),
        ("/v1/%63hat/comp%6Cetions", "/v1/chat/completions"),
        ("/%2e%2E/%7euser", "/../~user"),
        ("/v1/models/a%2fb%3Ac%20d", "/v1/models/a%2Fb%3Ac%20d"),
        ("/a%252Fb", "/a%252Fb"),
        ("/%25%32%46", "/%252F"),
        ("/%%32F", "/%%32F"),
        ("/%zz/%63", "/%zz/%63"),
        ("/%", "/%"),
        ("*", "*"),
    ],
)
def test_spellings_of_one_path(path: str, normal: str) -> None:
    assert normal_path(path) == normal


@table("text", ["%", "%2", "%zz", "a%%41", "%FF", "%C0%AF", "%ED%A0%80", "%00", "a%0d%0Ab", "%7F"])
def test_escapes_that_name_no_text(text: str) -> None:
    with pytest.raises(ValueError, match="percent-encod"):
        decoded(text)


@given(st.text(st.characters(min_codepoint=0x20, exclude_characters="\x7f", exclude_categories=["Cs"])))
def test_a_name_comes_back_out_of_a_path(name: str) -> None:
    assert decoded(normal_path("/" + quote(name, safe=""))) == "/" + name


@given(st.text("/%2eEfF0cCaA.x"))
def test_a_normal_path_is_its_own_normal_form(path: str) -> None:
    assert normal_path(normal_path(path)) == normal_path(path)
