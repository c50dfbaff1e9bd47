"""The notifications of a real gateway to a service manager, on a real socket."""

import contextlib
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.processes.gateway_process import GatewayProcess
from tests.support.waiting import WAIT_SECONDS
from ztoapi.server.notify import Notifier

SHORT = "2000000"
"""A watchdog's time in microseconds: a check in two ticks of a worker, so that a well one passes on a busy machine."""


class Manager:
    """``address`` is what goes into NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.settimeout(WAIT_SECONDS)
        self._sock.bind(f"\0{address[1:]}" if address.startswith("@") else address)

    def hears(self) -> str:
        return self._sock.recv(4096).decode()

    def waits_for(self, state: str) -> list[str]:
        """All notifications up to ``state``."""
        heard = [self.hears()]
        while heard[-1] != state:
            heard.append(self.hears())
        return heard

    def has_heard(self) -> list[str]:
        """The received notifications that have not been read."""
        self._sock.setblocking(False)
        heard: list[str] = []
        with contextlib.suppress(BlockingIOError):
            while True:
                heard.append(self.hears())
        self._sock.settimeout(WAIT_SECONDS)
        return heard

    def close(self) -> None:
        self._sock.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(str(tmp_path / "notify"))
    yield manager
    manager.close()


def gateway(manager: Manager, **environment: str) -> GatewayProcess:
    return GatewayProcess(
        NOTIFY_SOCKET=manager.address, UPSTREAM_URL="http://127.0.0.1:9/v1", UPSTREAM_TOKEN="t", PORT="0", **environment
    )


def test_ready_and_stopping_are_sent_once_each(manager: Manager) -> None:
    with gateway(manager, WORKERS="2") as process:
        assert manager.hears() == "READY=1"
        assert httpx.get(f"{process.url}/readyz").status_code == 200
        process.kill(signal.SIGTERM)
        assert manager.hears() == "STOPPING=1"
        assert process.wait() == 0
    assert manager.has_heard() == []


def test_an_abstract_socket_is_reached() -> None:
    manager = Manager(f"@ztoapi-{socket.gethostname()}-{id(object())}")
    with gateway(manager):
        assert manager.hears() == "READY=1"
    manager.close()


def test_the_watchdog_gets_repeated_signs_of_life(manager: Manager) -> None:
    with gateway(manager, WORKERS="2", WATCHDOG_USEC=SHORT):
        assert [manager.hears() for _ in range(4)] == ["READY=1", "WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1"]


def test_a_worker_that_stands_still_is_replaced_and_the_others_live_on(manager: Manager) -> None:
    with gateway(manager, WORKERS="2", WATCHDOG_USEC=SHORT) as process:
        manager.waits_for("WATCHDOG=1")
        still, well = process.children()
        process.kill(signal.SIGSTOP, still)
        process.wait_for_output(r"(worker 0 is stuck: killing it)")
        process.wait_for_output(r"(worker 0 ended \(-9\); restarting it)")
        process.wait_for(lambda: len(process.children()) == 2)
        assert still not in process.children()
        assert well in process.children()
        process.wait_for(lambda: "ztoapi_workers 2.0" in httpx.get(f"{process.url}/metrics").text)
        # The supervisor itself was well all the time.
        assert set(manager.has_heard()) == {"WATCHDOG=1"}
        process.kill(signal.SIGTERM)
        manager.waits_for("STOPPING=1")
        assert process.wait() == 0


def test_a_socket_that_is_gone_is_no_reason_to_stop(tmp_path: Path) -> None:
    path = str(tmp_path / "nobody")
    with GatewayProcess(NOTIFY_SOCKET=path, UPSTREAM_URL="http://127.0.0.1:9/v1", UPSTREAM_TOKEN="t", PORT="0") as one:
        one.wait_for_output(r"(cannot send READY=1)")
        assert httpx.get(f"{one.url}/livez").status_code == 200


@pytest.mark.parametrize(
    "environ",
    [
        {"WATCHDOG_USEC": SHORT},
        {"NOTIFY_SOCKET": "@x"},
        {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "0"},
        {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "soon"},
        {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": SHORT, "WATCHDOG_PID": "1"},
    ],
)
def test_a_watchdog_that_is_not_for_us_is_left_alone(environ: dict[str, str]) -> None:
    assert Notifier(environ).check_seconds is None


def test_the_watchdog_is_notified_four_times_in_its_time() -> None:
    assert Notifier({"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "20000000"}).check_seconds == 5.0
