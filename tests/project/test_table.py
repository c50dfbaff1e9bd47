"""A table reports each row that fails, and only these."""

import pytest

from tests.support.table import table


def check(*seen: int) -> int:
    """Returns the number of rows; those of ``seen`` fail."""
    checked = []

    @table(("number", "text"), [(1, "one"), (2, "two"), (3, "three")], ids=["a", "b", "c"])
    @table("doubled", [False, True])
    def test(number: int, text: str, doubled: bool) -> None:
        checked.append(number)
        if number in seen and doubled:
            with pytest.raises(ValueError, match=text):
                int("0")

    test()
    return len(checked)


def test_rows_that_fail_are_named() -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        check(2, 3)
    assert caught.value.message == "2 of 3 rows"
    notes = [error.__notes__ for error in caught.value.exceptions]
    assert notes == [[f"in the row {label} {row}"] for label, row in (
        ("b", {"number": 2, "text": "two"}), ("c", {"number": 3, "text": "three"}),
    )]  # fmt: skip
    inner = caught.value.exceptions[0]
    assert isinstance(inner, BaseExceptionGroup)
    assert inner.exceptions[0].__notes__ == ["in the row  {'doubled': True}"]
    assert "DID NOT RAISE" in str(inner.exceptions[0])


def test_a_table_without_a_failure_passes() -> None:
    assert check() == 6
