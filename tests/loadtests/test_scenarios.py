"""Every load test runs as documented, counts the real events, and fails when it should.

All runs are started at once, each against a demo of its own, so that the simulator's counts are those of one run.
"""

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.loadtests.locust_process import Demo, Entry, LocustProcess

pytestmark = pytest.mark.load

SECONDS = 5
"""All run at once on as few as two cores: time for some whole answers, and less than a limited tenant's wait of 6."""
CALLER_DELTAS = 54
"""50 tokens and 4 of reasoning."""
SCENARIOS = {
    "steady": ("-u", "8", "-r", "8"),
    "ramp": ("-u", "9"),
    # Shapes are looked at once a second: the spike is from 2.4 to 3.6.
    "spike": ("-u", "20", "-t", "6s"),
    "soak": ("-u", "12"),
    "mixed": ("-u", "10", "-r", "10"),
    "slow_readers": ("-u", "4", "-r", "4"),
    "disconnect_storm": ("-u", "8", "-r", "8"),
    "tenants": ("-u", "6", "-r", "6", "--key", "green,amber,red"),
    "agent": ("-u", "3", "-r", "3"),
}


class Finished(NamedTuple):
    demo: Demo
    process: LocustProcess
    code: int

    @property
    def entries(self) -> dict[str, Entry]:
        return self.process.entries()

    def total(self, event: str) -> Entry:
        """All labels of ``event`` together."""
        rows = [entry for name, entry in self.entries.items() if name.partition(" [")[0] == event]
        return Entry(*(sum(column) for column in zip(*rows, strict=True))) if rows else Entry(0, 0, 0)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Finished]]:
    """Every scenario, once, as documented but for its size."""
    root = tmp_path_factory.mktemp("runs")
    limits = root / "limits.toml"
    limits.write_text("[E2E]\nfailures = 0\n[truncation]\nfailures = 0\n[TTFT]\nmin_count = 1\n", "utf-8")
    with ExitStack() as stack:
        started: dict[str, tuple[Demo, LocustProcess]] = {}
        for name, arguments in SCENARIOS.items():
            demo = stack.enter_context(Demo())
            more = ("--thresholds", str(limits), "--simulator", demo.simulator)
            process = LocustProcess(root / name, name, demo.url, "-t", f"{SECONDS}s", *arguments, *more)
            started[name] = demo, stack.enter_context(process)
        yield {name: Finished(demo, process, process.finish()) for name, (demo, process) in started.items()}


@pytest.mark.parametrize("name", SCENARIOS)
def test_scenario_runs_and_reports_all_that_happened(runs: dict[str, Finished], name: str) -> None:
    run = runs[name]
    assert run.code == 0, run.process.output
    assert "all met" in run.process.output
    answered, truncation = run.total("E2E"), run.total("truncation")
    assert answered.events > 0
    assert (answered.failures, truncation.failures) == (0, 0)
    assert truncation.events == answered.events
    left, limited = run.total("disconnect").events, run.total("rate limited").events
    assert run.total("TTFT").events == answered.events + left
    # While its credential rests after a refusal the gateway itself refuses, and the simulator gets no request.
    assert answered.events + left <= run.demo.stats()["requests"] <= answered.events + left + limited
    entries = run.entries
    assert run.process.csv_counts() == {name: (entry.events, entry.failures) for name, entry in entries.items()}
    assert all(f'"name": "{name}"' in run.process.html() for name in entries)


def test_steady_times_every_token(runs: dict[str, Finished]) -> None:
    entries = runs["steady"].entries
    assert set(entries) == {"TTFT", "ITL", "E2E", "tokens/s", "truncation"}
    answers = entries["E2E"].events
    assert entries["E2E"].size == answers * CALLER_DELTAS
    assert entries["ITL"].events == answers * (CALLER_DELTAS - 1)
    assert entries["tokens/s"].events == answers
    assert entries["tokens/s"].size > 0


def test_shapes_change_the_number_of_users(runs: dict[str, Finished]) -> None:
    users = {
        name: [int(number) for number in re.findall(r"Ramping to (\d+) users", runs[name].process.output)]
        for name in ("ramp", "spike", "soak")
    }
    assert users["ramp"] == sorted(users["ramp"])
    assert len(users["ramp"]) > 1
    assert users["spike"][0] == users["spike"][-1] == 2
    assert max(users["spike"]) == 20
    assert max(users["soak"]) == 12


def test_soak_has_users_of_every_kind(runs: dict[str, Finished]) -> None:
    assert {"E2E", "E2E [slow]", "E2E [tool call]", "disconnect [leaver]"} <= set(runs["soak"].entries)


