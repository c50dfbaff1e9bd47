"""The two READMEs agree, and their figures of memory blocks are those that the gate counts."""

import re
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENGLISH, CHINESE = ((ROOT / name).read_text() for name in ("README.md", "README.zh-CN.md"))


def links(page: str) -> set[str]:
    """The targets, by the names of the English pages and images."""
    return {re.sub(r"\.zh-CN(?=\.md)|-zh(?=\.png)", "", target) for target in re.findall(r"\]\(([^)]+)\)", page)}


def test_the_chinese_page_links_each_page_that_is_in_chinese() -> None:
    for target in re.findall(r"\]\((docs/[a-z-]+)\.md\)", CHINESE):
        assert not (ROOT / f"{target}.zh-CN.md").exists(), f"{target}.md is also in Chinese"


def commands(page: str) -> list[str]:
    """First cells of the table of commands."""
    return re.findall(r"^\| `(ztoapi \w+)` \|", page, re.MULTILINE)


def figures(page: str) -> list[list[str]]:
    """The numbers in each line of the tables."""
    lines = (re.findall(r"\d+(?:\.\d+)?", line) for line in page.splitlines() if line.startswith("|"))
    return [numbers for numbers in lines if numbers]


def shells(page: str) -> list[str]:
    """The commands to type, without their translated values."""
    return [re.sub(r"=\S+", "=", block) for block in re.findall(r"```sh\n(.*?)```", page, re.DOTALL)]


def sections(page: str) -> list[int]:
    """How many points each section has."""
    return [part.count("\n- **") for part in page.split("\n## ")]


@pytest.mark.parametrize("part", [links, commands, figures, shells, sections])
def test_the_chinese_page_has_what_the_english_one_has(part: Callable[[str], object]) -> None:
    assert part(CHINESE) == part(ENGLISH)
    assert part(ENGLISH)


@pytest.mark.parametrize("name", ["quick-start", "clients", "troubleshooting", "index"])
def test_a_chinese_page_has_the_parts_of_the_english_one(name: str) -> None:
    pages = [(ROOT / "docs" / f"{name}{suffix}.md").read_text("utf-8") for suffix in ("", ".zh-CN")]
    english, chinese = ([line.count("#") for line in re.findall(r"^#+ ", page, re.MULTILINE)] for page in pages)
    assert chinese == english
    first, second = ([re.sub(r" *#.*", "", block) for block in shells(page)] for page in pages)
    assert second == first


def options(page: str) -> dict[str, tuple[set[str], str]]:
    """The variables and the default in each row of the tables of options."""
    rows = (re.split(r"(?<!\\)\|", line) for line in page.splitlines() if line.startswith("| `"))
    return {
        row[1].strip(" `"): (set(re.findall(r"`([A-Z_0-9]+)`", row[2])), re.sub(r'["`]|\.0(?=`)', "", row[-3]).strip())
        for row in rows
        if len(row) > 5
    }


def test_the_chinese_table_of_options_has_the_variables_and_defaults_of_the_english_one() -> None:
    english, chinese = (options((ROOT / "docs" / f"configuration{name}.md").read_text()) for name in ("", ".zh-CN"))
    assert len(english) > 100 and set(chinese) == set(english)
    for name, (variables, default) in chinese.items():
        assert variables <= english[name][0] and default == english[name][1], name


def most(budget: int | dict[str, int]) -> int:
    """A budget may be another for each Python."""
    return max(budget.values()) if isinstance(budget, dict) else budget


def test_memory_blocks_are_those_of_the_budgets() -> None:
    budgets = tomllib.loads((ROOT / "bench" / "budgets.toml").read_text())
    alone, burst = (most(budgets[name]["blocks"]) for name in ("zai-chunk", "zai-burst-of-8"))
    each = round(burst / 8 + 0.49)
    assert f"{alone} memory blocks" in ENGLISH and f"it is {each} blocks a" in ENGLISH
    assert f"{alone} 个内存块" in CHINESE and f"每块只需 {each} 个" in CHINESE
