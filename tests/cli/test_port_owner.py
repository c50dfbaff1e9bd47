"""The process that listens on a port."""

import os
import socket
from pathlib import Path

import pytest

from ztoapi.cli.port_owner import owner_of_port


@pytest.mark.parametrize(("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_the_listener_is_found(family: socket.AddressFamily, host: str) -> None:
    with socket.create_server((host, 0), family=family) as server:
        port = server.getsockname()[1]
        assert owner_of_port(port).startswith(f"process {os.getpid()}, '")
    assert owner_of_port(port) == ""


def test_a_long_command_shows_its_end(tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "tcp").write_text("heading\n0: 0100007F:0050 00000000:0000 0A 0:0 0:0 0 0 0 77 1\n")
    (tmp_path / "9" / "fd").mkdir(parents=True)
    (tmp_path / "9" / "fd" / "3").symlink_to("socket:[77]")
    (tmp_path / "9" / "cmdline").write_text(f"/{'v' * 60}/bin/python\0/srv/bin/ztoapi\0serve\0--port\x0080\0")
    owner = owner_of_port(80, tmp_path)
    assert owner.startswith("process 9, '...vvv") and owner.endswith("v/bin/python /srv/bin/ztoapi serve --port 80'")


def test_nothing_is_known_without_proc(tmp_path: Path) -> None:
    assert owner_of_port(80, tmp_path) == ""
