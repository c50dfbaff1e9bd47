"""The audit of dependencies fails for vulnerabilities alone, and says when it has checked nothing."""

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

VERDICT = cast(
    Callable[[str], tuple[int, str]],
    runpy.run_path(str(Path(__file__).resolve().parents[2] / ".ci/audit.py"))["verdict"],
)


def package(name: str, **fields: object) -> dict[str, object]:
    return {"name": name, "version": "1", **fields}


@pytest.mark.parametrize(
    ("packages", "code", "message"),
    [
        ([package("a", vulns=[]), package("b", skip_reason="?")], 0, "no known vulnerabilities in 1 of 2 packages"),
        ([package("a", vulns=[{"id": "CVE-1"}]), package("b", vulns=[])], 1, "a 1: CVE-1"),
        ([package("a", skip_reason="?")], 0, "NOT DONE"),
        ([], 0, "NOT DONE"),
    ],
)
def test_verdicts(packages: list[dict[str, object]], code: int, message: str) -> None:
    found, text = VERDICT(json.dumps({"dependencies": packages, "fixes": []}))
    assert found == code
    assert message in text


def test_a_network_error_is_no_vulnerability() -> None:
    assert VERDICT("")[0] == 0
    assert "NOT DONE" in VERDICT("")[1]
