"""The end of a response as the event writers read it."""

import msgspec
import pytest

from tests.support.table import table
from ztoapi.apis.writing import TokenCounts, stopped_early, token_counts
from ztoapi.errors import Ending


@table(
    ("usage", "counts"),
    [
        (b"", None),
        (b"null", None),
        (b"{}", None),
        (b'{"prompt_tokens":"x"}', None),
        (b'{"prompt_tokens":9,"completion_tokens":2}', TokenCounts(9, 0, 2, None)),
        (
            b'{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11,"prompt_tokens_details":{"cached_tokens":4},'
            b'"completion_tokens_details":{"reasoning_tokens":1}}',
            TokenCounts(9, 4, 2, 1),
        ),
        (b'{"prompt_tokens":9,"prompt_tokens_details":{"cached_tokens":12}}', TokenCounts(9, 9, 0, None)),
        (b'{"prompt_tokens":9,"prompt_tokens_details":null}', TokenCounts(9, 0, 0, None)),
        (b'{"prompt_tokens":9,"prompt_tokens_details":[1]}', TokenCounts(9, 0, 0, None)),
    ],
)
def test_token_counts(usage: bytes, counts: TokenCounts | None) -> None:
    assert token_counts(msgspec.Raw(usage)) == counts


@pytest.mark.parametrize("finish", [None, "network_error", "abort"])
def test_an_end_without_an_answer_is_truncated(finish: str | None) -> None:
    error = stopped_early(finish)
    assert error is not None and error.ending is Ending.TRUNCATED
    assert stopped_early("stop") is None
