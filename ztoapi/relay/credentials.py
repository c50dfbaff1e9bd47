"""The credentials of one platform: the choice for each request, and their health.

*Choice.* Candidates are healthy and below their caps. Among those whose load is close to the least (within
:data:`ALIKE`), weighted turns decide. Load is the peak-EWMA latency to the first byte times 1 + in flight / weight. So
equal credentials share by weight, a slow or busy one gets fewer requests, and one without recent latency gets one
request as a sample. With a session, weighted rendezvous hashing decides instead: a session keeps its credential while
that is possible, and a credential that is added or removed moves only its own sessions.

*Turns* are start-time fair queueing (Goyal et al., 1996): the smallest tag goes first and advances by 1 / weight. A
credential that returns starts at the others' tags, not at its old one.

*Health.* A credential has a breaker, and one for each model with recent failures (Z.ai's limits are by model). One
table (:mod:`ztoapi.relay.cooldowns`) defines for each fault which of the two it concerns, the number of failures in a
row that opens it, and the time. Every lease ends once: completed, failed or dropped.

*Last resort.* While every credential is out of use, requests are sent nevertheless, and the first success brings its
credential back. HAProxy and Envoy call this panic mode. If the upstream refuses all of them, every request is sent. If
some are failing or overloaded, the one that is due soonest gets a request, each at most one in
:data:`TEST_SECONDS`. Quotas, throttles and the times that an upstream names are respected.

The module has no clock, randomness or I/O: ``now`` is an argument (monotonic seconds).
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import msgspec

from ztoapi.errors import Fault
from ztoapi.relay.cooldowns import COOLDOWNS
from ztoapi.structures.breaker import Breaker, BreakerState
from ztoapi.structures.ewma import PeakEwma

__all__ = ["ALIKE", "Caps", "CredentialLease", "CredentialPool", "CredentialStatistics", "Unavailable"]

ALIKE: Final = 2.0
"""Loads that differ by less than this factor count as equal: the time to the first token varies more from request to
request."""
_DECAY_SECONDS: Final = 10.0
"""As in Finagle."""
_FRESH_SECONDS: Final = 30.0
"""Age at which a latency no longer counts: a credential that was slow half a minute ago gets one request."""
_MAX_MODELS: Final = 64
"""Models with a breaker, for each credential: names come from clients."""
_LAST_RESORT: Final = frozenset((Fault.REFUSED, Fault.EXCLUDED))
"""Faults that do not exclude a credential if every credential has one of them."""
_TESTED: Final = frozenset((*_LAST_RESORT, Fault.OVERLOADED, Fault.UPSTREAM))
"""Faults of credentials that are tested while every credential is out of use."""
TEST_SECONDS: Final = 1.0
"""Between two such tests, and before the first: the shortest cooldown of these faults."""
_CLOSED: Final = BreakerState.CLOSED
"""A member of an enumeration takes 300 instructions, a global 15."""
_BUSY_SECONDS: Final = 1.0
"""The wait for a place or for the end of a probe, which cannot be predicted."""


class Caps(Protocol):
    """Places for requests in flight, which workers may share. The implementation is in :mod:`ztoapi.relay.caps`, which
    needs :mod:`ztoapi.limits`; the pool does not."""

    def take(self, credential: int, model: str) -> Callable[[], None] | None:
        """Takes a place with the credential of this number. Returns the function that releases it, None if there is no
        place."""
        ...


class _Circuit(Breaker):
    """A breaker with the fault that has opened it."""

    __slots__ = ("fault", "requested", "tested_at")

    def __init__(self) -> None:
        super().__init__()
        self.fault = Fault.REQUEST
        self.requested = False
        """Whether the upstream has named the time."""
        self.tested_at = 0.0
        """Time of the last opening, probe, or request that was sent nevertheless."""


class _Credential:
    """The state of one credential in this worker."""

    __slots__ = (
        "answered",
        "breaker",
        "ended",
        "failures",
        "last_failure",
        "latency",
        "load",
        "models",
        "name",
        "number",
        "requests",
        "step",
        "tag",
        "weight",
    )

    def __init__(self, number: int, name: str, weight: float) -> None:
        self.number = number
        self.name = name
        self.weight = weight
        self.step = 1.0 / weight
        self.breaker = _Circuit()
        self.models: dict[str, _Circuit] = {}
        self.requests = 0
        self.answered = 0
        """Those of them with a response, or at their end."""
        self.ended = 0
        self.latency = PeakEwma(_DECAY_SECONDS)
        self.tag = 0.0
        self.load = 0.0
        """Load at the last choice."""
        self.failures: Counter[Fault] = Counter()
        self.last_failure: tuple[float, Fault] | None = None

    @property
    def in_flight(self) -> int:
        return self.requests - self.ended


class CredentialLease(msgspec.Struct, gc=False, eq=False):
    """One attempt with one credential, with its ``name`` and its ``number`` in the pool. It ends once, by ``complete``,
    ``fail`` or ``drop`` of the pool. A Struct, because creating one takes a third of the time of another object."""

    name: str
    number: int
    _credential: _Credential
    _model: str
    _since: float | None
    """Time of the request, None once the response has begun."""
    _probes: tuple[_Circuit, ...] = ()
    _release_cap: Callable[[], None] | None = None
    _forced: bool = False
    """Whether the request is sent although ``_probes`` are open."""
    _ended: bool = False

    def _end(self) -> _Credential:
        """Releases the place."""
        assert not self._ended, "a lease ends once"
        self._ended = True
        credential = self._credential
        credential.ended += 1
        if self._since is not None:
            credential.answered += 1
        if self._release_cap is not None:
            self._release_cap()
        return credential

    def _pass(self) -> None:
        """Closes the breakers: the probes have succeeded."""
        for circuit in self._probes:
            if self._forced:
                circuit.pass_forced()
            else:
                circuit.pass_probe()
        self._probes = ()


class Unavailable(NamedTuple):
    """No credential can serve a request for ``seconds``. ``reasons`` counts the credentials by fault, with None for
    those whose caps are reached."""

    seconds: float
    reasons: Mapping[Fault | None, int]


class CredentialStatistics(NamedTuple):
    """One credential in one worker. Counts are since the start; ``latency`` and ``until`` are in seconds, the latter
    from now; ``models`` are the models that it does not serve at present, with the fault; ``last_failure`` is the age
    of the last failure in seconds, and its fault."""

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
    last_failure: tuple[float, Fault] | None


class CredentialPool:
    """See the module docstring. ``credentials`` are names and weights (above 0)."""

    def __init__(self, credentials: Sequence[tuple[str, float]], caps: Caps | None = None) -> None:
        self._credentials = [_Credential(number, name, weight) for number, (name, weight) in enumerate(credentials)]
        self._caps = caps
        self._alone = self._credentials[0] if caps is None and len(credentials) == 1 else None
        """The credential that needs no choice, and so neither a tag nor a load."""
        self._tag = 0.0
        self._typical = 1.0
        """The latest latency of any credential, assumed for those without one."""
        self.last_resorts = 0
        """Requests that were sent although every credential was out of use."""

    def __len__(self) -> int:
        return len(self._credentials)

    def __repr__(self) -> str:
        return (
            f"<CredentialPool {[(each.name, each.breaker.state.value, each.in_flight) for each in self._credentials]}>"
        )

    def acquire(
        self, now: float, model: str, tried: Collection[int] = (), session: bytes | None = None
    ) -> CredentialLease | Unavailable:
        """Takes a credential for ``model``; those whose numbers are in ``tried`` only if there is no other."""
        alone = self._alone
        if alone is not None and alone.breaker.state is _CLOSED and model not in alone.models:
            # The usual case, at a fifth of the instructions (35 opcodes, 177 with a choice).
            alone.requests += 1
            return CredentialLease(alone.name, alone.number, alone, model, now)
        excluded = rest = tried
        forced = False
        while True:
            credential = self._choose(now, model, excluded, session, forced)
            if credential is None:
                if rest:
                    # Caps that are reached are checked a second time, which is rare.
                    excluded = rest = ()
                elif not forced and self._are_all_refused(self._credentials, now, model):
                    forced, excluded, rest = True, tried, tried
                elif forced or tried:
                    return self._unavailable(now, model)
                else:
                    return self._test(now, model) or self._unavailable(now, model)
            elif self._caps is None:
                return self._lend(credential, now, model, None, forced)
            elif (release_cap := self._caps.take(credential.number, model)) is not None:
                return self._lend(credential, now, model, release_cap, forced)
            else:
                excluded = (*excluded, credential.number)

    @staticmethod
    def _are_all_refused(credentials: Sequence[_Credential], now: float, model: str) -> bool:
        """Whether refusals alone exclude each of ``credentials`` from ``model``."""
        return bool(credentials) and all(
            (circuits := _open_circuits(credential, now, model))
            and all(circuit.fault in _LAST_RESORT for circuit in circuits)
            for credential in credentials
        )

    def _test(self, now: float, model: str) -> CredentialLease | None:
        """Takes the credential that is due soonest, if every credential is out of use and one may be tested."""
        if any(not _open_circuits(credential, now, model) for credential in self._credentials):
            return None
        candidates = [credential for credential in self._credentials if _may_be_tested(credential, now, model)]
        for credential in sorted(candidates, key=lambda each: _obstacle(each, now, model)[0]):
            release_cap = None if self._caps is None else self._caps.take(credential.number, model)
            if self._caps is None or release_cap is not None:
                return self._lend(credential, now, model, release_cap, True)
        return None

    def _lend(
        self, credential: _Credential, now: float, model: str, release_cap: Callable[[], None] | None, forced: bool
    ) -> CredentialLease:
        if credential.tag < self._tag:
            credential.tag = self._tag
        self._tag = credential.tag
        credential.tag += credential.step
        credential.requests += 1
        if forced:
            circuits = tuple(_open_circuits(credential, now, model))
            self.last_resorts += 1
            for opened in circuits:
                opened.tested_at = now
            return CredentialLease(
                credential.name, credential.number, credential, model, now, circuits, release_cap, True
            )
        probes: tuple[_Circuit, ...] = ()
        if credential.breaker.state is not _CLOSED:
            credential.breaker.enter()
            credential.breaker.tested_at = now
            probes = (credential.breaker,)
        if credential.models and (circuit := credential.models.get(model)) is not None and circuit.enter():
            circuit.tested_at = now
            probes += (circuit,)
        return CredentialLease(credential.name, credential.number, credential, model, now, probes, release_cap)

    def _choose(
        self, now: float, model: str, excluded: Collection[int], session: bytes | None, forced: bool
    ) -> _Credential | None:
        stale = now - _FRESH_SECONDS
        candidates: list[_Credential] = []
        least = math.inf
        for credential in self._credentials:
            if excluded and credential.number in excluded:
                continue
            breaker = credential.breaker
            if breaker.state is not _CLOSED and not breaker.allows(now) and not forced:
                continue
            if (
                credential.models
                and (circuit := credential.models.get(model)) is not None
                and not circuit.allows(now)
                and not forced
            ):
                continue
            average = credential.latency
            latency = average.value
            if latency is None or average.at < stale:
                latency = self._typical if credential.requests > credential.answered else 0.0
            in_flight = credential.requests - credential.ended
            load = latency * (1.0 + in_flight * credential.step) if in_flight else latency
            credential.load = load
            if load < least:
                least = load
            candidates.append(credential)
        if len(candidates) < 2:
            return candidates[0] if candidates else None
        if session is not None:
            return max(candidates, key=lambda each: _affinity(session, each.name, each.weight))
        max_load = least * ALIKE
        current = self._tag
        first, first_tag = None, math.inf
        for credential in candidates:
            if credential.load <= max_load:
                tag = credential.tag
                if tag < current:
                    tag = current
                if tag < first_tag:
                    first, first_tag = credential, tag
        return first

    def responded(self, lease: CredentialLease, now: float) -> None:
        """The first part of a response has arrived: its latency counts, and a probe has succeeded."""
        since = lease._since
        if since is not None:
            lease._since = None
            credential = lease._credential
            credential.answered += 1
            self._typical = credential.latency.observe(now, now - since)
            if lease._probes:
                lease._pass()

    def complete(self, lease: CredentialLease) -> None:
        """The response is complete."""
        credential = lease._end()
        if lease._probes:
            lease._pass()
        breaker = credential.breaker
        if breaker.failures or breaker.trips:
            breaker.succeed()
        if credential.models and (circuit := credential.models.get(lease._model)) is not None:
            circuit.succeed()
            if circuit.state is _CLOSED:
                del credential.models[lease._model]

    def drop(self, lease: CredentialLease) -> None:
        """The attempt has ended without a verdict on the credential."""
        lease._end()
        if not lease._forced:
            for circuit in lease._probes:
                circuit.void_probe()

    def fail(self, lease: CredentialLease, now: float, fault: Fault, wait: float | None = None) -> float:
        """The attempt has failed; ``wait`` is the time in seconds that the upstream requests. Returns the seconds for
        which the credential, or the model with it, is put out of use; 0 if it is not, or was already."""
        cooldown = COOLDOWNS.get(fault)
        if cooldown is None:
            self.drop(lease)
            return 0.0
        credential = lease._end()
        credential.failures[fault] += 1
        credential.last_failure = now, fault
        if lease._forced:
            if fault in _LAST_RESORT or (wait is None and any(each.fault is fault for each in lease._probes)):
                # It is out of use already, for the time of the first failure.
                return 0.0
            lease._probes = ()
        circuit = self._model_circuit(credential, lease._model) if cooldown.model else credential.breaker
        probe = False
        for probed in lease._probes:
            if probed is circuit:
                probe = True
            else:
                probed.void_probe()
        circuit.failures += 1
        if not probe and wait is None and circuit.failures < cooldown.failures:
            return 0.0
        requested = wait is not None
        wait = cooldown.seconds(circuit.trips, wait)
        if probe:
            circuit.fail_probe(now + wait)
            is_new = circuit.fault is not fault
        else:
            is_new = circuit.trip(now + wait)
        if probe or is_new:
            circuit.tested_at = now
            circuit.requested = requested
        else:
            circuit.requested |= requested
        circuit.fault = fault
        return wait if is_new else 0.0

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
        for credential in self._credentials:
            seconds, fault = _obstacle(credential, now, model)
            reasons[fault] += 1
            earliest = min(earliest, seconds or _BUSY_SECONDS)
        return Unavailable(earliest, reasons)

    def wait(self, now: float, model: str, tried: Collection[int] = ()) -> float:
        """Returns the seconds until a credential whose number is not in ``tried`` may serve ``model``, regardless of
        caps; infinity if there is none."""
        others = [credential for credential in self._credentials if credential.number not in tried]
        if self._are_all_refused(self._credentials, now, model) and others:
            return 0.0
        return min((_obstacle(credential, now, model)[0] for credential in others), default=math.inf)

    def reset(self, number: int) -> None:
        """Puts a credential back into service. Its breakers are replaced, because requests in flight may be probes of
        the present ones."""
        credential = self._credentials[number]
        credential.breaker = _Circuit()
        credential.models = {}

    def peek(self) -> int:
        """Returns the number of a healthy credential, or the first one's."""
        return next((each.number for each in self._credentials if each.breaker.state is BreakerState.CLOSED), 0)

    def usable(self, now: float) -> int:
        """Returns the number of credentials that may serve requests, regardless of caps and models."""
        return sum(credential.breaker.allows(now) for credential in self._credentials)

    def refused(self, now: float) -> bool:
        """Whether the upstream has refused every credential, and none may be probed yet."""
        return bool(self._credentials) and all(
            each.breaker.fault is Fault.REFUSED and not each.breaker.allows(now) for each in self._credentials
        )

    def statistics(self, now: float) -> tuple[CredentialStatistics, ...]:
        """Returns the state of each credential."""
        return tuple(_statistics(credential, now) for credential in self._credentials)


