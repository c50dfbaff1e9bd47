"""Under overload the gateway answers as much as it can, and those it takes as quickly as its queue allows."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from tests.loadtests.locust_process import LocustProcess
from tests.processes.gateway_process import GatewayProcess

pytestmark = pytest.mark.load

SECONDS = 10
RATES = {"2 times": 73, "5 times": 182}
"""Requests a second, as multiples of the 36.4 answers a second that 20 in hand for 0.55 s each are."""
LOOSER = {"= 327": "= 250", "= 1500": "= 5000"}
"""Thresholds for a machine with other work: 70% of the capacity in tokens a second (alone it is 97%), and half of the
time that the last request would wait in a queue without bounds."""
ROOM = {"ZTOAPI_MAX_IN_FLIGHT": "20", "ZTOAPI_MAX_QUEUED": "20"}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[LocustProcess, int, set[int]]]]:
    """By load: the run, its exit code, and with which status the gateway's health was answered meanwhile."""
    root = tmp_path_factory.mktemp("overload")
    limits = root / "overload.toml"
    text = Path("loadtests/overload.toml").read_text("utf-8")
    for ours, looser in LOOSER.items():
        text = text.replace(ours, looser)
    limits.write_text(text, "utf-8")
    with ExitStack() as stack:
        started: dict[str, tuple[LocustProcess, str]] = {}
        for name, rate in RATES.items():
            simulator = stack.enter_context(GatewayProcess("simulate", "--port", "0"))
            upstream = {"UPSTREAM_URL": f"{simulator.url}/api/paas/v4", "PLATFORM_ID": "zai", "ZAI_TOKEN": "any"}
            gateway = stack.enter_context(GatewayProcess("serve", "--port", "0", **upstream, **ROOM))
            users = ("-u", str(rate), "-r", str(rate), "-t", f"{SECONDS}s")
            process = LocustProcess(root / name, "overload", gateway.url, *users, "--thresholds", str(limits))
            started[name] = stack.enter_context(process), gateway.url
        health: dict[str, set[int]] = {name: set() for name in started}
        # The runs end in any order.
        while running := [name for name, (process, _) in started.items() if process.running()]:
            for name in running:
                health[name].add(httpx.get(f"{started[name][1]}/health").status_code)
        yield {name: (process, process.finish(), health[name]) for name, (process, _) in started.items()}


@pytest.mark.parametrize("load", RATES)
def test_goodput_stays_and_latency_is_bounded(runs: dict[str, tuple[LocustProcess, int, set[int]]], load: str) -> None:
    process, code, health = runs[load]
    assert "all met" in process.output, process.output
    assert code == 0
    entries = process.entries()
    assert entries["E2E"].events + entries["overloaded"].events > SECONDS * RATES[load] / 2
    assert entries["truncation"].failures == 0
    assert health == {200}


def test_what_is_too_much_is_refused(runs: dict[str, tuple[LocustProcess, int, set[int]]]) -> None:
    refused = {load: process.entries()["overloaded"].events for load, (process, _, _) in runs.items()}
    assert refused["5 times"] > refused["2 times"] > 0
