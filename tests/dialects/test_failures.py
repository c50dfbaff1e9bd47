"""The same HTTP status is the same failure in every dialect."""

from tests.support.table import table
from ztoapi.dialects import zread
from ztoapi.dialects.zai_errors import read_error
from ztoapi.dialects.zai_web_errors import refusal
from ztoapi.errors import Ending, Failure, UpstreamError


@table("status", [400, 401, 402, 403, 413, 422, 429, 500, 502, 503, 504, 529])
def test_a_status_is_the_same_failure_in_every_dialect(status: int) -> None:
    failures = {read_error(b"", status).failure, refusal(status, b"").failure, zread.refusal(status, b"").failure}
    assert len(failures) == 1


@table("failure", Failure)
def test_an_error_has_the_values_of_its_failure(failure: Failure) -> None:
    error = UpstreamError("it failed", failure)
    assert (error.code, error.status, error.type) == (failure.code, failure.status, failure.type)
    assert (error.fault, error.retryable, error.ending) == (failure.fault, failure.retried, failure.ending)


def test_a_code_has_one_status_type_and_ending() -> None:
    values: dict[str, tuple[int, str, Ending]] = {}
    for failure in Failure:
        value = failure.status, failure.type, failure.ending
        assert values.setdefault(failure.code, value) == value


def test_no_failure_is_an_alias_of_another() -> None:
    assert len(Failure.__members__) == len(list(Failure))
