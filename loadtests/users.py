"""The kinds of users of which scenarios consist. Scenarios set the numbers."""

import secrets
import socket
import time
from typing import Final

import gevent  # type: ignore[import-untyped]  # it has no types
from gevent.pool import Pool  # type: ignore[import-untyped]
from geventhttpclient.response import HTTPSocketPoolResponse
from locust import constant, task
from locust.env import Environment

from loadtests.client import StreamingUser
from loadtests.questions import Object, Question, text_of
from loadtests.sse import Stream

__all__ = ["Agent", "Caller", "OpenLoopUser", "SlowReader", "StreamLeaver", "Tenant"]

_random: Final = secrets.SystemRandom()


class OpenLoopUser(StreamingUser):
    """Sends requests at random moments, even while earlier ones are open, like independent clients.

    The moments form a Poisson process of ``per_second`` requests, and times count from the moment at which a request
    was due. The report of a stall therefore includes all requests that were due during it. A user that waits for a
    response before its next request would omit them (coordinated omission).
    """

    abstract = True
    per_second = 1.0
    concurrency = 1000
    """Maximum open requests of one user; others queue, and their waiting time counts."""
    question: Question

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._open = Pool(self.concurrency)
        self._due: float | None = None

    def wait_time(self) -> float:
        """Returns the seconds until the next request is due."""
        now = time.perf_counter()
        self._due = (now if self._due is None else self._due) + _random.expovariate(self.per_second)
        return max(self._due - now, 0)

    @task
    def arrive(self) -> None:
        """Starts the request that is due. Locust calls this once before the first wait, when none is due."""
        if self._due is not None:
            self._open.spawn(self.send, self._due)

    def send(self, due: float) -> None:
        """Sends one request."""
        self.ask(self.question, due=due)

    def on_stop(self) -> None:
        """Lets open requests finish, within locust's --stop-timeout."""
        try:
            self._open.join(self.environment.stop_timeout)
        finally:
            self._open.kill()


class Caller(OpenLoopUser):
    """An ordinary user: a short prompt, and a response at reading speed."""

    abstract = True
    tokens = 50

    def on_start(self) -> None:
        messages: list[Object] = [{"role": "user", "content": "How does a gateway relay a stream?"}]
        self.question = self.upstream.question(messages, tokens=self.tokens, settings="ttft=50:itl=10")


class SlowReader(StreamingUser):
    """Reads ``bytes_per_second`` of a response that is sent as fast as it is read, so that every buffer fills."""

    abstract = True
    label = "slow"
    wait_time = constant(0)
    tokens = 300
    delta_bytes = 4000
    bytes_per_second = 400_000
    _STEP_BYTES: Final = 16_384
    _RECEIVE_BUFFER_BYTES: Final = 65_536
    """Receive buffer: by default the kernel reads megabytes ahead. Below one loopback segment (64 KB) TCP stalls and
    probes."""

    def on_start(self) -> None:
        messages: list[Object] = [{"role": "user", "content": "Tell me everything."}]
        settings = f"itl=0:size={self.delta_bytes}"
        self.question = self.upstream.question(messages, tokens=self.tokens, settings=settings)

    @task
    def read_slowly(self) -> None:
        self.ask(self.question)

    def read(self, wire: HTTPSocketPoolResponse, stream: Stream) -> None:
        sock = wire._sock
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._RECEIVE_BUFFER_BYTES)
        taken = 0
        while line := wire.readline(b"\n"):
            stream.take(line, time.perf_counter())
            taken += len(line)
            if taken >= self._STEP_BYTES:
                gevent.sleep(taken / self.bytes_per_second)
                taken = 0


class StreamLeaver(StreamingUser):
    """Disconnects in the middle of a long response, after 1 to ``max_deltas`` deltas."""

    abstract = True
    label = "leaver"
    wait_time = constant(0)
    max_deltas = 10
    tokens = 5000
    """Enough for 100 s, so that no response ends by itself."""

    def on_start(self) -> None:
        messages: list[Object] = [{"role": "user", "content": "Never mind."}]
        self.question = self.upstream.question(messages, tokens=self.tokens, settings="ttft=20:itl=20")

    @task
    def leave(self) -> None:
        self.ask(self.question)

    def read(self, wire: HTTPSocketPoolResponse, stream: Stream) -> None:
        enough = _random.randint(1, self.max_deltas)
        while line := wire.readline(b"\n"):
            stream.take(line, time.perf_counter())
            if stream.deltas == enough:
                stream.left = True
                return


class Tenant(StreamingUser):
    """Sends ``per_second`` requests per second with its key, and waits for the Retry-After of a 429."""

    abstract = True
    expects_rate_limits = True
    per_second = 5.0

    def wait_time(self) -> float:
        """Returns the seconds until the next request."""
        return self.retry_after or 1 / self.per_second


class Agent(StreamingUser):
    """A coding agent: a long conversation with tools, calls in fragments, and their results.

    Each turn has two requests: one whose response calls a tool, and one with the result. Both extend the conversation.
    """

    abstract = True
    api = "chat"
    wait_time = constant(0.1)
    turns = 3
    tokens = 60
    prompt_bytes = (30_000, 100_000, 300_000)
    result_bytes = 4000
    settings = "ttft=50:itl=5"

    @task
    def converse(self) -> None:
        """Runs one conversation."""
        messages: list[Object] = [{"role": "system", "content": text_of(_random.choice(self.prompt_bytes))}]
        for turn in range(self.turns):
            messages.append({"role": "user", "content": f"Step {turn + 1}: find out what is wrong, and mend it."})
            call = self._ask(messages, "tool call")
            if call is None:
                return
            messages += _with_results(call, self.result_bytes)
            if not call.calls:
                continue
            answer = self._ask(messages, "tool result")
            if answer is None:
                return
            messages.append({"role": "assistant", "content": "".join(answer.text)})

    def _ask(self, messages: list[Object], label: str) -> Stream | None:
        question = self.upstream.question(messages, tokens=self.tokens, settings=self.settings, with_tools=True)
        return self.ask(question, label=label)


def _with_results(stream: Stream, size: int) -> list[Object]:
    """Returns the assistant's message, and a result of ``size`` bytes for each of its calls."""
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in stream.calls.values()
    ]
    message: Object = {"role": "assistant", "content": "".join(stream.text)}
    if calls:
        message["tool_calls"] = calls
    results: list[Object] = [{"role": "tool", "tool_call_id": call["id"], "content": text_of(size)} for call in calls]
    return [message, *results]
