"""The credentials of one platform: which one serves a request, and what becomes of it by how that ends.

*Choice.* Of those that are well and below their caps, whoever is about as loaded as the least loaded (within
:data:`ALIKE`) takes its turn by weight. Load is peak-EWMA latency to the first byte times 1 + in flight / weight. So
equal credentials share by weight, a slow or busy one is left alone, and one without a recent history gets one request
to show itself. With a session, rendezvous hashing by weight decides instead: a session stays where it is while that is
possible, and a credential that comes or goes moves only its own sessions.

*Turn* is start-time fair queueing (Goyal et al., 1996): the smallest tag goes first and moves on by 1 / weight; who was
away starts where the others are, not where it was.

*Health.* A credential has a breaker, and one for each model that gave trouble (Z.ai's limits are by model). One table
(:mod:`ztoapi.relay.cooling`) says for each fault which of the two it concerns, how many failures in a row it takes and
for how long it opens. Every lease ends once: completed, failed or dropped.

*Last resort.* While the upstream refuses every credential, requests are sent with them all the same, and the first that
succeeds brings its credential back. HAProxy and Envoy call this panic mode. A quota, a throttle and an overload are
respected: there the upstream wants to be left alone.

No clock, no chance, no I/O: ``now`` is an argument (seconds that do not go back).
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from ztoapi.errors import Fault
from ztoapi.relay.cooling import COOLING
from ztoapi.structures.breaker import Breaker, BreakerState
from ztoapi.structures.ewma import PeakEwma

__all__ = ["ALIKE", "Caps", "CredentialPool", "CredentialStatistics", "Lease", "Unavailable"]

ALIKE: Final = 2.0
"""Loads that differ less are the same: time to the first token varies more than that from request to request."""
_DECAY_SECONDS: Final = 10.0
"""Finagle's."""
_FRESH_SECONDS: Final = 30.0
"""A latency older than this is forgotten: who was slow half a minute ago is worth one request."""
_MAX_MODELS: Final = 64
"""Models with a breaker of their own, for each credential: names come from clients."""
_LAST_RESORT: Final = frozenset((Fault.REFUSED, Fault.EXCLUDED))
"""Faults that do not keep a request from a credential where every credential has one of them."""
_BUSY_SECONDS: Final = 1.0
"""What a client is told to wait for a place, or a probe's end: nobody knows when that is."""


class Caps(Protocol):
    """Places for requests in flight, which all workers may share."""

    def take(self, credential: int, model: str) -> Callable[[], None] | None:
        """A place with the credential of this number, as what gives it back; None: there is none."""
        ...


class _Circuit(Breaker):
    """A breaker that knows why it is open."""

    __slots__ = ("fault",)

    def __init__(self) -> None:
        super().__init__()
        self.fault = Fault.REQUEST


class _Credential:
    """What is known of one credential in this worker."""

    __slots__ = (
        "breaker",
        "failures",
        "in_flight",
        "latency",
        "load",
        "models",
        "name",
        "number",
        "requests",
        "step",
        "tag",
        "waiting",
        "weight",
    )

    def __init__(self, number: int, name: str, weight: float) -> None:
        self.number, self.name, self.weight, self.step = number, name, weight, 1.0 / weight
        self.breaker = _Circuit()
        self.models: dict[str, _Circuit] = {}
        self.in_flight = self.waiting = self.requests = 0
        """``waiting`` of those in flight have no byte of an answer yet."""
        self.latency = PeakEwma(_DECAY_SECONDS)
        self.tag = 0.0
        self.load = 0.0
        """As of the last choice."""
        self.failures: Counter[Fault] = Counter()


class Lease(msgspec.Struct, gc=False, eq=False):
    """One request with one credential, which has a ``name``, and a ``number`` in its pool; it ends in ``complete``,
    ``fail`` or ``drop`` of the pool, once. A structure, because making one takes a third of what another object does.
    """

    name: str
    number: int
    _credential: _Credential
    _model: str
    _since: float | None
    """When it was sent, until it is answered."""
    _probes: tuple[_Circuit, ...]
    _give_back: Callable[[], None] | None
    _forced: bool = False
    """Whether it was sent although ``_probes`` are not closed."""
    _ended: bool = False

    def _end(self) -> _Credential:
        """Give the place back."""
        assert not self._ended, "a lease ends once"
        self._ended = True
        credential = self._credential
        credential.in_flight -= 1
        if self._since is not None:
            credential.waiting -= 1
        if self._give_back is not None:
            self._give_back()
        return credential

    def _pass(self) -> None:
        """The probes have succeeded."""
        for circuit in self._probes:
            if self._forced:
                circuit.pass_forced()
            else:
                circuit.pass_probe()
        self._probes = ()


class Unavailable(NamedTuple):
    """No credential can serve a request now. ``seconds`` until one may; ``reasons`` counts credentials by what keeps
    them, None for those whose caps are reached."""

    seconds: float
    reasons: Mapping[Fault | None, int]


