"""The breaker against its table, by any run of events."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ztoapi.structures.breaker import TRANSITIONS, Breaker, BreakerEvent, BreakerState


def test_every_state_can_be_left_and_reached() -> None:
    for state in BreakerState:
        assert set(TRANSITIONS[state].values()) - {state}
        assert any(state in row.values() for other, row in TRANSITIONS.items() if other is not state)


@pytest.mark.parametrize("event", [BreakerEvent.PROBE_PASSED, BreakerEvent.PROBE_FAILED, BreakerEvent.PROBE_VOID])
def test_a_probe_ends_only_where_one_is_under_way(event: BreakerEvent) -> None:
    assert [state for state in BreakerState if event in TRANSITIONS[state]] == [BreakerState.HALF_OPEN]


def test_it_opens_and_comes_back_by_one_probe() -> None:
    breaker = Breaker()
    assert breaker.trip(5.0)
    assert not breaker.allows(4.9)
    assert breaker.allows(5.0)
    assert breaker.enter()
    assert not breaker.allows(100.0)
    breaker.pass_probe()
    assert breaker.allows(0.0)
    assert not breaker.enter()


def test_a_longer_wait_holds_and_a_shorter_one_does_not_cut_it() -> None:
    breaker = Breaker()
    assert breaker.trip(5.0)
    assert not breaker.trip(9.0)
    assert not breaker.trip(2.0)
    assert breaker.until == 9.0


def test_what_was_sent_before_does_not_decide_for_the_probe() -> None:
    breaker = Breaker()
    breaker.trip(1.0)
    breaker.enter()
    breaker.succeed()
    breaker.trip(50.0)
    assert breaker.state is BreakerState.HALF_OPEN
    breaker.fail_probe(3.0)
    assert (breaker.state, breaker.until, breaker.trips) == (BreakerState.OPEN, 3.0, 2)


class Breaking(RuleBasedStateMachine):
    """Requests come and end in any order; the model is the number of probes out and a flag."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker()
        self.now = 0.0
        self.probes = 0
        self.open = False

    @rule(seconds=st.floats(0.0, 10.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.breaker.allows(self.now))
    @rule()
    def enter(self) -> None:
        probe = self.breaker.enter()
        assert probe == self.open
        self.probes += probe

    @rule(seconds=st.floats(0.0, 10.0))
    def trip(self, seconds: float) -> None:
        self.breaker.trip(self.now + seconds)
        self.open = True

    @rule()
    def succeed(self) -> None:
        self.breaker.succeed()

    @precondition(lambda self: self.probes)
    @rule(ending=st.sampled_from(["pass", "fail", "void"]), seconds=st.floats(0.1, 10.0))
    def end_probe(self, ending: str, seconds: float) -> None:
        self.probes -= 1
        if ending == "pass":
            self.breaker.pass_probe()
            self.open = False
        elif ending == "fail":
            self.breaker.fail_probe(self.now + seconds)
            assert not self.breaker.allows(self.now)
        else:
            self.breaker.void_probe()
            assert self.breaker.allows(self.now)

    @invariant()
    def one_probe_at_most(self) -> None:
        assert self.probes <= 1
        assert (self.breaker.state is BreakerState.HALF_OPEN) == (self.probes == 1)
        assert (self.breaker.state is BreakerState.CLOSED) == (not self.open)


TestBreaking = Breaking.TestCase
