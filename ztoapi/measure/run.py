"""The measurement: alternates between direct calls and the gateway, first with one request at a time, then with many
concurrent streams."""

import asyncio
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from ztoapi.errors import ZtoapiError
from ztoapi.measure.figures import Comparison, compare, spread
from ztoapi.measure.timed_request import Arm, Timing, body_of, time_request
from ztoapi.upstream.client import NativeClient

__all__ = ["DIRECT", "GATEWAY", "Measurement", "MeasurementPlan", "RefusedError", "UnreachableError"]

_TIMEOUT_SECONDS: Final = 120.0
"""The time limit of one request: longer than any short response takes."""
DIRECT: Final = "direct"
GATEWAY: Final = "gateway"


class UnreachableError(ZtoapiError):
    """No connection to ``arm``."""

    def __init__(self, arm: Arm, fault: str) -> None:
        super().__init__(fault)
        self.arm = arm


class RefusedError(ZtoapiError):
    """The first request to ``arm`` has failed, so that no further one is sent."""

    def __init__(self, arm: Arm, fault: str) -> None:
        super().__init__(fault)
        self.arm = arm


class MeasurementPlan:
    """Sends ``requests`` of each kind to each arm, with ``concurrency`` concurrent streams in the last part."""

    def __init__(self, direct: Arm, gateway: Arm, model: str, requests: int, concurrency: int, max_tokens: int) -> None:
        self.arms = (direct, gateway)
        self.model = model
        self.requests = requests
        self.concurrency = concurrency
        self.max_tokens = max_tokens

    @property
    def total(self) -> int:
        """Number of requests, without the first to each arm, which only opens the connection."""
        return self.requests * 6


