"""The gateways that are compared: how each is started, and how it is installed where it is missing.

One worker each, keep-alive on both sides, no request log to a terminal. ``python -m bench.peers --install`` prints the
commands; a target whose program is missing is skipped with a word.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["TARGETS", "Target"]

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


class Start(NamedTuple):
    """A command and its environment, made for a port, the upstream's port, and a directory of its own."""

    command: list[str]
    environment: Mapping[str, str] = MappingProxyType({})


class Target(NamedTuple):
    """One gateway. ``version`` is a command whose output names it; ``workloads`` empty means all."""

    name: str
    program: str
    install: str
    start: Callable[[int, int, Path], Start]
    version: tuple[str, ...]
    without: tuple[str, ...] = ()

    def find(self) -> str | None:
        """The program's path, or None."""
        beside = Path(sys.executable).parent / self.program
        return str(beside) if beside.exists() else shutil.which(self.program)

    def version_text(self) -> str:
        path = self.find()
        if path is None:
            return "missing"
        result = subprocess.run([path, *self.version], capture_output=True, text=True, check=False)
        return (result.stdout + result.stderr).strip().splitlines()[0] if result.stdout + result.stderr else "unknown"


def _nginx(port: int, upstream: int, directory: Path) -> Start:
    (directory / "nginx.conf").write_text(
        f"""worker_processes 1; daemon off; pid {directory}/nginx.pid; error_log {directory}/error.log;
events {{ worker_connections 8192; }}
http {{ access_log off; keepalive_requests 1000000000;
  client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};
  uwsgi_temp_path {directory}; scgi_temp_path {directory};
  upstream mock {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{port} backlog=2048; client_max_body_size 20m; client_body_buffer_size 1m;
    location / {{ proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; }}
  }} }}
"""
    )
    return Start(["nginx", "-c", str(directory / "nginx.conf"), "-e", str(directory / "error.log")])


def _haproxy(port: int, upstream: int, directory: Path) -> Start:
    (directory / "haproxy.cfg").write_text(
        f"""global
  nbthread 1
  maxconn 8192
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 5s
  option http-keep-alive
  http-reuse always
frontend in
  bind 127.0.0.1:{port}
  default_backend mock
backend mock
  server one 127.0.0.1:{upstream}
"""
    )
    return Start(["haproxy", "-f", str(directory / "haproxy.cfg")])


def _ztoapi(transport: str) -> Callable[[int, int, Path], Start]:
    def start(port: int, upstream: int, _: Path) -> Start:
        return Start(
            [sys.executable, "-m", "ztoapi", "serve", "--port", str(port), "--transport", transport],
            {
                "PYTHONPATH": str(ROOT),
                "UPSTREAM_URL": f"http://127.0.0.1:{upstream}/v1",
                "UPSTREAM_TOKEN": "token",
                "DEFAULT_KEY": "key",
            },
        )

    return start


TARGETS = (
    Target("nginx", "nginx", "apt-get install nginx-light", _nginx, ("-v",)),
    Target("haproxy", "haproxy", "apt-get install haproxy", _haproxy, ("-v",)),
    Target("ztoapi", "ztoapi", "pip install -e .", _ztoapi("native"), ("--version",)),
    Target("ztoapi --transport httpx", "ztoapi", "pip install -e .", _ztoapi("httpx"), ("--version",)),
)
