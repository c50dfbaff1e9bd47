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


def test_nothing_is_known_without_proc(tmp_path: Path) -> None:
    assert owner_of_port(80, tmp_path) == ""
