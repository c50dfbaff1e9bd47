"""The systemd unit: systemd reads it, it is shut in, and its command is one that the gateway understands."""

import configparser
import os
import re
import shlex
import signal
import sys
from pathlib import Path

from tests.deploy.tools import DEPLOY, run
from tests.processes.gateway_process import GatewayProcess
from ztoapi.config.model import MAX_IN_FLIGHT, ServerConfig

PACKAGE = "Debian package systemd"
UNIT = DEPLOY / "systemd/ztoapi.service"
SOCKET = DEPLOY / "systemd/ztoapi.socket"
MOST_EXPOSURE = 15
"""In tenths: of 100, where 96 is what a unit without any measure has."""


def lines(key: str) -> list[str]:
    """Every value of ``key`` in the unit's service section."""
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text("utf-8").partition("[Service]")[2], re.MULTILINE)


def test_systemd_understands_it(tmp_path: Path) -> None:
    """With a command that exists."""
    unit = tmp_path / UNIT.name
    text = UNIT.read_text("utf-8")
    assert text.count("/opt/ztoapi/bin/ztoapi") == 1
    unit.write_text(text.replace("/opt/ztoapi/bin/ztoapi", sys.executable), "utf-8")
    assert run("systemd-analyze", PACKAGE, "verify", "--recursive-errors=no", unit) == ""


def test_systemd_understands_the_socket(tmp_path: Path) -> None:
    """Beside the service that it starts."""
    for unit in (UNIT, SOCKET):
        text = unit.read_text("utf-8").replace("/opt/ztoapi/bin/ztoapi", sys.executable)
        (tmp_path / unit.name).write_text(text, "utf-8")
    assert run("systemd-analyze", PACKAGE, "verify", "--recursive-errors=no", tmp_path / SOCKET.name) == ""


def test_the_socket_is_that_of_the_defaults() -> None:
    settings = dict(re.findall(r"^(\w+)=(.*)$", SOCKET.read_text("utf-8"), re.MULTILINE))
    defaults = ServerConfig()
    assert settings["ListenStream"] == f"{defaults.host}:{defaults.port}"
    assert settings["Backlog"] == str(defaults.backlog)
    assert SOCKET.stem == UNIT.stem


def test_it_is_shut_in() -> None:
    report = run(
        "systemd-analyze", PACKAGE, "security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSURE}", UNIT
    )
    assert "Overall exposure level" in report


def test_it_waits_longer_for_the_end_than_the_gateway_drains() -> None:
    (timeout,) = lines("TimeoutStopSec")
    (drain,) = [line for line in lines("Environment") if line.startswith("DRAIN_SECONDS=")]
    assert float(timeout) > float(drain.partition("=")[2])
    assert lines("KillMode") == ["mixed"]
    assert lines("Type") == ["notify"]
    assert lines("WatchdogSec")


def test_it_allows_the_files_that_a_worker_may_need() -> None:
    (files,) = lines("LimitNOFILE")
    assert ServerConfig().in_flight_limit(int(files)) == MAX_IN_FLIGHT


def test_a_worker_killed_for_its_memory_does_not_stop_the_others() -> None:
    assert lines("MemoryMax")
    assert lines("OOMPolicy") == ["continue"]


def test_its_user_is_made() -> None:
    parser = configparser.ConfigParser(allow_no_value=True, strict=False, interpolation=None)
    parser.read(UNIT)
    (line,) = [
        line for line in (UNIT.parent / "ztoapi.sysusers.conf").read_text("utf-8").splitlines() if line[:1] != "#"
    ]
    assert shlex.split(line)[:2] == ["u", parser["Service"]["User"]]


def test_its_command_serves_and_reload_reads_the_key_file_again(tmp_path: Path) -> None:
    """As systemd would run it: credentials in a directory of their own, the unit's variables, SIGHUP for a reload."""
    (command,) = lines("ExecStart")
    (loaded,) = lines("LoadCredential")
    (tmp_path / loaded.partition(":")[0]).write_text(
        'zai_tokens = ["t"]\nadmin_key = "an-operators-key"\n[server]\nport = 0\nhost = "127.0.0.1"\n'
    )
    keys = tmp_path / "keys.toml"
    keys.touch()
    variables = dict(line.split("=", 1) for line in lines("Environment"))
    assert variables["ZTOAPI_KEY_FILE"] == "/etc/ztoapi/keys.toml"
    variables["ZTOAPI_KEY_FILE"] = str(keys)
    _, *arguments = shlex.split(command.replace("${CREDENTIALS_DIRECTORY}", str(tmp_path)))
    with GatewayProcess(*arguments, **variables) as process:
        assert "contains no active key" in process.output
        keys.write_text("[alice]\nid = 'no'\n")
        (reload,) = lines("ExecReload")
        os.kill(process.pid, {"-HUP": signal.SIGHUP}[reload.split()[1]])
        process.wait_for_output(r"(alice)")
        process.kill(signal.SIGTERM)
        assert process.wait() == 0