def test_mixed_sizes_are_reported_separately(runs: dict[str, Finished]) -> None:
    entries = runs["mixed"].entries
    deltas = {"E2E [short]": 24, "E2E [medium]": 204, "E2E [long]": 404}
    sizes = {name: entry.size / entry.events for name, entry in entries.items() if name.startswith("E2E")}
    # Requests come at random: there may be none of the rare long ones in so short a time.
    assert "E2E [short]" in sizes
    assert sizes.items() <= deltas.items()


def test_slow_readers_get_every_delta(runs: dict[str, Finished]) -> None:
    answers = runs["slow_readers"].entries["E2E [slow]"]
    assert answers.size == answers.events * 304


def test_disconnects_reach_the_upstream(runs: dict[str, Finished]) -> None:
    run = runs["disconnect_storm"]
    left, cancels = run.entries["disconnect [leaver]"].events, run.entries["upstream cancels"]
    assert left > 0
    assert (cancels.events, cancels.failures, cancels.size) == (1, 0, left)
    assert (run.demo.stats()["cancels"], run.demo.stats()["open_streams"]) == (left, 0)


def test_a_limited_tenant_waits_and_the_others_do_not(runs: dict[str, Finished]) -> None:
    entries = runs["tenants"].entries
    limited = entries["rate limited [tenant 3]"]
    # Two users of it, each with a retry-after beyond the end of the run.
    assert limited == Entry(2, 0, 2 * 6)
    assert "E2E [tenant 3]" not in entries
    for place in (1, 2):
        assert entries[f"E2E [tenant {place}]"].events > 2
        assert f"rate limited [tenant {place}]" not in entries


def test_an_agent_sends_results_of_its_calls(runs: dict[str, Finished]) -> None:
    entries = runs["agent"].entries
    calls, results = entries["E2E [tool call]"].events, entries["E2E [tool result]"].events
    assert calls >= results > 0
    assert entries["E2E [tool result]"].size == results * 64


class Failing(NamedTuple):
    """A run that must fail: whether it uses the simulator instead of the gateway, its arguments, its thresholds."""

    simulator_alone: bool
    arguments: tuple[str, ...]
    limits: str = ""
    scenario: str = "steady"


FAILING = {
    "truncated": Failing(True, ("--model", "glm-4.6:fault=truncate")),
    "no done": Failing(True, ("--model", "glm-4.6:fault=no_done")),
    "error event": Failing(False, ("--model", "glm-4.6:fault=truncate")),
    "refused": Failing(True, ("--model", "glm-4.6:fault=500")),
    "429 without retry-after": Failing(True, ("--model", "glm-4.6:fault=429")),
    "threshold": Failing(False, (), "[E2E]\np50_ms = 1\nfailures = 0\n"),
    "threshold, processes": Failing(False, ("--processes", "2"), "[E2E]\np50_ms = 1\n"),
    "failures allowed": Failing(True, ("--model", "glm-4.6:fault=truncate"), "[E2E]\nfailure_ratio = 1\n"),
    "unknown key": Failing(False, (), "[E2E]\np94_ms = 1\n"),
    "cancels elsewhere": Failing(False, (), scenario="disconnect_storm"),
}


