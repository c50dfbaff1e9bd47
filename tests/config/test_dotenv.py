"""``.env`` files."""

import pytest

from tests.support.table import table
from ztoapi.config.dotenv import Variable, parse


@table(
    ("line", "value"),
    [
        ("A=b", "b"),
        ("  export  A = b  ", "b"),
        ("A=b # why", "b"),
        ("A=b#c", "b#c"),
        ("A= # why", ""),
        ("A=", ""),
        ("A='b c'", "b c"),
        ('A="b # c"  # why', "b # c"),
        ('A="b" # say "c"', "b"),
        ("A=''", ""),
        ('A={"b": "c d"}', '{"b": "c d"}'),
        ('A="{"b": "c"}"', '{"b": "c"}'),
        ("A=b=c", "b=c"),
        ("A=$HOME/b", "$HOME/b"),
        ('A="b$c"', "b$c"),
        ("A=b\r", "b"),
        ("A=b\u2028c", "b\u2028c"),
    ],
)
def test_a_line_gives_a_value(line: str, value: str) -> None:
    assert parse(line) == ({"A": Variable(value, 1)}, {})


@pytest.mark.parametrize("line", ["nothing", "1A=b", "A B=c", "=b", "A='b", 'A="b" c', "A='"])
def test_a_line_that_cannot_be_read_is_counted_and_shows_nothing_of_its_value(line: str) -> None:
    entries, broken = parse(f"# comment\n\n{line}\nC=d")
    assert entries == {"C": Variable("d", 4)}
    assert list(broken) == [3]
    assert line not in broken[3]


def test_the_last_of_a_name_wins() -> None:
    assert parse("A=1\nA=2")[0] == {"A": Variable("2", 2)}
