"""The pool under any run of requests, endings and pauses, against a model that only counts."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.relay.requests_in_flight import Room
from ztoapi.errors import Fault
from ztoapi.relay.credentials import CredentialLease, CredentialPool, Unavailable
from ztoapi.structures.breaker import BreakerState

MODELS = ("m1", "m2")


class Pooling(RuleBasedStateMachine):
    """``open`` are the leases not yet ended, with what they are for."""

    @initialize(
        weights=st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=1, max_size=4),
        caps=st.lists(st.integers(1, 3), min_size=4, max_size=4),
    )
    def begin(self, weights: list[float], caps: list[int]) -> None:
        self.room = Room(dict(enumerate(caps)))
        self.pool = CredentialPool([(f"c{number}", weight) for number, weight in enumerate(weights)], self.room)
        self.now = 0.0
        self.open: list[tuple[CredentialLease, str]] = []

    def usable(self, model: str) -> list[str]:
        """Names of those that could serve: closed or due, with room."""
        return [
            one.name
            for number, one in enumerate(self.pool.statistics(self.now))
            if (one.state is BreakerState.CLOSED or (one.state is BreakerState.OPEN and one.until == 0.0))
            and self.room.taken[number] < self.room.most[number]
            and model not in one.models
        ]

    @rule(seconds=st.sampled_from([0.1, 1.0, 40.0, 4000.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(
        model=st.sampled_from(MODELS),
        tried=st.sets(st.integers(0, 3)),
        session=st.sampled_from([None, b"s1", b"s2"]),
    )
    def acquire(self, model: str, tried: set[int], session: bytes | None) -> None:
        usable = self.usable(model)
        answer = self.pool.acquire(self.now, model, tried=tried, session=session)
        if isinstance(answer, Unavailable):
            assert not usable
            assert answer.seconds > 0
            return
        self.open.append((answer, model))
        fresh = [name for name in usable if int(name[1:]) not in tried]
        if fresh:
            assert answer.number not in tried

    @precondition(lambda self: self.open)
    @rule(choice=st.integers(0, 1000))
    def answered(self, choice: int) -> None:
        self.pool.responded(self.open[choice % len(self.open)][0], self.now)

    @precondition(lambda self: self.open)
    @rule(
        choice=st.integers(0, 1000),
        ending=st.sampled_from(["complete", "drop", *Fault]),
        sent=st.sampled_from([None, None, 3.0]),
    )
    def end(self, choice: int, ending: str | Fault, sent: float | None) -> None:
        lease, _ = self.open.pop(choice % len(self.open))
        if isinstance(ending, Fault):
            self.pool.fail(lease, self.now, ending, sent)
        elif ending == "complete":
            self.pool.complete(lease)
        else:
            self.pool.drop(lease)

    @invariant()
    def the_books_are_right(self) -> None:
        if not hasattr(self, "pool"):
            return
        for number, one in enumerate(self.pool.statistics(self.now)):
            out = [lease for lease, _ in self.open if lease.number == number]
            assert one.in_flight == len(out) == self.room.taken[number] <= self.room.most[number]
            out = [lease for lease in out if not lease._forced]
            # A half-open one has exactly one probe out, which is the one that it will be decided by.
            probing = [lease for lease in out if any(each.state is BreakerState.HALF_OPEN for each in lease._probes)]
            half_open = (one.state is BreakerState.HALF_OPEN) or any(
                lease._probes and lease._probes[-1].state is BreakerState.HALF_OPEN for lease in out
            )
            assert bool(probing) == half_open
            if one.state is BreakerState.HALF_OPEN:
                assert len([lease for lease in out if lease._credential.breaker in lease._probes]) == 1


TestPooling = Pooling.TestCase