def distributed(stack: ExitStack, root: Path) -> dict[str, tuple[Demo, LocustProcess]]:
    """A master and two workers, each with the same thresholds that the run breaks."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    limits = root / "distributed.toml"
    limits.write_text("[E2E]\np50_ms = 1\n", "utf-8")
    bind = ("--master", "--expect-workers", "2", "--master-bind-host", "127.0.0.1", "--master-bind-port", port)
    join = ("--worker", "--master-port", port)
    demo = stack.enter_context(Demo())
    started: dict[str, tuple[Demo, LocustProcess]] = {}
    for name, role in (("master", (*bind, "-u", "4", "-r", "4", "-t", f"{SECONDS}s")), ("one", join), ("two", join)):
        process = LocustProcess(root / name, "steady", demo.url, *role, "--thresholds", str(limits))
        started[name] = demo, stack.enter_context(process)
    return started


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Finished]]:
    root = tmp_path_factory.mktemp("failing")
    with ExitStack() as stack:
        elsewhere, failing_upstream = stack.enter_context(Demo()), stack.enter_context(Demo())
        started: dict[str, tuple[Demo, LocustProcess]] = {}
        for name, case in FAILING.items():
            demo = failing_upstream if case.simulator_alone else stack.enter_context(Demo())
            arguments = ("-u", "4", "-r", "4", "-t", f"{SECONDS}s", *case.arguments)
            arguments += ("--simulator", elsewhere.simulator)
            if case.limits:
                file = root / f"{name}.toml"
                file.write_text(case.limits, "utf-8")
                arguments += ("--thresholds", str(file))
            host = demo.simulator if case.simulator_alone else demo.url
            process = LocustProcess(root / name, case.scenario, host, *arguments)
            started[name] = demo, stack.enter_context(process)
        started |= distributed(stack, root)
        yield {name: Finished(demo, process, process.finish()) for name, (demo, process) in started.items()}


@pytest.mark.parametrize("name", ["truncated", "no done"])
def test_a_truncated_stream_is_a_truncation_and_a_failure(failing: dict[str, Finished], name: str) -> None:
    run = failing[name]
    assert run.code == 1
    entries = run.entries
    assert entries["truncation"].failures == entries["truncation"].events > 0
    assert entries["E2E"] == entries["truncation"]
    assert all("truncated: no [DONE] and no error event" in fault for fault in run.process.faults()["truncation"])


def test_an_error_event_is_a_failure_and_no_truncation(failing: dict[str, Finished]) -> None:
    run = failing["error event"]
    assert run.code == 1
    assert run.entries["E2E"].failures == run.entries["E2E"].events > 0
    assert run.entries["truncation"].failures == 0
    faults = run.process.faults()["E2E"]
    truncated = {fault for fault in faults if "in-band error upstream_truncated: " in fault}
    assert truncated
    # How many requests find the circuit of an upstream that truncates every answer open depends on the machine's speed.
    assert [fault for fault in faults - truncated if "no credential of the platform zai can serve" not in fault] == []


def test_a_refusal_is_a_failure_with_its_status(failing: dict[str, Finished]) -> None:
    run = failing["refused"]
    assert run.code == 1
    (fault,) = run.process.faults()["E2E"]
    assert "status 500: " in fault


def test_a_429_without_retry_after_is_a_failure(failing: dict[str, Finished]) -> None:
    run = failing["429 without retry-after"]
    assert run.code == 1
    assert run.entries["rate limited"].failures == run.entries["rate limited"].events > 0
    (fault,) = run.process.faults()["rate limited"]
    assert "429 whose Retry-After is None" in fault


@pytest.mark.parametrize("name", ["threshold", "threshold, processes"])
def test_a_broken_threshold_is_shown_and_exits_with_3(failing: dict[str, Finished], name: str) -> None:
    run = failing[name]
    assert run.code == 3
    # Workers may write lines of their own between.
    assert re.search(r"(?ms)1 broken$.*^E2E +p50_ms +at most 1 +\d", run.process.output)
    assert run.entries["E2E"].failures == 0
    assert run.entries["E2E"].events == run.demo.stats()["requests"]


def test_thresholds_bound_the_failures(failing: dict[str, Finished]) -> None:
    run = failing["failures allowed"]
    assert run.entries["E2E"].failures > 0
    assert run.code == 0


def test_a_mistake_in_the_thresholds_stops_the_run_before_it_starts(failing: dict[str, Finished]) -> None:
    run = failing["unknown key"]
    assert run.code == 2
    assert re.search(r"thresholds: .*unknown key\.toml: \[E2E\]: .*`p94_ms`", run.process.output)
    assert run.demo.stats()["requests"] == 0


def test_disconnects_that_do_not_reach_the_upstream_are_a_failure(failing: dict[str, Finished]) -> None:
    run = failing["cancels elsewhere"]
    assert run.code == 1
    assert run.entries["upstream cancels"].failures == 1
    (fault,) = run.process.faults()["upstream cancels"]
    assert "0 upstream streams were cancelled, 0 are open" in fault


def test_a_simulator_that_does_not_answer_stops_the_run_before_it_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as target, socket.socket() as bound:  # but not listening
        bound.bind(("127.0.0.1", 0))
        host, simulator = (f"http://127.0.0.1:{one.getsockname()[1]}" for one in (target, bound))
        options = ("-t", "1s", "--simulator", simulator)
        with LocustProcess(tmp_path / "run", "disconnect_storm", host, *options) as process:
            assert process.finish() == 2
    assert f"--simulator: no statistics at {simulator}/sim/stats: " in process.output
    assert "Traceback" not in process.output


def test_only_the_master_judges(failing: dict[str, Finished]) -> None:
    master, workers = failing["master"], [failing["one"], failing["two"]]
    assert (master.code, [worker.code for worker in workers]) == (3, [0, 0])
    assert "1 broken" in master.process.output
    assert not any("Thresholds" in worker.process.output for worker in workers)
    assert master.entries["E2E"].events == master.demo.stats()["requests"] > 0
