"""One worker's limits: all or nothing over every scope, the fields of the response, and bounded memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.limits.pieces import StillClock, requests, streams, tokens
from ztoapi.limits.compiled import CompiledLimits, InFlightCounter
from ztoapi.limits.fields import openai_fields
from ztoapi.limits.model import IN_FLIGHT_WAIT_NS, Descriptors, InFlightLimit, RateLimit, Rejection, Scope, Unit
from ztoapi.limits.shared_limits import LocalLimiter, LocalReservation, SharedLimits
from ztoapi.limits.table import CHANGES, RowTable
from ztoapi.structures.bucket import SECOND_NS, Rate

GLOBAL = requests("global", 5)
KEY = Scope(
    "key",
    (
        RateLimit("key_requests", Unit.REQUESTS, Rate(4, SECOND_NS)),
        RateLimit("key_tokens", Unit.TOKENS, Rate(100, SECOND_NS)),
        InFlightLimit("key_streams", 3),
    ),
    8,
)
MODEL = tokens("model", 150)
ALICE: Descriptors = ((GLOBAL, ""), (KEY, "alice"), (MODEL, "glm-4.6"))
BOB: Descriptors = ((GLOBAL, ""), (KEY, "bob"), (MODEL, "glm-4.6"))


def limiter(*scopes: Scope) -> tuple[LocalLimiter, StillClock]:
    clock = StillClock()
    return SharedLimits(scopes, clock=clock).limiter(0), clock


def granted(answer: LocalReservation | Rejection) -> LocalReservation:
    assert isinstance(answer, LocalReservation), answer
    return answer


def denied(answer: LocalReservation | Rejection) -> Rejection:
    assert isinstance(answer, Rejection)
    return answer


NO_REQUEST = Scope("no_request", (InFlightLimit("no_request", 0),), 1)
NO_TOKEN = tokens("no_token", 1)


def standing(limits: LocalLimiter, descriptors: Descriptors) -> list[int]:
    """The rest of each limit of ``descriptors``, from the refusal of a request that cannot be granted."""
    left: list[int] = []
    for scope, subject in descriptors:
        seen = {
            status.limit: status.remaining
            for refusing in (NO_REQUEST, NO_TOKEN)
            for status in denied(limits.reserve(((scope, subject), (refusing, "")), 10**6)).statuses
        }
        left += [seen[limit] for limit in scope.limits if limit in seen]
    return left


def test_a_denial_costs_nothing_anywhere() -> None:
    limits, _ = limiter(GLOBAL, KEY, MODEL, NO_REQUEST, NO_TOKEN)
    granted(limits.reserve(ALICE, 90))
    before = standing(limits, ALICE), standing(limits, BOB)
    for _ in range(100):
        assert denied(limits.reserve(ALICE, 20)).limit is KEY.limits[1]
        assert denied(limits.reserve(BOB, 61)).limit is MODEL.limits[0]
    assert (standing(limits, ALICE), standing(limits, BOB)) == before == ([4, 3, 10, 2, 60], [4, 4, 100, 3, 60])


def test_a_refusal_has_the_longest_wait_and_its_limit() -> None:
    limits, clock = limiter(GLOBAL, KEY, MODEL)
    granted(limits.reserve(ALICE, 100)).finish()
    rejection = denied(limits.reserve(ALICE, 80))
    assert (rejection.limit, rejection.subject) == (KEY.limits[1], "alice")
    assert rejection.wait_ns == 800_000_000
    clock.now += 799_999_999
    denied(limits.reserve(ALICE, 80))
    clock.now += 1
    granted(limits.reserve(ALICE, 80))


def test_a_request_greater_than_the_limit_gets_no_wait() -> None:
    limits, _ = limiter(GLOBAL, KEY, MODEL)
    rejection = denied(limits.reserve(ALICE, 101))
    assert (rejection.limit, rejection.wait_ns) == (KEY.limits[1], None)


def test_too_many_in_flight() -> None:
    limits, _ = limiter(KEY)
    descriptors: Descriptors = ((KEY, "alice"),)
    reservations = [granted(limits.reserve(descriptors)) for _ in range(3)]
    rejection = denied(limits.reserve(descriptors))
    assert (rejection.limit, rejection.wait_ns) == (KEY.limits[2], IN_FLIGHT_WAIT_NS)
    reservations[1].finish()
    granted(limits.reserve(descriptors))
    denied(limits.reserve(descriptors))


def test_headers_have_the_tightest_limit_of_each_unit() -> None:
    limits, _ = limiter(GLOBAL, KEY, MODEL)
    reservation = granted(limits.reserve(ALICE, 80))
    assert reservation.status(Unit.REQUESTS) == (KEY.limits[0], 4, 3, 250_000_000)
    assert reservation.status(Unit.TOKENS) == (KEY.limits[1], 100, 20, 800_000_000)
    assert reservation.status(Unit.IN_FLIGHT) == (KEY.limits[2], 3, 2, IN_FLIGHT_WAIT_NS)
    rejection = denied(limits.reserve(BOB, 100))
    assert rejection.status(Unit.TOKENS) == (MODEL.limits[0], 150, 70, 80 * SECOND_NS // 150 + 1)
    assert rejection.status(Unit.BANDWIDTH) is None
    assert granted(limits.reserve(())).status(Unit.REQUESTS) is None


@pytest.mark.parametrize(("used", "left"), [(None, 20), (80, 20), (30, 70), (0, 100), (100, 0), (150, 0)], ids=str)
def test_an_estimate_is_settled(used: int | None, left: int) -> None:
    limits, clock = limiter(KEY, NO_REQUEST, NO_TOKEN)
    descriptors: Descriptors = ((KEY, "alice"),)
    granted(limits.reserve(descriptors, 80)).finish(used)
    assert standing(limits, descriptors) == [3, left, 3]
    # Use beyond the limit delays later requests: 150 used, 100 back in a second.
    clock.now += SECOND_NS
    assert standing(limits, descriptors) == [4, 50 if used == 150 else 100, 3]


def test_a_stream_is_paced_by_its_key() -> None:
    bandwidth = Scope("key", (RateLimit("key_bandwidth", Unit.BANDWIDTH, Rate(10, SECOND_NS, burst=20)),), 8)
    limits, clock = limiter(bandwidth)
    one, two = (granted(limits.reserve(((bandwidth, "alice"),))) for _ in range(2))
    other = granted(limits.reserve(((bandwidth, "bob"),)))
    assert (one.charge(15), two.charge(15), other.charge(20)) == (0, SECOND_NS, 0)
    clock.now += SECOND_NS
    assert (one.charge(0), one.charge(1)) == (0, SECOND_NS // 10)


def test_a_paced_stream_is_to_go_in_pieces_of_a_tenth_of_a_second() -> None:
    slow, fast = (
        Scope(name, (RateLimit(name, Unit.BANDWIDTH, Rate(rate, SECOND_NS)),), 8)
        for name, rate in (("slow", 2000), ("fast", 50_000))
    )
    limits, _ = limiter(slow, fast, KEY)
    pieces = [
        granted(limits.reserve(descriptors)).piece
        for descriptors in (((fast, ""),), ((slow, ""), (fast, "")), ((KEY, "alice"),))
    ]
    assert pieces == [5000, 200, 0]


def test_a_flood_of_names_shares_a_bucket_and_leaves_the_known_ones_theirs() -> None:
    address = requests("address", 2, subjects=4)
    limits, clock = limiter(address, KEY)

    def ask(name: str) -> bool:
        return isinstance(limits.reserve(((address, name),)), LocalReservation)

    assert [ask("known") for _ in range(3)] == [True, True, False]
    clock.now += SECOND_NS // 2
    flood = sum(ask(f"stranger {number}") for number in range(1000))
    # Seven rows of eight are left; the other names share one.
    assert flood == 7 + 2
    assert [ask("known") for _ in range(2)] == [True, False]
    granted(limits.reserve(((KEY, "alice"),)))
    # Rows of those that have been quiet for long enough are free again.
    clock.now += SECOND_NS
    assert sum(ask(f"newcomer {number}") for number in range(8)) == 8


def test_a_former_owner_of_a_row_leaves_it_alone() -> None:
    model = tokens("model", 100, subjects=1)
    limits, clock = limiter(model)

    def left(name: str) -> int:
        return denied(limits.reserve(((model, name),), 101)).statuses[0].remaining

    early = [granted(limits.reserve(((model, name),), 100)) for name in ("a", "b")]
    clock.now += SECOND_NS
    for name in ("c", "d"):
        granted(limits.reserve(((model, name),), 90))
    early[0].finish(40)
    early[1].finish(105)
    assert (left("c"), left("d")) == (10, 10)
    # There are two rows; an address without one shares a row, and gets its own as soon as one is idle.
    assert left("a") == left("b") == 95
    granted(limits.reserve(((model, "a"),), 95))
    assert (left("a"), left("b")) == (0, 0)
    clock.now += SECOND_NS * 9 // 10
    assert (left("c"), left("d")) == (100, 100)
    granted(limits.reserve(((model, "a"),), 100))
    assert (left("a"), left("b")) == (0, 100)


def test_units_that_are_given_back_serve_their_subject_only() -> None:
    model = tokens("model", 100, subjects=1)
    limits, clock = limiter(model)
    early, *_ = [granted(limits.reserve(((model, name),), 100)) for name in ("a", "b")]
    clock.now += SECOND_NS
    for name in ("c", "d", "e"):
        granted(limits.reserve(((model, name),), 100))
    # The row of "a" is that of "c" or "d", and there is none but the one that "e" has to share.
    early.finish(0)
    assert [denied(limits.reserve(((model, name),), 1)).statuses[0].remaining for name in ("c", "d", "e")] == [0, 0, 0]


def test_a_denial_whose_reason_another_worker_has_just_ended() -> None:
    limit = InFlightLimit("key_streams", 1)
    words = [0] * 100
    mine, others = (CompiledLimits(words, 2, slot) for slot in range(2))
    for compiled in (mine, others):
        compiled.add_counter(InFlightCounter(words, RowTable(words, CHANGES + 1, 8, 2), limit, 2, "alice", 4711))
    assert others.take(0, 0) is not None
    assert mine.take(0, 0) is None
    # As a reservation of the other worker does, which waits for no lock.
    words[others.places[0]] -= 1
    rejection = mine.reject(0, 0)
    assert (rejection.limit, rejection.subject, rejection.wait_ns) == (limit, "alice", IN_FLIGHT_WAIT_NS)


def test_a_denial_by_one_limit_in_flight_takes_no_place_of_another() -> None:
    wide, narrow = streams("wide", 2), streams("narrow", 1)
    limits, _ = limiter(wide, narrow, GLOBAL)
    both: Descriptors = ((wide, "alice"), (narrow, "alice"), (GLOBAL, ""))
    granted(limits.reserve(both))
    assert denied(limits.reserve(both)).limit is narrow.limits[0]
    reservation = granted(limits.reserve(((wide, "alice"), (GLOBAL, ""))))
    assert reservation.status(Unit.REQUESTS) == (GLOBAL.limits[0], 5, 3, 2 * SECOND_NS // 5)


def test_a_row_with_requests_in_flight_is_not_given_away() -> None:
    scope = Scope("address", (InFlightLimit("address_streams", 1),), 1)
    limits, _ = limiter(scope)
    kept = [granted(limits.reserve(((scope, name),))) for name in ("a", "b", "c")]
    denied(limits.reserve(((scope, "d"),)))
    assert [isinstance(limits.reserve(((scope, name),)), Rejection) for name in ("a", "b", "c")] == [True] * 3
    for reservation in kept:
        reservation.finish()
    for name in ("d", "e", "f"):
        granted(limits.reserve(((scope, name),))).finish()


def test_names_may_be_anything_and_are_never_forgotten_while_they_matter() -> None:
    address = requests("address", 1, subjects=5000)
    limits, _ = limiter(address)
    names = [f"\udc80{number}\N{SNOWMAN}" * 10 for number in range(5000)]
    assert all(isinstance(limits.reserve(((address, name),)), LocalReservation) for name in names)
    assert all(isinstance(limits.reserve(((address, name),)), Rejection) for name in names)


@given(
    st.lists(
        st.tuples(st.sampled_from(["alice", "bob"]), st.integers(0, 60), st.integers(0, 80), st.integers(0, 10**9)),
        max_size=40,
    )
)
def test_in_flight_returns_to_zero_in_every_case(history: list[tuple[str, int, int, int]]) -> None:
    limits, clock = limiter(GLOBAL, KEY, MODEL, NO_REQUEST, NO_TOKEN)
    open_grants: list[tuple[LocalReservation, int]] = []
    for name, estimate, used, later in history:
        clock.now += later
        answer = limits.reserve(ALICE if name == "alice" else BOB, estimate)
        if isinstance(answer, LocalReservation):
            open_grants.append((answer, used))
        elif open_grants:
            reservation, tokens_used = open_grants.pop(0)
            reservation.finish(tokens_used)
    for reservation, used in open_grants:
        reservation.finish(used)
    clock.now += 60 * SECOND_NS
    assert standing(limits, ALICE) == standing(limits, BOB) == [5, 4, 100, 3, 150]


RATES = (Rate(4, SECOND_NS), Rate(60, 60 * SECOND_NS, 9), Rate(7, SECOND_NS), Rate(10_007, SECOND_NS, 40))
"""Two with ticks of a nanosecond, one with shorter ticks, and one that is not exact."""


@given(
    st.sampled_from(RATES),
    st.sampled_from((None, *RATES)),
    st.lists(st.tuples(st.integers(0, SECOND_NS), st.integers(0, 9)), max_size=20),
)
def test_header_lines_are_those_of_the_states(
    requests: Rate, tokens: Rate | None, history: list[tuple[int, int]]
) -> None:
    rates = {Unit.REQUESTS: requests} if tokens is None else {Unit.REQUESTS: requests, Unit.TOKENS: tokens}
    scope = Scope("key", tuple(RateLimit(unit.value, unit, rate) for unit, rate in rates.items()), 8)
    limits, clock = limiter(scope)
    reserve = limits.reserver(((scope, "alice"),))
    for later, estimate in history:
        clock.now += later
        answer = reserve(estimate)
        if isinstance(answer, LocalReservation):
            statuses = [answer.status(unit) for unit in rates]
            assert answer.fields() == openai_fields([status for status in statuses if status is not None])
            answer.finish()


def test_a_board_reports_its_defect() -> None:
    with pytest.raises(ValueError, match="two limits are called key_streams"):
        SharedLimits([streams("key", 1), Scope("other", (InFlightLimit("key_streams", 1),), 1)])
    with pytest.raises(ValueError, match="the scope key has room for 0 subjects"):
        SharedLimits([requests("key", 1, subjects=0)])
