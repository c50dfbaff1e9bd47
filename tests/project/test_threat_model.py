"""``docs/threat-model.md`` names the test of each attack; the tests exist."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/threat-model.md").read_text("utf-8")
MIN_TESTS = 30


def attacks() -> list[list[str]]:
    """Returns the cells of each row under "Attacks"."""
    rows = [line for line in PAGE.partition("\n## Attacks\n")[2].splitlines() if line.startswith("| ")]
    return [row.strip("| ").split(" | ") for row in rows if not row.startswith("| attack ")]


def test_the_named_tests_exist() -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)
    assert len(set(named)) == len(named) >= MIN_TESTS
    missing = [f"{path}::{name}" for path, name in named if f"def {name}(" not in (ROOT / path).read_text("utf-8")]
    assert missing == []


def test_each_attack_has_a_test() -> None:
    # Only a database of vulnerabilities can test the dependencies.
    without = [row[0] for row in attacks() if len(row) < 3 or "tests/" not in row[2]]
    assert without == ["dependencies with known vulnerabilities"]


def test_the_page_is_linked() -> None:
    for page in ("README.md", "README.zh-CN.md", "SECURITY.md"):
        assert "threat-model.md" in (ROOT / page).read_text("utf-8")
