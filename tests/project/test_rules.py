"""Each house rule finds a seeded violation, and lets its harmless neighbour pass."""

import pytest

from tests.project.rules import (
    DUPLICATE_LINES,
    bodies,
    class_sizes,
    duplicates,
    foreign_words,
    imports,
    long_strings,
    module_state,
    sleeps,
    unasserted_tests,
)


@pytest.mark.parametrize(
    "text",
    [
        "_seen = []",
        "_seen: dict[str, int] = {}",
        "_SEEN = dict()",
        "_SEEN = defaultdict(list)",
        "_recorder = Recorder()",
        "class Open(Struct): pass\nHELD = Open()",
        "SEEN = {}\ndef note(key): SEEN[key] = 1",
        "SEEN = {1: 2}\ndel SEEN[1]",
        "SEEN = [1]\ndef note(key): SEEN.append(key)",
    ],
)
def test_module_state_is_found(text: str) -> None:
    assert len(module_state(text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        "TABLE: Final = {'a': 1}",
        "_NAMES = frozenset(('a', 'b'))",
        "_LINE = re.compile('a')",
        "__all__ = ['a']",
        "WORDS = 'a b'.split()",
        "class Kind(NamedTuple):\n    a: int\nKIND = Kind(1)",
        "class Kind(Struct, frozen=True):\n    a: int\nKIND = Kind(1)",
        "@dataclass(frozen=True)\nclass Kind:\n    a: int\nKIND = Kind(1)",
        "def f():\n    seen = {}\n    seen[1] = 2",
    ],
)
def test_constants_are_no_state(text: str) -> None:
    assert module_state(text) == []


def test_duplicates_are_found_across_modules() -> None:
    body = "".join(f"    x += {number}\n" for number in range(DUPLICATE_LINES))
    one = f"def one(x):\n    '''Says one thing.'''\n{body}"
    two = f"async def two(x):\n{body}"
    assert duplicates({"a.py": bodies(one), "b.py": bodies(two)}) == [["a.py:one", "b.py:two"]]


def test_the_size_of_a_class_is_its_code() -> None:
    text = 'x = 1\nclass One:\n    """Two\n    lines."""\n\n    # A comment.\n    a = 1\n    """Its meaning."""\n'
    assert class_sizes(text) == [("One", 2, 2)]


def test_short_bodies_are_no_duplicates() -> None:
    body = "".join(f"    x += {number}\n" for number in range(DUPLICATE_LINES - 1))
    one, two = f"def one(x):\n{body}", f"def two(x):\n{body}"
    assert duplicates({"a.py": bodies(one), "b.py": bodies(two)}) == []


def test_comments_make_no_difference_to_duplicates() -> None:
    lines = [f"    x += {number}\n" for number in range(DUPLICATE_LINES)]
    one, two = f"def one(x):\n{''.join(lines)}", "def two(x):\n{}".format("    # Why.\n\n".join(lines))
    assert duplicates({"a.py": bodies(one), "b.py": bodies(two)}) == [["a.py:one", "b.py:two"]]


def test_long_strings_are_found() -> None:
    assert long_strings("x = 'ab'\ny = b'abc'\n", 2) == [2]


def test_imports_are_those_of_packages() -> None:
    text = "import a.b\nfrom c.d import e\nfrom . import f\ndef g():\n    import h as i\n"
    assert imports(text) == {"a", "c", "h"}


def test_a_test_without_assertion_is_found() -> None:
    assert unasserted_tests("def test_a():\n    reassertion = 1\n    print('assert')") == ["test_a"]


@pytest.mark.parametrize(
    "line",
    [
        "assert x",
        "stack.wait_for(f)",
        "heard.assert_timeout()",
        "with pytest.raises(E): f()",
        "expect(x).to_be_visible()",
    ],
)
def test_what_counts_as_an_assertion(line: str) -> None:
    assert unasserted_tests(f"def test_a():\n    {line}") == []


@pytest.mark.parametrize("text", ["import time\ntime.sleep(1)", "from time import sleep", "await asyncio.sleep(0)"])
def test_sleeps_are_found(text: str) -> None:
    assert len(sleeps(text)) == 1


def test_a_clock_that_gets_the_time_may_sleep() -> None:
    assert sleeps("clock.sleep(1)") == []


@pytest.mark.parametrize("words", [("see /", "work/notes"), ("see /opt", "/zv/bin"), ("AI", "-generated")])
def test_foreign_words_are_found(words: tuple[str, str]) -> None:
    assert len(foreign_words("".join(words))) == 1


@pytest.mark.parametrize("text", ["an HTTP session", "the user-agent field", "/v1/workers/", "homework/"])
def test_words_of_the_trade_are_not_foreign(text: str) -> None:
    assert foreign_words(text) == []
