"""The wrk script and the hey wrapper look at bodies: a good status does not pass for a good answer."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.loadtests.locust_process import ROOT, Demo

pytestmark = pytest.mark.load

WRK = ("wrk", "-t", "2", "-c", "8", "-d", "1s", "-s", "loadtests/chat.lua")
HEY = (sys.executable, "-m", "loadtests.hey", "-n", "400", "-c", "8")


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    with Demo() as demo:
        yield demo


def run(command: tuple[str, ...], url: str, model: str) -> tuple[int, dict[str, object]]:
    """The exit code, and the JSON of the last line."""
    arguments = ("--model", model) if command is HEY else ()
    result = subprocess.run(
        [*command, *arguments, url],
        cwd=ROOT,
        env={**os.environ, "ZTOAPI_LOAD_MODEL": model},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    shown: dict[str, object] = json.loads(result.stdout.splitlines()[-1])
    return result.returncode, shown


def test_wrk_counts_whole_answers(demo: Demo) -> None:
    code, shown = run(WRK, demo.url, "glm-4.6")
    assert code == 0
    assert isinstance(shown["requests"], int)
    assert shown["requests"] > 0
    assert [shown[name] for name in ("bad_status", "no_done", "wrong_events", "socket_errors")] == [0, 0, 0, 0]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("500", "bad_status"), ("no_done", "no_done"), ("huge", "wrong_events"), ("truncate", "socket_errors")],
)
def test_wrk_fails_for_bad_answers(demo: Demo, fault: str, kind: str) -> None:
    # A huge event is one more than requested.
    code, shown = run(WRK, demo.simulator, f"glm-4.6:fault={fault}" + (":size=9" if fault == "huge" else ""))
    assert code == 3
    assert [name for name in ("bad_status", "no_done", "wrong_events", "socket_errors") if shown[name]] == [kind]


def test_hey_has_its_answers_checked(demo: Demo) -> None:
    code, shown = run(HEY, demo.url, "glm-4.6")
    assert code == 0
    whole, streams = shown["whole"], shown["streams"]
    assert isinstance(whole, dict)
    assert isinstance(streams, dict)
    assert (whole["faults"], streams["faults"]) == ([], [])
    assert whole["bytes"] > 0
    assert streams["checked"] > 0


def test_hey_fails_for_streams_it_cannot_see_into(demo: Demo) -> None:
    code, shown = run(HEY, demo.simulator, "glm-4.6:fault=no_done")
    assert code == 3
    streams = shown["streams"]
    assert isinstance(streams, dict)
    (fault,) = streams["faults"]
    assert fault.startswith("truncated: ")
