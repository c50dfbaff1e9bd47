"""/openapi.json is valid, current and complete, and its examples run."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from docs import openapi
from tests.pages.conftest import KEY
from tests.pages.programs import output_of
from tests.stack import Stack
from tests.support.table import table

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "ztoapi/static/openapi.json"
DOCUMENT = json.loads(FILE.read_text("utf-8"))
OPERATIONS = {
    operation["operationId"]: operation for methods in DOCUMENT["paths"].values() for operation in methods.values()
}
PAGES = {"/", "/chat", "/docs", "/openapi.json"}
OPERATORS = ("/metrics", "/dashboard", "/debug", "/admin")
"""The operators' paths are not part of the clients' API: docs/monitoring.md and docs/profiling.md describe them."""
OF_OPERATORS = ("simulator", "profiling")
KEYS = ROOT / "ztoapi/handlers/keys.py"
"""Of operators, too."""
WRONG: dict[str, tuple[object, ...]] = {
    "model": (None, 1, "x" * 257),
    "messages": (None, [], {}, "x"),
    "stream": (1, "true"),
    "stream_options": (1, {"include_usage": 1}),
    "temperature": ("1", []),
    "top_p": ("1", []),
    "stop": (1, [1]),
    "n": (0, 2, "1"),
    "user": (1, {}),
    "tool_choice": (1, "any", {"type": "function", "function": {"name": "missing"}}),
    "response_format": ("text", {"type": 1}, {"type": "json_schema"}),
    "enable_thinking": (1, "true"),
}


def test_the_file_is_current() -> None:
    assert FILE.read_text("utf-8") == openapi.render(), "run python -m docs.generate"


def test_it_is_valid() -> None:
    # Not imported by the test processes that do not run this test: it takes a second.
    from openapi_spec_validator import validate

    assert DOCUMENT["openapi"] == "3.1.0"
    validate(DOCUMENT)


def test_every_route_is_in_it(gateway: Stack) -> None:
    routes = [route for route in gateway.application.context.routes if route.listed]
    named = {route.template for route in routes if not route.template.startswith(OPERATORS)}
    assert set(map(without_names, named - PAGES)) == set(map(without_names, DOCUMENT["paths"]))


def without_names(path: str) -> str:
    """The path without the names of its parameters."""
    return re.sub(r"{[^}]*}", "{}", path)


def test_every_status_that_the_gateway_gives_is_in_it() -> None:
    """All ``status=`` that errors are made with."""
    given: set[str] = set()
    for path in (ROOT / "ztoapi").rglob("*.py"):
        if path != KEYS and not set(OF_OPERATORS) & set(path.parts):
            words = [word for node in ast.walk(ast.parse(path.read_text("utf-8"))) for word in keywords(node)]
            given |= {str(number) for word in words for number in constants(word.value)}
    assert len(given) > 5
    documented = set(OPERATIONS["createChatCompletion"]["responses"])
    assert given - documented == {"405"}
    assert "405" in DOCUMENT["components"]["responses"]["BrokenRequest"]["description"]


def keywords(node: ast.AST) -> list[ast.keyword]:
    """``status=...`` of a call."""
    return [word for word in node.keywords if word.arg == "status"] if isinstance(node, ast.Call) else []


def constants(value: ast.expr) -> list[int]:
    """The numbers that ``value`` may come to."""
    if isinstance(value, ast.IfExp):
        return constants(value.body) + constants(value.orelse)
    return [value.value] if isinstance(value, ast.Constant) and isinstance(value.value, int) else []


def test_a_preflight_gets_the_methods_of_the_path(gateway: Stack) -> None:
    allowed = {path: httpx.options(gateway.url + path).headers["allow"] for path in DOCUMENT["paths"]}
    for path, methods in DOCUMENT["paths"].items():
        head = ["HEAD"] if "get" in methods else []
        assert allowed[path] == ", ".join([*map(str.upper, methods), *head, "OPTIONS"])


def lines_to_copy(gateway: Stack, operation: str, language: str) -> str:
    source: str = next(one["source"] for one in OPERATIONS[operation]["x-codeSamples"] if one["lang"] == language)
    return source.replace(openapi.ORIGIN, gateway.url)


def shows_no_error(output: str, operation: str) -> bool:
    # A response without an error has its member, as null. There is nothing that could be cancelled.
    return operation == "cancelResponse" or re.search(r"error\W+(?!null|None)\w", output) is None


@table("operation", sorted(OPERATIONS))
def test_the_lines_to_copy_run_in_python(gateway: Stack, operation: str) -> None:
    output = output_of(lines_to_copy(gateway, operation, "Python"))
    assert output.strip()
    assert shows_no_error(output, operation), output


@pytest.mark.parametrize("language", ["Shell", "JavaScript"])
@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_the_lines_to_copy_run(gateway: Stack, tmp_path: Path, operation: str, language: str) -> None:
    lines = lines_to_copy(gateway, operation, language)
    if language == "JavaScript" and "import OpenAI" in lines:
        if not (ROOT / "tests/node/node_modules").is_dir():
            pytest.skip("needs npm install in tests/node")
        tmp_path = ROOT / "tests/node"
    programs = {
        "Shell": ["sh", "-c", lines],
        "JavaScript": ["node", "--input-type=module", "--eval", lines],
    }
    if shutil.which(programs[language][0]) is None or (language == "Shell" and shutil.which("curl") is None):
        pytest.skip(f"needs {programs[language][0]} and curl")
    result = subprocess.run(
        programs[language],
        cwd=tmp_path,
        env={**os.environ, "NO_PROXY": "*"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()
    assert shows_no_error(result.stdout, operation)


@table(("name", "wrong"), [(name, wrong) for name in WRONG for wrong in WRONG[name]])
def test_fields_outside_the_schema_of_the_reference_are_refused(gateway: Stack, name: str, wrong: object) -> None:
    body = {"model": "glm-4.6", "messages": [{"role": "user", "content": "x"}], name: wrong}
    answer = httpx.post(f"{gateway.base_url}/chat/completions", json=body, headers={"authorization": f"Bearer {KEY}"})
    param = answer.json()["error"]["param"]
    assert (answer.status_code, re.split(r"[.\[]", param)[0]) == (400, name)


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens"])
def test_errors_of_the_messages_api_are_as_the_reference_has_them(gateway: Stack, path: str) -> None:
    responses = DOCUMENT["paths"][path]["post"]["responses"]
    refused = [
        httpx.post(gateway.url + path, json={}, headers={"x-api-key": KEY}),
        httpx.post(gateway.url + path, json={}),
        httpx.post(gateway.url + path, content=b"{}", headers={"x-api-key": KEY, "content-encoding": "gzip"}),
    ]
    assert [answer.status_code for answer in refused] == [400, 401, 400]
    for answer in refused:
        name = responses[str(answer.status_code)]["$ref"].rpartition("/")[2]
        reference = DOCUMENT["components"]["responses"][name]
        example = reference["content"]["application/json"]["example"]
        assert answer.json()["error"]["type"] == example["error"]["type"]
        assert answer.json().keys() == example.keys()
        assert answer.headers["request-id"] == answer.json()["request_id"]


@pytest.mark.timeout(600)  # two thousand requests
def test_schemathesis_finds_nothing(gateway: Stack, tmp_path: Path) -> None:
    """Requests that the reference allows get a response of its schema, and all others are refused."""
    command = [
        *(str(Path(sys.executable).parent / "schemathesis"), "--config-file", str(Path(__file__).with_suffix(".toml"))),
        *("run", f"{gateway.url}/openapi.json", "--header", f"Authorization: Bearer {KEY}", "--no-color"),
    ]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    tested = re.search(r"Tested: (\d+)", result.stdout)
    assert tested is not None and int(tested[1]) == len(OPERATIONS)