class Measurement:
    """Takes the samples. ``report`` may be called at any time, also after an interruption."""

    def __init__(self, plan: MeasurementPlan, progress: Callable[[str, int, int], None]) -> None:
        """``progress`` is called at the start of each part, and after each request, with the part, the number of
        requests that are done, and their total."""
        self._plan = plan
        self._progress = progress
        self._done = 0
        self._unary: dict[str, list[float]] = {DIRECT: [], GATEWAY: []}
        self._first: dict[str, list[float]] = {DIRECT: [], GATEWAY: []}
        self._streams: dict[str, list[Timing]] = {DIRECT: [], GATEWAY: []}
        self._elapsed = {DIRECT: 0.0, GATEWAY: 0.0}
        self.faults: dict[str, Counter[str]] = {DIRECT: Counter(), GATEWAY: Counter()}

    async def run(self, client: NativeClient) -> None:
        """Takes all samples. Raises UnreachableError if the first request to an arm gets no connection, RefusedError if
        it fails otherwise."""
        plan = self._plan
        for arm in reversed(plan.arms):
            timing = await self._ask(client, arm, stream=False)
            if timing.unreachable:
                raise UnreachableError(arm, timing.fault)
            if timing.fault:
                raise RefusedError(arm, timing.fault)
        for stream, part in ((False, "whole responses, one at a time"), (True, "streams, one at a time")):
            self._progress(part, self._done, plan.total)
            for number in range(plan.requests):
                # The arms alternate in going first, so that a drift of the machine affects both.
                for arm in plan.arms if number % 2 else reversed(plan.arms):
                    timing = await self._ask(client, arm, stream=stream)
                    self._step(part)
                    if timing.fault:
                        continue
                    if not stream:
                        self._unary[arm.name].append(timing.seconds)
                    elif timing.first_seconds is not None:
                        self._first[arm.name].append(timing.first_seconds)
        direct, gateway = plan.arms
        half = plan.requests // 2
        part = f"{plan.concurrency} streams at once"
        self._progress(part, self._done, plan.total)
        # Two rounds each, in an order that makes a slow drift of the machine affect both.
        for arm, count in (
            (direct, half),
            (gateway, half),
            (gateway, plan.requests - half),
            (direct, plan.requests - half),
        ):
            await self._many(client, arm, count, part)

    async def _many(self, client: NativeClient, arm: Arm, count: int, part: str) -> None:
        remaining = count

        async def send_in_turn() -> None:
            nonlocal remaining
            while remaining:
                remaining -= 1
                timing = await self._ask(client, arm, stream=True)
                self._step(part)
                if not timing.fault:
                    self._streams[arm.name].append(timing)

        loop = asyncio.get_running_loop()
        start = loop.time()
        await asyncio.gather(*(send_in_turn() for _ in range(min(self._plan.concurrency, count))))
        self._elapsed[arm.name] += loop.time() - start

    async def _ask(self, client: NativeClient, arm: Arm, *, stream: bool) -> Timing:
        body = body_of(self._plan.model, self._plan.max_tokens, stream)
        timing = await time_request(client, arm, body, stream=stream, timeout_seconds=_TIMEOUT_SECONDS)
        if arm.name == GATEWAY:
            # The client describes every server as an upstream.
            timing = timing._replace(fault=timing.fault.replace("the upstream", "the gateway"))
        if timing.fault:
            self.faults[arm.name][timing.fault] += 1
        return timing

    @property
    def urls(self) -> dict[str, str]:
        return {arm.name: arm.url for arm in self._plan.arms}

    def _step(self, part: str) -> None:
        self._done += 1
        self._progress(part, self._done, self._plan.total)

    @property
    def samples(self) -> dict[str, dict[str, list[float]]]:
        """The times in seconds, by measurement and arm."""
        return {"latency": self._unary, "first_token": self._first}

    @property
    def latency(self) -> Comparison | None:
        """Compares the times to the end of responses that are not streamed."""
        return compare(self._unary[DIRECT], self._unary[GATEWAY])

    @property
    def first_token(self) -> Comparison | None:
        """Compares the times to the first delta of streams."""
        return compare(self._first[DIRECT], self._first[GATEWAY])

    def streams(self, name: str) -> dict[str, float] | None:
        """Returns figures of ``concurrency`` concurrent streams: rates, and the gaps between deltas in milliseconds.
        Jitter is the standard deviation of the gaps. None without a complete stream of at least two reads."""
        timings, elapsed = self._streams[name], self._elapsed[name]
        gaps = [gap for timing in timings for gap in timing.gaps]
        if not gaps or not elapsed:
            return None
        return {
            "streams_per_second": len(timings) / elapsed,
            "deltas_per_second": sum(timing.deltas for timing in timings) / elapsed,
            "gap_mean_ms": statistics.fmean(gaps) * 1000,
            "gap_p99_ms": spread(gaps).p99,
            "jitter_ms": statistics.pstdev(gaps) * 1000,
        }

    def report(self) -> dict[str, object]:
        """Returns all figures, as printed by ``--json``."""
        plan = self._plan
        return {
            "gateway": plan.arms[1].url,
            "upstream": plan.arms[0].url,
            "model": plan.model,
            "requests": plan.requests,
            "concurrency": plan.concurrency,
            "max_tokens": plan.max_tokens,
            "answered": {
                name: {
                    "unary": len(self._unary[name]),
                    "first_token": len(self._first[name]),
                    "streams": len(self._streams[name]),
                }
                for name in (DIRECT, GATEWAY)
            },
            "latency": _as_dict(self.latency),
            "first_token": _as_dict(self.first_token),
            "streams": {name: self.streams(name) for name in (DIRECT, GATEWAY)},
            "failures": {name: dict(counts) for name, counts in self.faults.items()},
        }


def _as_dict(comparison: Comparison | None) -> dict[str, object] | None:
    if comparison is None:
        return None
    names: Sequence[str] = ("direct_ms", "gateway_ms", "added_ms")
    spreads: dict[str, object] = {name: getattr(comparison, name)._asdict() for name in names}
    return {**spreads, "noise_ms": comparison.noise_ms, "above_noise": comparison.significant}