def _statistics(credential: _Credential, now: float) -> CredentialStatistics:
    breaker = credential.breaker
    return CredentialStatistics(
        credential.name,
        credential.weight,
        breaker.state,
        None if breaker.state is BreakerState.CLOSED else breaker.fault,
        max(breaker.until - now, 0.0) if breaker.state is BreakerState.OPEN else 0.0,
        credential.in_flight,
        credential.requests,
        dict(credential.failures),
        credential.latency.value,
        {model: each.fault for model, each in credential.models.items() if each.state is not BreakerState.CLOSED},
        None if credential.last_failure is None else (now - credential.last_failure[0], credential.last_failure[1]),
    )


def _open_circuits(credential: _Credential, now: float, model: str) -> list[_Circuit]:
    """Returns the breakers that exclude the credential from ``model``."""
    circuits = (credential.breaker, credential.models.get(model))
    return [circuit for circuit in circuits if circuit is not None and not circuit.allows(now)]


def _may_be_tested(credential: _Credential, now: float, model: str) -> bool:
    """Whether a request may be sent although the credential is out of use for ``model``."""
    return all(
        circuit.fault in _TESTED and not circuit.requested and now >= circuit.tested_at + TEST_SECONDS
        for circuit in _open_circuits(credential, now, model)
    )


def _obstacle(credential: _Credential, now: float, model: str) -> tuple[float, Fault | None]:
    """Returns the seconds until the credential may serve ``model``, regardless of caps, and the fault."""
    circuits = _open_circuits(credential, now, model)
    if not circuits:
        return 0.0, None
    return max(max(circuit.until - now, 0.0) or _BUSY_SECONDS for circuit in circuits), circuits[0].fault


def _affinity(session: bytes, name: str, weight: float) -> float:
    """Weighted rendezvous hashing: the credential with the greatest affinity serves the session."""
    digest = hashlib.blake2b(session, digest_size=8, key=name.encode("utf-8")).digest()
    # Within (0, 1), both ends excluded.
    fraction = ((int.from_bytes(digest, "little") >> 12) + 0.5) / 2.0**52
    return weight / -math.log(fraction)