class CredentialStatistics(NamedTuple):
    """One credential in one worker. Counts are since the start; ``latency`` and ``until`` are in seconds, ``until``
    from now; ``models`` are those that it does not serve at present, with the fault."""

    name: str
    weight: float
    state: BreakerState
    fault: Fault | None
    until: float
    in_flight: int
    requests: int
    failures: Mapping[Fault, int]
    latency: float | None
    models: Mapping[str, Fault]


class CredentialPool:
    """See the module docstring. ``credentials`` are names and weights (above 0)."""

    def __init__(self, credentials: Sequence[tuple[str, float]], caps: Caps | None = None) -> None:
        self._credentials = [_Credential(number, *one) for number, one in enumerate(credentials)]
        self._caps = caps
        self._tag = 0.0
        self._typical = 1.0
        """Latency last seen with any of them, for those of which nothing is known."""

    def __len__(self) -> int:
        return len(self._credentials)

    def __repr__(self) -> str:
        return f"<CredentialPool {[(one.name, one.breaker.state.value, one.in_flight) for one in self._credentials]}>"

    def acquire(
        self, now: float, model: str, tried: Collection[int] = (), session: bytes | None = None
    ) -> Lease | Unavailable:
        """A credential for a request for ``model``; numbers in ``tried`` only if there is no other."""
        without = rest = tried
        forced = False
        while True:
            chosen = self._choose(now, model, without, session, forced)
            if chosen is None:
                if rest:
                    # Caps that are reached are found so a second time, which is rare.
                    without = rest = ()
                elif not forced and self._are_all_refused(self._credentials, now, model):
                    forced, without, rest = True, tried, tried
                else:
                    return self._unavailable(now, model)
            elif self._caps is None:
                return self._lend(chosen, now, model, None, forced)
            elif (give_back := self._caps.take(chosen.number, model)) is not None:
                return self._lend(chosen, now, model, give_back, forced)
            else:
                without = (*without, chosen.number)

    @staticmethod
    def _are_all_refused(credentials: Sequence[_Credential], now: float, model: str) -> bool:
        """Whether each of ``credentials`` is kept from ``model`` by refusals alone."""
        return bool(credentials) and all(
            (shut := _shut(one, now, model)) and all(circuit.fault in _LAST_RESORT for circuit in shut)
            for one in credentials
        )

    def _lend(
        self, chosen: _Credential, now: float, model: str, give_back: Callable[[], None] | None, forced: bool
    ) -> Lease:
        if chosen.tag < self._tag:
            chosen.tag = self._tag
        self._tag = chosen.tag
        chosen.tag += chosen.step
        chosen.in_flight += 1
        chosen.waiting += 1
        chosen.requests += 1
        if forced:
            shut = tuple(_shut(chosen, now, model))
            return Lease(chosen.name, chosen.number, chosen, model, now, shut, give_back, True)
        probes: tuple[_Circuit, ...] = ()
        if chosen.breaker.state is not BreakerState.CLOSED:
            chosen.breaker.enter()
            probes = (chosen.breaker,)
        if chosen.models and (circuit := chosen.models.get(model)) is not None and circuit.enter():
            probes += (circuit,)
        return Lease(chosen.name, chosen.number, chosen, model, now, probes, give_back)

    def _choose(
        self, now: float, model: str, without: Collection[int], session: bytes | None, forced: bool
    ) -> _Credential | None:
        closed, stale = BreakerState.CLOSED, now - _FRESH_SECONDS
        fit: list[_Credential] = []
        least = math.inf
        for one in self._credentials:
            if without and one.number in without:
                continue
            breaker = one.breaker
            if breaker.state is not closed and not breaker.allows(now) and not forced:
                continue
            if one.models and (circuit := one.models.get(model)) is not None and not circuit.allows(now) and not forced:
                continue
            average = one.latency
            latency = average.value
            if latency is None or average.at < stale:
                latency = self._typical if one.waiting else 0.0
            load = one.load = latency * (1.0 + one.in_flight * one.step) if one.in_flight else latency
            if load < least:
                least = load
            fit.append(one)
        if len(fit) < 2:
            return fit[0] if fit else None
        if session is not None:
            return max(fit, key=lambda one: _affinity(session, one.name, one.weight))
        least *= ALIKE
        now_serving, best, first = self._tag, None, math.inf
        for one in fit:
            if one.load <= least:
                tag = one.tag
                if tag < now_serving:
                    tag = now_serving
                if tag < first:
                    best, first = one, tag
        return best

    def answered(self, lease: Lease, now: float) -> None:
        """The first of a stream has come: how long it took tells of the upstream, and a probe has passed."""
        since = lease._since
        if since is not None:
            lease._since = None
            credential = lease._credential
            credential.waiting -= 1
            self._typical = credential.latency.observe(now, now - since)
            lease._pass()

    def complete(self, lease: Lease) -> None:
        """The answer has come to its end."""
        credential = lease._end()
        lease._pass()
        breaker = credential.breaker
        if breaker.failures or breaker.trips:
            breaker.succeed()
        if credential.models and (troubled := credential.models.get(lease._model)) is not None:
            troubled.succeed()
            if troubled.state is BreakerState.CLOSED:
                del credential.models[lease._model]

    def drop(self, lease: Lease) -> None:
        """The request has ended without saying anything of the credential."""
        lease._end()
        if not lease._forced:
            for circuit in lease._probes:
                circuit.void_probe()

    def fail(self, lease: Lease, now: float, fault: Fault, wait: float | None = None) -> float:
        """The request has failed. ``wait`` is for how long (seconds) the upstream wants to be left alone. For how many
        seconds this puts the credential, or the model with it, out of use; 0 if it does not, or that is no news."""
        cooling = COOLING.get(fault)
        if cooling is None:
            self.drop(lease)
            return 0.0
        credential = lease._end()
        credential.failures[fault] += 1
        if lease._forced:
            if fault in _LAST_RESORT:
                # It is out of use already, for as long as the first refusal says.
                return 0.0
            lease._probes = ()
        circuit = self._model_circuit(credential, lease._model) if cooling.model else credential.breaker
        probe = False
        for one in lease._probes:
            if one is circuit:
                probe = True
            else:
                one.void_probe()
        circuit.failures += 1
        if not probe and wait is None and circuit.failures < cooling.failures:
            return 0.0
        wait = cooling.seconds(circuit.trips, wait)
        if probe:
            circuit.fail_probe(now + wait)
            news = circuit.fault is not fault
        else:
            news = circuit.trip(now + wait)
        circuit.fault = fault
        return wait if news else 0.0

    @staticmethod
    def _model_circuit(credential: _Credential, model: str) -> _Circuit:
        circuit = credential.models.get(model)
        if circuit is None:
            if len(credential.models) >= _MAX_MODELS:
                del credential.models[next(iter(credential.models))]
            circuit = credential.models[model] = _Circuit()
        return circuit

    def _unavailable(self, now: float, model: str) -> Unavailable:
        reasons: Counter[Fault | None] = Counter()
        earliest = math.inf
        for one in self._credentials:
            seconds, fault = _obstacle(one, now, model)
            reasons[fault] += 1
            earliest = min(earliest, seconds or _BUSY_SECONDS)
        return Unavailable(earliest, reasons)

    def wait(self, now: float, model: str, tried: Collection[int] = ()) -> float:
        """Seconds until a credential whose number is not in ``tried`` may serve ``model``, caps aside; infinite if
        there is none."""
        others = [one for one in self._credentials if one.number not in tried]
        if self._are_all_refused(self._credentials, now, model) and others:
            return 0.0
        return min((_obstacle(one, now, model)[0] for one in others), default=math.inf)

    def peek(self) -> int:
        """Number of a credential that is well, if there is one."""
        return next((one.number for one in self._credentials if one.breaker.state is BreakerState.CLOSED), 0)

    def usable(self, now: float) -> int:
        """How many may serve a request, caps and models aside."""
        return sum(one.breaker.allows(now) for one in self._credentials)

    def refused(self, now: float) -> bool:
        """Whether the upstream has refused every credential, and it is not yet time to ask again."""
        return bool(self._credentials) and all(
            one.breaker.fault is Fault.REFUSED and not one.breaker.allows(now) for one in self._credentials
        )

    def statistics(self, now: float) -> tuple[CredentialStatistics, ...]:
        """How each credential stands."""
        return tuple(
            CredentialStatistics(
                one.name,
                one.weight,
                one.breaker.state,
                None if one.breaker.state is BreakerState.CLOSED else one.breaker.fault,
                max(one.breaker.until - now, 0.0) if one.breaker.state is BreakerState.OPEN else 0.0,
                one.in_flight,
                one.requests,
                dict(one.failures),
                one.latency.value,
                {name: each.fault for name, each in one.models.items() if each.state is not BreakerState.CLOSED},
            )
            for one in self._credentials
        )


def _shut(one: _Credential, now: float, model: str) -> list[_Circuit]:
    """The breakers that keep it from ``model``."""
    circuits = (one.breaker, one.models.get(model))
    return [circuit for circuit in circuits if circuit is not None and not circuit.allows(now)]


def _obstacle(one: _Credential, now: float, model: str) -> tuple[float, Fault | None]:
    """For how many seconds it does not serve ``model``, caps aside, and why."""
    shut = _shut(one, now, model)
    if not shut:
        return 0.0, None
    return max(max(circuit.until - now, 0.0) or _BUSY_SECONDS for circuit in shut), shut[0].fault


def _affinity(session: bytes, name: str, weight: float) -> float:
    """Weighted rendezvous hashing: the credential with the greatest affinity has the session."""
    digest = hashlib.blake2b(session, digest_size=8, key=name.encode("utf-8")).digest()
    # Within (0, 1), both ends excluded.
    chance = ((int.from_bytes(digest, "little") >> 12) + 0.5) / 2.0**52
    return weight / -math.log(chance)
