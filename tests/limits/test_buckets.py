"""Several buckets at once, beside each of them alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ztoapi.limits.buckets import BucketPlace, Buckets
from ztoapi.structures.bucket import FULL, LAST_TICK, SECOND_NS, Rate

MINUTE_NS = 60 * SECOND_NS

# Clocks that are exact, with the same ticks and with others, and one that is not.
RATES = (
    Rate(3, SECOND_NS),
    Rate(60, MINUTE_NS, 5),
    Rate(7, SECOND_NS, 9),
    Rate(10_007, SECOND_NS, 4),
    Rate(40, SECOND_NS, 30),
    Rate(999_983, MINUTE_NS, 20),
)
places = st.lists(st.tuples(st.sampled_from(RATES), st.booleans()), min_size=1, max_size=6).map(
    lambda chosen: [BucketPlace(at, rate, by_token) for at, (rate, by_token) in enumerate(chosen)]
)
histories = st.lists(
    st.tuples(st.integers(0, SECOND_NS) | st.just(0), st.integers(0, 12), st.none() | st.integers(-12, 40)), max_size=40
)


@given(places=places, now=st.integers(0, 10**17), history=histories)
def test_each_takes_as_it_would_alone_and_all_or_none(
    places: list[BucketPlace], now: int, history: list[tuple[int, int, int | None]]
) -> None:
    words = [FULL] * len(places)
    together, alone = Buckets(places), [Buckets([place]) for place in places]
    for later, tokens, difference in history:
        now += later
        before = list(words)
        singles = list(words)
        taken = [one.take(singles, now, tokens) for one in alone]
        possible = all(taken)
        assert together.take(words, now, tokens) == possible
        if possible:
            assert words == singles
            if difference is not None:
                together.settle(words, now, max(difference, -tokens))
                assert words == [
                    place.rate.charge(tat, now, max(difference, -tokens)) if place.by_token else tat
                    for place, tat in zip(places, singles, strict=True)
                ]
        else:
            for place, tat, old in zip(places, words, before, strict=True):
                # A full bucket may be short of a tick of a clock that is not exact: less than a nanosecond.
                assert tat == old or (place.rate.idle(old, now) and place.rate.idle(tat, now + 1))


@given(places=places, now=st.integers(0, 10**17), history=histories)
def test_what_is_given_back_at_once_was_never_taken(
    places: list[BucketPlace], now: int, history: list[tuple[int, int, int | None]]
) -> None:
    words, buckets = [FULL] * len(places), Buckets(places)
    for later, tokens, kept in history:
        now += later
        before = [place.rate.state(tat, now + 1) for place, tat in zip(places, words, strict=True)]
        if buckets.take(words, now, tokens) and kept is None:
            buckets.give_back(words, now, tokens)
            assert before == [place.rate.state(tat, now + 1) for place, tat in zip(places, words, strict=True)]


def test_more_tokens_than_a_bucket_ever_holds_are_refused_even_where_it_is_full() -> None:
    buckets, words = Buckets([BucketPlace(0, Rate(5, SECOND_NS), by_token=True)]), [FULL]
    assert not buckets.take(words, SECOND_NS, 6)
    assert words == [FULL]
    assert buckets.take(words, SECOND_NS, 5)


@pytest.mark.parametrize("difference", [-(2**62), 2**62])
def test_what_is_settled_fits_64_bits(difference: int) -> None:
    buckets, words = Buckets([BucketPlace(0, Rate(5, SECOND_NS), by_token=True)]), [FULL]
    buckets.settle(words, SECOND_NS, difference)
    assert FULL <= words[0] <= LAST_TICK
