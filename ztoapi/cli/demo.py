"""``ztoapi demo``: runs the simulator and a gateway in front of it, without a token or a network."""

import argparse
import asyncio
import logging
import os
import tempfile
from pathlib import Path

from ztoapi.app import Application
from ztoapi.cli.logs import access_log, set_up_logging
from ztoapi.cli.options import listen
from ztoapi.config.model import DEFAULT_MODEL, Config, Credential, ModelRoute, Platform, Secret, ServerConfig
from ztoapi.handlers.index import IndexHandler
from ztoapi.server.context import ServerContext
from ztoapi.server.routes import Group
from ztoapi.server.sockets import Sockets
from ztoapi.server.workers import Duty, FixedService, Plan
from ztoapi.server.workers import run as run_workers
from ztoapi.simulator.app import Options, Simulator
from ztoapi.telemetry.board import MetricsBoard
from ztoapi.telemetry.history import History
from ztoapi.telemetry.live import reclaim
from ztoapi.telemetry.log_file import LogFile

__all__ = ["demo_config", "run"]

_log = logging.getLogger(__name__)

_HOST = "127.0.0.1"
_BACKLOG = 2048
_DRAIN_SECONDS = 2.0
"""Short, because a demonstration has no streams worth waiting for."""


def run(args: argparse.Namespace) -> int:
    """Runs both until Ctrl-C; returns the exit code. Raises OSError if a port is not available."""
    terminal = os.isatty(1)
    # Without a terminal everything is JSON, so that `ztoapi demo | jq .` can read it.
    messages = set_up_logging(logging.INFO, "console" if terminal else "json", 1)
    # Programs that start the demonstration need no rows.
    sink = LogFile("stdout") if terminal else None
    gateway_sockets, simulator_sockets = _listen({"--port": args.port, "--sim-port": args.sim_port})
    simulator_port, port = simulator_sockets[0].getsockname()[1], gateway_sockets[0].getsockname()[1]
    options = Options(
        ttft_ms=args.ttft_ms, itl_ms=args.itl_ms, tokens=args.tokens, events_per_write=args.events_per_write
    )

    def make_simulator(loop: asyncio.AbstractEventLoop, _: int) -> Simulator:
        return Simulator(options, loop)

    def announce() -> None:
        if terminal:
            messages.write(_text(port, simulator_port))
        else:
            _log.info("%s", _line(port, simulator_port))

    board = MetricsBoard(2)
    with tempfile.TemporaryDirectory(prefix="ztoapi-demo-") as directory:
        history = History(Path(directory) / "history.db", board, ServerContext.wall_clock)
        history.create()

        def make_gateway(loop: asyncio.AbstractEventLoop, slot: int) -> Application:
            config = demo_config(port, simulator_port)
            log = None if sink is None else access_log(config, sink, messages)
            application = Application(
                config, loop, telemetry=board, slot=slot, history=history, access_log=log, messages=messages
            )
            index = IndexHandler(pages=True, demo_upstream=config.platforms[0].base_url)
            application.context.routes.add("/", {"GET": index.handle}, Group.PUBLIC)
            return application

        return run_workers(
            FixedService(
                Plan([Duty(simulator_sockets, make_simulator), Duty(gateway_sockets, make_gateway)], _DRAIN_SECONDS),
                lambda slot: reclaim(board, slot, ServerContext.wall_clock()),
            ),
            started=announce,
        )


def _listen(ports: dict[str, int]) -> list[Sockets]:
    """Returns the sockets of each port, by its option. Raises OSError that names all ports that are not available."""
    sockets: list[Sockets] = []
    faults: list[OSError] = []
    for option, port in ports.items():
        try:
            sockets += listen(
                _HOST, port, 1, backlog=_BACKLOG, host_option="", port_option=option, remedy=f"{option} N"
            )
        except OSError as error:
            faults.append(error)
    if faults:
        raise OSError(faults[0].errno, "\n  ".join(str(fault.strerror) for fault in faults))
    return sockets


def demo_config(port: int, simulator_port: int) -> Config:
    """Returns the configuration of a gateway on ``port`` with the simulator as Z.ai's official API."""
    base = f"http://{_HOST}:{simulator_port}/api/paas/v4"
    return Config(
        server=ServerConfig(host=_HOST, port=port),
        platforms=(
            Platform(
                id="zai",
                dialect="zai",
                base_url=base,
                chat_url=f"{base}/chat/completions",
                models_url=f"{base}/models",
                embeddings_url=f"{base}/embeddings",
                credentials=(Credential(name="demo", token=Secret("demo")),),
                default_model=DEFAULT_MODEL,
            ),
        ),
        routes=(ModelRoute(public=DEFAULT_MODEL, platform="zai", upstream=DEFAULT_MODEL),),
    )


def _addresses(port: int, simulator_port: int) -> dict[str, str]:
    gateway = f"http://{_HOST}:{port}"
    return {
        "gateway": f"{gateway}/v1",
        "dashboard": f"{gateway}/dashboard",
        "chat": f"{gateway}/chat",
        "simulator": f"http://{_HOST}:{simulator_port}/sim/stats",
    }


def _line(port: int, simulator_port: int) -> str:
    """Returns the addresses as one message."""
    named = ", ".join(f"{name} {url}" for name, url in _addresses(port, simulator_port).items())
    return f"ztoapi demo: {named}; send requests to http://{_HOST}:{port}/v1/chat/completions"


def _text(port: int, simulator_port: int) -> str:
    """Returns the block that a terminal shows."""
    body = f'{{"model":"{DEFAULT_MODEL}","stream":true,"messages":[{{"role":"user","content":"Hello"}}]}}'
    rows = "\n".join(f"  {name:<12}{url}" for name, url in _addresses(port, simulator_port).items())
    return f"""ztoapi demo: a gateway in front of a simulated Z.ai

{rows}

Try it:

  curl -N http://{_HOST}:{port}/v1/chat/completions -H 'content-type: application/json' -d '{body}'

Press Ctrl-C to stop both."""
