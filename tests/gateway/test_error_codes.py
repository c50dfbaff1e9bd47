"""Every error of a request has a code, and the documentation explains it."""

import ast
import re
from pathlib import Path

import httpx
import pytest

import ztoapi
from docs.generate import error_codes
from tests.stack import Stack
from ztoapi.errors import Failure

PACKAGE = Path(ztoapi.__file__).parent
PAGE = Path(__file__).resolve().parents[2] / "docs" / "behaviour.md"


def codes_in(source: str) -> set[str]:
    """Returns the codes that calls in ``source`` pass as ``code=``."""
    keywords = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.keyword) and node.arg == "code"]
    constants = [node for keyword in keywords for node in ast.walk(keyword.value) if isinstance(node, ast.Constant)]
    return {node.value for node in constants if isinstance(node.value, str)}


def test_the_documentation_lists_the_codes() -> None:
    table = PAGE.read_text("utf-8").partition("## Errors of requests")[2].partition("\n## ")[0]
    documented = {code for row in table.splitlines() if row.startswith("|") for code in re.findall("`([a-z_]+)`", row)}
    files = [path for path in PACKAGE.rglob("*.py") if "simulator" not in path.parts]
    used = set().union(*(codes_in(path.read_text("utf-8")) for path in files))
    assert len(used) > 20
    assert not used - documented


def test_each_code_has_a_section_with_its_remedy() -> None:
    table = PAGE.read_text("utf-8").partition("## Errors of requests")[2].partition("\n## Upstream")[0]
    rows = (row.split("|")[2] for row in table.splitlines() if row.startswith("|"))
    codes = {code for row in rows for code in re.findall("`([a-z_]+)`", row)} | {failure.code for failure in Failure}
    entries = error_codes()
    assert {*entries} == codes
    for entry in entries.values():
        assert {*entry} == {"status", "fault", "symptom", "cause", "remedy"}
        assert entry["status"] and entry["fault"] in ("client", "operator", "upstream", "gateway")


CHAT = '{"model":"glm-4.6","messages":[{"role":"user","content":"x"}]'


@pytest.mark.parametrize(
    "body",
    [
        *("", "{}", "[]", "{", '{"model":"glm-4.6"}', '{"model":"glm-4.6","messages":[]}', CHAT + ',"stream":"yes"}'),
        *(CHAT + f',"{name}":5.5}}' for name in ("n", "stop", "user", "stream_options", "tool_choice", "thinking")),
        *(CHAT + f',"{name}":"x"}}' for name in ("temperature", "top_p", "max_tokens", "response_format")),
        CHAT + ',"n":2}',
        '{"model":"glm-4.6","messages":[5]}',
    ],
)
def test_a_refused_request_has_a_plain_message_and_its_record_the_code(stack: Stack, body: str) -> None:
    stack.application.recorder.recent.clear()
    response = httpx.post(f"{stack.base_url}/chat/completions", content=body)
    error = response.json()["error"]
    assert response.status_code == 400
    assert "Expected" not in error["message"]
    assert "`" not in error["message"]
    stack.wait_for(lambda: len(stack.application.recorder.recent) == 1)
    assert stack.application.recorder.recent[0].error_code == error["code"] != "invalid_request"
