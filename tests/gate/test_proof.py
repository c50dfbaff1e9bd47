"""``bench.gate_proof``: a change adds work to the function that it names, and is taken back."""

import ast
from pathlib import Path

from bench.gate_proof import Project


def function(text: str, name: str) -> ast.FunctionDef:
    return next(node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef) and node.name == name)


def test_a_change_is_made_below_the_docstring_and_taken_back(tmp_path: Path) -> None:
    project = Project(tmp_path / "httpx", "httpx", instructions=False)
    file = tmp_path / "httpx" / "httpx" / "_models.py"
    before = file.read_text("utf-8")
    with project.changed("httpx/_models.py:Headers.get_list", 3):
        added = file.read_text("utf-8")
    assert file.read_text("utf-8") == before
    changed, original = function(added, "get_list"), function(before, "get_list")
    assert ast.get_docstring(changed) == ast.get_docstring(original)
    assert [ast.unparse(one) for one in changed.body[1:4]] == ["_proof = None"] * 3
    assert len(added.splitlines()) == len(before.splitlines()) + 3
