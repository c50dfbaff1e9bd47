"""Thinking and efforts as fields of a chat request, and the opaque forms of reasoning."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ztoapi.apis.reasoning import digest, seal, unseal
from ztoapi.apis.thinking import chat_effort, thinking_fields
from ztoapi.dialects.capabilities import UNKNOWN, ModelCapabilities

GLM_5_3 = ModelCapabilities(thinking="always", efforts=("low", "high", "max"))
GLM_5_2 = ModelCapabilities(thinking="toggle", efforts=("high", "max"))
GLM_4_6 = ModelCapabilities(thinking="toggle", efforts=())
PLAIN = ModelCapabilities(thinking="none", efforts=())


@pytest.mark.parametrize(
    ("effort", "newest", "older", "toggle", "unknown"),
    [
        ("minimal", "low", "high", None, "low"),
        ("low", "low", "high", None, "low"),
        ("medium", "high", "high", None, "medium"),
        ("high", "high", "high", None, "high"),
        ("xhigh", "max", "max", None, "high"),
        ("max", "max", "max", None, "high"),
        ("extreme", None, None, None, None),
    ],
)
def test_efforts(effort: str, newest: str | None, older: str | None, toggle: str | None, unknown: str | None) -> None:
    found = [chat_effort(effort, model) for model in (GLM_5_3, GLM_5_2, GLM_4_6, UNKNOWN)]
    assert found == [newest, older, toggle, unknown]


def test_a_lower_highest_effort_stands_for_a_higher_one() -> None:
    assert chat_effort("max", ModelCapabilities(efforts=("low", "high"))) == "high"


@pytest.mark.parametrize("model", [GLM_5_2, GLM_4_6, UNKNOWN])
def test_thinking_is_switched_off_unless_wanted(model: ModelCapabilities) -> None:
    assert thinking_fields(False, "max", model, replayed=False) == {
        "enable_thinking": False,
        "chat_template_kwargs": {"enable_thinking": False},
        "thinking": {"type": "disabled"},
    }


def test_replayed_reasoning_is_kept() -> None:
    assert thinking_fields(True, None, GLM_5_3, replayed=True) == {
        "enable_thinking": True,
        "chat_template_kwargs": {"enable_thinking": True},
        "thinking": {"type": "enabled", "clear_thinking": False},
    }


def test_a_model_without_thinking_gets_no_field() -> None:
    assert thinking_fields(True, "high", PLAIN, replayed=True) == {}


@given(st.text())
def test_sealed_reasoning_is_restored(text: str) -> None:
    assert unseal(seal(text)) == text
    assert unseal(digest(text)) is None
    assert digest(text) == digest(text) != digest(text + ".")


@pytest.mark.parametrize("foreign", ["", "EqQBCkYIBRgC", "ztoapi.t2.aGk=", "ztoapi.t1.a", "ztoapi.t1._w=="])
def test_foreign_forms_are_no_reasoning(foreign: str) -> None:
    assert unseal(foreign) is None
