"""The measurement: direct and through the gateway in turn, first one request at a time, then many streams at once."""

import asyncio
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from ztoapi.measure.asking import Answer, Arm, ask, body_of
from ztoapi.measure.figures import Comparison, compare, spread
from ztoapi.upstream.client import NativeClient

__all__ = ["Measurement", "Plan"]

_TIMEOUT_SECONDS: Final = 120.0
"""For one request: longer than any short answer takes, and a measurement that hangs must end."""
DIRECT: Final = "direct"
GATEWAY: Final = "gateway"


class Plan:
    """What is asked: ``requests`` of each kind to each arm, ``concurrency`` streams at once in the last part."""

    def __init__(self, direct: Arm, gateway: Arm, model: str, requests: int, concurrency: int, max_tokens: int) -> None:
        self.arms = (direct, gateway)
        self.model = model
        self.requests = requests
        self.concurrency = concurrency
        self.max_tokens = max_tokens

    @property
    def total(self) -> int:
        """Requests in all, without the first one to each arm, which only opens its connection."""
        return self.requests * 6


class Measurement:
    """Takes the samples; ``report`` may be asked at any time, also after an interruption."""

    def __init__(self, plan: Plan, progress: Callable[[int, int], None] | None) -> None:
        self._plan = plan
        self._progress = progress
        self._done = 0
        self._unary: dict[str, list[float]] = {DIRECT: [], GATEWAY: []}
        self._first: dict[str, list[float]] = {DIRECT: [], GATEWAY: []}
        self._streams: dict[str, list[Answer]] = {DIRECT: [], GATEWAY: []}
        self._elapsed = {DIRECT: 0.0, GATEWAY: 0.0}
        self.faults: dict[str, Counter[str]] = {DIRECT: Counter(), GATEWAY: Counter()}

    async def run(self, client: NativeClient) -> None:
        """Take all samples."""
        plan = self._plan
        for arm in plan.arms:
            await self._ask(client, arm, stream=False)
        for stream in (False, True):
            for number in range(plan.requests):
                # Each of the two goes first as often as the other, so that a drift of the machine hits both.
                for arm in plan.arms if number % 2 else reversed(plan.arms):
                    answer = await self._ask(client, arm, stream=stream)
                    self._step()
                    if answer.fault:
                        continue
                    if not stream:
                        self._unary[arm.name].append(answer.seconds)
                    elif answer.first_seconds is not None:
                        self._first[arm.name].append(answer.first_seconds)
        direct, gateway = plan.arms
        half = plan.requests // 2
        # Twice each, in an order that gives a slow drift of the machine to both.
        for arm, count in (
            (direct, half),
            (gateway, half),
            (gateway, plan.requests - half),
            (direct, plan.requests - half),
        ):
            await self._many(client, arm, count)

    async def _many(self, client: NativeClient, arm: Arm, count: int) -> None:
        left = count

        async def one_after_another() -> None:
            nonlocal left
            while left:
                left -= 1
                answer = await self._ask(client, arm, stream=True)
                self._step()
                if not answer.fault:
                    self._streams[arm.name].append(answer)

        loop = asyncio.get_running_loop()
        start = loop.time()
        await asyncio.gather(*(one_after_another() for _ in range(min(self._plan.concurrency, count))))
        self._elapsed[arm.name] += loop.time() - start

    async def _ask(self, client: NativeClient, arm: Arm, *, stream: bool) -> Answer:
        body = body_of(self._plan.model, self._plan.max_tokens, stream)
        answer = await ask(client, arm, body, stream=stream, timeout_seconds=_TIMEOUT_SECONDS)
        if answer.fault:
            self.faults[arm.name][answer.fault] += 1
        return answer

    def _step(self) -> None:
        self._done += 1
        if self._progress is not None:
            self._progress(self._done, self._plan.total)

    @property
    def latency(self) -> Comparison | None:
        """Of answers that are not streamed, to their end."""
        return compare(self._unary[DIRECT], self._unary[GATEWAY])

    @property
    def first_token(self) -> Comparison | None:
        """Of streams, to their first delta."""
        return compare(self._first[DIRECT], self._first[GATEWAY])

    def streams(self, name: str) -> dict[str, float] | None:
        """Of ``concurrency`` streams at once: per second, and the gaps between deltas in milliseconds. Jitter is the
        standard deviation of the gaps. None without whole streams of two reads."""
        answers, elapsed = self._streams[name], self._elapsed[name]
        gaps = [gap for answer in answers for gap in answer.gaps]
        if not gaps or not elapsed:
            return None
        return {
            "streams_per_second": len(answers) / elapsed,
            "deltas_per_second": sum(answer.deltas for answer in answers) / elapsed,
            "gap_mean_ms": statistics.fmean(gaps) * 1000,
            "gap_p99_ms": spread(gaps).p99,
            "jitter_ms": statistics.pstdev(gaps) * 1000,
        }

    def report(self) -> dict[str, object]:
        """Everything, as ``--json`` prints it."""
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
            "latency": _shown(self.latency),
            "first_token": _shown(self.first_token),
            "streams": {name: self.streams(name) for name in (DIRECT, GATEWAY)},
            "failures": {name: dict(counts) for name, counts in self.faults.items()},
        }


def _shown(comparison: Comparison | None) -> dict[str, object] | None:
    if comparison is None:
        return None
    spreads: Sequence[str] = ("direct_ms", "gateway_ms", "added_ms")
    shown: dict[str, object] = {name: getattr(comparison, name)._asdict() for name in spreads}
    return {**shown, "noise_ms": comparison.noise_ms, "above_noise": comparison.told}
