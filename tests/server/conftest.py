"""A worker's context on a clock of its own, and real servers."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Iterator

import pytest
import uvloop

from tests.support.clock import Connection, ManualLoop
from tests.support.serving import Client, Handler, Serving, gated
from ztoapi.server.context import Admit, ServerContext
from ztoapi.server.exchange import Exchange
from ztoapi.structures.cork import MIN_IN_FLIGHT
from ztoapi.telemetry.record import Recorder
from ztoapi.wire.limits import Limits


class Worker:
    """Connections on a manual clock; requests are held until the test answers them."""

    def __init__(self, *, limits: Limits | None = None, admit: Admit | None = None) -> None:
        self.loop = ManualLoop()
        self.held: list[Exchange] = []
        self.recorder = Recorder()
        self.context = ServerContext(
            self.loop.as_loop(),
            gated(self.dispatch, admit),
            limits=limits,
            recorder=self.recorder,
        )
        self.context.start()

    def dispatch(self, exchange: Exchange) -> None:
        if exchange.request.path == "/now":
            exchange.respond(200, b"now")
        elif exchange.request.path == "/large":
            exchange.respond(200, b"x" * 100_000)
        else:
            self.held.append(exchange)

    def connect(self) -> Connection:
        return Connection(self.context, self.loop)


MakeWorker = Callable[..., Worker]


@pytest.fixture
def make_worker() -> Iterator[MakeWorker]:
    made: list[Worker] = []

    def make(*, limits: Limits | None = None, admit: Admit | None = None) -> Worker:
        made.append(Worker(limits=limits, admit=admit))
        return made[-1]

    yield make
    for worker in made:
        for connection in list(worker.context.connections):
            connection.transport.abort()
        worker.loop.advance(0.0)
        worker.context.close()
        assert not worker.context.connections
        assert not len(worker.context.deadlines)
        assert not worker.context.buffers.used


@pytest.fixture
def worker(make_worker: MakeWorker) -> Worker:
    return make_worker()


MakeServing = Callable[..., Serving]


@contextlib.contextmanager
def _servers(loop: str, *, corked: bool) -> Iterator[MakeServing]:
    factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    with contextlib.ExitStack() as stack:

        def make(
            dispatch: Handler | None = None,
            *,
            admit: Admit | None = None,
            limits: Limits | None = None,
            tls: ssl.SSLContext | None = None,
        ) -> Serving:
            serving = Serving(dispatch, admit=admit, limits=limits, tls=tls, loop_factory=factory)
            if corked:
                # Responses wait for the end of a turn.
                serving.context.cork.load = range(MIN_IN_FLIGHT)
            return stack.enter_context(serving)

        yield make


@pytest.fixture(params=["uvloop", "asyncio", "corked"])
def make_serving(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeServing]:
    """Servers on the loop of production, idle and under load, and on the standard library's; their deadlines are
    checked often."""
    monkeypatch.setattr("ztoapi.server.context.TICK_SECONDS", 0.01)
    corked = request.param == "corked"
    with _servers("uvloop" if corked else request.param, corked=corked) as make:
        yield make


@pytest.fixture(params=["uvloop", "asyncio"])
def make_corked(request: pytest.FixtureRequest) -> Iterator[MakeServing]:
    """Servers under load on either loop."""
    with _servers(request.param, corked=True) as make:
        yield make


@pytest.fixture
def serving(make_serving: MakeServing) -> Serving:
    """Requests are held for the test to answer."""
    return make_serving()


@pytest.fixture
def client(serving: Serving) -> Iterator[Client]:
    with serving.client() as client:
        yield client
