"""The writing rules of CONTRIBUTING.md, as far as they can be counted."""

import functools
from pathlib import Path

import pytest

from tests.project.prose import BOUNDS, Bound, count, page_texts, replaced_words, shared_class_names, texts
from tests.support.table import table

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = sorted(path.parent.name for path in (ROOT / "ztoapi").glob("*/__init__.py"))
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
# Chinese pages have no bounds. The rules themselves are exempt, because they quote the habits that they forbid.
PAGES = [
    str(path.relative_to(ROOT))
    for path in sorted((*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")))
    if not path.name.endswith(".zh-CN.md") and path.name != "CONTRIBUTING.md"
]

MAX_SHARED_PRIVATE_NAMES = 5
"""Private classes of different modules that may have the same name. It was 13, several of them for different ideas."""


def sources(pattern: str = "**/*.py") -> dict[str, str]:
    package = ROOT / "ztoapi"
    return {path.relative_to(package).as_posix(): path.read_text() for path in sorted(package.glob(pattern))}


@functools.cache
def prose_of(pattern: str) -> list[str]:
    return [text for source in sources(pattern).values() for text in texts(source)]


def excess(prose: list[str]) -> dict[str, int]:
    words, matches = count(prose)
    return {name: matches[name] for name, bound in BOUNDS.items() if not bound.allows(matches[name], words)}


@table("package", PACKAGES)
def test_a_package_stays_plain(package: str) -> None:
    prose = prose_of(f"{package}/**/*.py")
    assert prose, f"{package} has no prose: is it still called so?"
    assert excess(prose) == {}
    assert replaced_words(prose) == []


def test_the_tree_stays_plain() -> None:
    # The bound of a package has room for one match, which adds up over many small packages.
    patterns = ["*.py", *(f"{package}/**/*.py" for package in PACKAGES)]
    assert excess([text for pattern in patterns for text in prose_of(pattern)]) == {}


def test_the_tests_stay_plain() -> None:
    modules = [path for name in ("tests", "loadtests", "bench") for path in sorted((ROOT / name).rglob("*.py"))]
    assert excess([text for path in modules for text in texts(path.read_text())]) == {}


@table("page", PAGES)
def test_a_page_stays_plain(page: str) -> None:
    prose = list(page_texts((ROOT / page).read_text()))
    assert excess(prose) == {}
    assert replaced_words(prose) == []


def test_class_names_are_unique() -> None:
    shared = shared_class_names(sources())
    assert [name for name in shared if not name.startswith("_")] == []
    assert len(shared) <= MAX_SHARED_PRIVATE_NAMES, shared


MODULE = '''"""Whom a relay answers."""

LIMIT = 1
"""What nobody reads."""

def f():
    """Says who asked."""
    return 1  # The store told us.
    # type: ignore
'''


def test_docstrings_and_comments_are_counted() -> None:
    assert list(texts(MODULE)) == [
        "Whom a relay answers.",
        "What nobody reads.",
        "Says who asked.",
        "The store told us.",
    ]
    assert count(texts(MODULE)) == (14, {"who": 2, "nobody": 1, "tell": 3, "what": 1})


@pytest.mark.parametrize("text", ["What is a ring?", "The reason is what the client sees.", "Somewhat late."])
def test_questions_and_clauses_are_not_counted_as_nouns(text: str) -> None:
    assert count([text])[1]["what"] == 0


def test_code_links_and_tables_of_a_page_are_not_prose() -> None:
    page = "Run `who`:\n```sh\nwhoami; who\n```\n| who | asks |\n[The list](docs/who.md) is short.\n"
    words, matches = count(page_texts(page))
    assert (words, matches["who"]) == (6, 0)


@pytest.mark.parametrize(("matches", "words", "allowed"), [(1, 10, True), (2, 10, False), (5, 2500, True)])
def test_a_bound_is_a_rate_with_room_for_one(matches: int, words: int, allowed: bool) -> None:
    assert Bound(BOUNDS["tell"].pattern, 2.0).allows(matches, words) is allowed


def test_replaced_words_are_found() -> None:
    assert replaced_words(["Two Octets in hand.", "The handler goes on."]) == ["octets", "in hand"]


def test_a_class_name_in_two_modules_is_found() -> None:
    sources = {
        "a.py": "class One: pass\nclass Two: pass\nclass _Own: pass",
        "b.py": "class Two: pass\nclass _Own: pass",
    }
    assert shared_class_names(sources) == {"Two": ["a.py", "b.py"], "_Own": ["a.py", "b.py"]}


def test_decisions_are_numbered_without_gaps() -> None:
    numbers = [int(path.name[:4]) for path in DECISIONS]
    assert numbers == list(range(1, len(numbers) + 1))


@table("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_opens_with_its_question(path: Path) -> None:
    title, _, question, *rest = path.read_text().split("\n", 3)
    assert title.startswith(f"# {int(path.name[:4])}. ")
    assert question.startswith("**Question.** ")
    assert "**Context.**" in rest[0] and "hoice" in rest[0] and "**What would change our mind.**" in rest[0]
