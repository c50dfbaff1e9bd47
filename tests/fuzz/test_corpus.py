"""Each fuzz target on its corpus, and on mutations of it. ``tox -e fuzz`` runs for longer, with coverage."""

from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import TARGETS
from tests.support.table import table

CORPUS: Final = Path(__file__).with_name("corpus")
EXECUTIONS: Final = 60
"""Of each target in every run of the tests: a bound on the work, not on the time."""

PIECES: Final = [b"", b"\r\n", b"\n", b'"', b"\\", b"{", b"0"]


def inputs(name: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / name).iterdir())]


@st.composite
def mutations(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """One input with parts removed, repeated, replaced by parts of another or by other bytes."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 4))):
        start, stop = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
        other = draw(st.sampled_from(seeds))
        at = draw(st.integers(0, len(other)))
        usual = [data[start:stop], data[start:stop] * 2, other[at : at + 20], *PIECES]
        insert = draw(st.sampled_from(usual) | st.binary(max_size=4))
        data = data[:start] + insert + data[stop:]
    return data


@table("name", TARGETS)
def test_the_corpus_and_its_mutations(name: str) -> None:
    target = TARGETS[name]
    seeds = inputs(name)
    executions = 0

    @settings(max_examples=EXECUTIONS)
    @given(mutations(seeds))
    def mutate(data: bytes) -> None:
        nonlocal executions
        executions += 1
        target(data)

    for data in seeds:
        target(data)
    mutate()
    assert executions >= EXECUTIONS


def test_each_target_has_a_corpus() -> None:
    assert {path.name for path in CORPUS.iterdir()} == TARGETS.keys()


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("head", b"\x80GET / HTTP/1.1\r\nhost: a\r\n\r\n"),
        ("chunks", b"\x802\r\nab\r\n0\r\n\r\n"),
    ],
)
def test_a_target_notices_a_difference(monkeypatch: pytest.MonkeyPatch, name: str, data: bytes) -> None:
    """The property is compared: with results that never repeat, the target fails."""
    results = iter(range(2))
    helper = {"head": "_requests", "chunks": "_chunked"}[name]
    monkeypatch.setattr(f"tests.fuzz.targets.{helper}", lambda _: next(results))
    with pytest.raises(AssertionError):
        TARGETS[name](data)
