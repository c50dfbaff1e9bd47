"""The table of dialects is complete, and the only place that depends on a dialect's name."""

import itertools
import re
from pathlib import Path
from typing import get_args

import pytest

from ztoapi.dialects.registry import DIALECTS, DialectName
from ztoapi.dialects.request import decode_request
from ztoapi.dialects.translate import TranslationContext
from ztoapi.errors import ApiError

PACKAGE = Path(__file__).parents[2] / "ztoapi"
REQUEST = b'{"model":"glm","messages":[{"role":"user","content":"Hi"}]}'


def context(repository: str | None = "octo/repo") -> TranslationContext:
    ids = itertools.count(1)
    return TranslationContext(
        new_id=lambda: f"chatcmpl-{next(ids)}",
        clock=lambda: 1767225600.0,
        upstream_model="glm-4.6",
        stream=True,
        thinking=None,
        think_mode="reasoning",
        templates={},
        repository=repository,
    )


@pytest.mark.parametrize("name", get_args(DialectName))
def test_each_dialect_translates_a_request(name: DialectName) -> None:
    translation = DIALECTS[name].translate(decode_request(REQUEST), context())
    assert translation.streams
    assert translation.reader().feed(b": comment\n\n") == b""
    assert bool(translation.body) is not translation.prepares


def test_a_question_without_a_repository_is_refused_before_any_call() -> None:
    with pytest.raises(ApiError) as caught:
        DIALECTS["zread"].translate(decode_request(REQUEST), context(repository=None))
    assert caught.value.code == "missing_repository"


def test_each_attempt_prepares_anew() -> None:
    translation = DIALECTS["zread"].translate(decode_request(REQUEST), context())
    for _ in range(2):
        calls = translation.prepare()
        assert next(calls).path == "/repo/github/octo/repo"
        assert calls.send(b'{"data":{"repo_id":"r","wiki_id":"w"}}').path == "/wiki/w"
        assert calls.send(b'{"data":{"pages":[{"page_id":"p"}]}}').path == "/talk"
        with pytest.raises(StopIteration) as end:
            calls.send(b'{"data":{"talk_id":"t"}}')
        path, body = end.value.value
        assert path == "/talk/t/message"
        assert b'"query":"Hi"' in body


def test_no_module_compares_the_name_of_a_dialect() -> None:
    compared = re.compile(r"dialect\s*(?:==|!=|(?:not )?in\b)")
    assert [path.name for path in PACKAGE.rglob("*.py") if compared.search(path.read_text())] == []
