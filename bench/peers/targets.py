"""The gateways that are compared: how each is found, started and installed.

The same number of workers each (aiohttp, Starlette and Portkey: always one), keep-alive on both sides, each with its
defaults otherwise; standard output goes to a file, which is where ztoapi alone writes a log of its requests. A target
whose program is missing is skipped with a word. ``python -m bench.peers install NAME`` installs one.
"""

import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["DIRECT", "ROOT", "TARGETS", "Place", "Start", "Target", "ztoapi_of"]

DIRECT = "direct"
"""The mock called without a gateway: what added latencies are measured against."""
ROOT = Path(__file__).resolve().parents[2]
_SERVERS = Path(__file__).resolve().parent / "servers"
_NOTHING: Mapping[str, str] = MappingProxyType({})


class Start(NamedTuple):
    """A command and its environment."""

    command: list[str]
    environment: Mapping[str, str] = _NOTHING


class Place(NamedTuple):
    """Where one run takes place: the gateway's port, the mock's, a directory for files, the program's path, and the
    number of workers."""

    port: int
    upstream: int
    directory: Path
    program: str
    workers: int


class Target(NamedTuple):
    """One gateway. ``program`` is searched in the target's own directory of tools, beside this interpreter, then on
    PATH; the interpreter there must be able to import ``modules``. ``install`` are the commands that install it, with
    ``{tools}`` for its directory; ``version`` is the command that prints the version, with ``{program}`` for the path;
    ``headers`` go with every request to it, with ``{upstream}`` for the mock's port."""

    name: str
    program: str
    install: tuple[str, ...]
    start: Callable[[Place], Start]
    version: tuple[str, ...]
    modules: tuple[str, ...] = ()
    headers: Mapping[str, str] = _NOTHING

    def find(self, tools: Path) -> str | None:
        """The program's path, or None."""
        own = tools / self.name
        candidates = [own / "bin" / self.program, own / self.program, Path(sys.executable).parent / self.program]
        path = next((str(one) for one in candidates if one.exists()), None) or shutil.which(self.program)
        if path is None or not self.modules:
            return path
        check = subprocess.run([path, "-c", f"import {', '.join(self.modules)}"], capture_output=True, check=False)
        return path if check.returncode == 0 else None

    def version_text(self, tools: Path) -> str:
        """The version that the program prints."""
        path = self.find(tools)
        if path is None:
            return "missing"
        command = [word.replace("{program}", path) for word in self.version]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = [line for line in (result.stdout + result.stderr).splitlines() if any(map(str.isdigit, line))]
        named = [line for line in lines if "ersion" in line] or lines
        return named[-1].strip() if named else "unknown"


def _nginx(place: Place) -> Start:
    directory = place.directory
    (directory / "nginx.conf").write_text(
        f"""worker_processes {place.workers}; daemon off; pid {directory}/nginx.pid; error_log {directory}/error.log;
events {{ worker_connections 65536; }}
http {{ access_log off; keepalive_requests 1000000000;
  client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};
  uwsgi_temp_path {directory}; scgi_temp_path {directory};
  upstream mock {{ server 127.0.0.1:{place.upstream}; keepalive 512; keepalive_requests 1000000000; }}
  server {{ listen 127.0.0.1:{place.port} backlog=2048; client_max_body_size 20m; client_body_buffer_size 1m;
    location / {{ proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; }}
  }} }}
"""
    )
    return Start([place.program, "-c", str(directory / "nginx.conf"), "-e", str(directory / "error.log")])


def _haproxy(place: Place) -> Start:
    (place.directory / "haproxy.cfg").write_text(
        f"""global
  nbthread {place.workers}
defaults
  mode http
  timeout client 60s
  timeout server 60s
  timeout connect 5s
  option http-keep-alive
  http-reuse always
frontend in
  bind 127.0.0.1:{place.port}
  default_backend mock
backend mock
  server one 127.0.0.1:{place.upstream}
"""
    )
    return Start([place.program, "-f", str(place.directory / "haproxy.cfg")])


def _server(name: str) -> Callable[[Place], Start]:
    def start(place: Place) -> Start:
        return Start([place.program, str(_SERVERS / name), str(place.port), str(place.upstream)])

    return start


def _ztoapi(transport: str, tree: Path = ROOT) -> Callable[[Place], Start]:
    def start(place: Place) -> Start:
        options = ["--port", str(place.port), "--transport", transport, "--workers", str(place.workers)]
        return Start(
            # Without -P the package in the current directory would come before that of the tree.
            [place.program, "-P", "-m", "ztoapi", "serve", *options],
            {
                "PYTHONPATH": str(tree),
                "ZTOAPI_MAX_IN_FLIGHT": "20000",
                "UPSTREAM_URL": f"http://127.0.0.1:{place.upstream}/v1",
                "UPSTREAM_TOKEN": "token",
                "DEFAULT_KEY": "key",
            },
        )

    return start


def _vllm_router(place: Place) -> Start:
    options = ["--host", "127.0.0.1", "--port", str(place.port), "--policy", "round_robin", "--log-level", "error"]
    environment = {"TOKIO_WORKER_THREADS": str(place.workers)}
    return Start([place.program, "--worker-urls", f"http://127.0.0.1:{place.upstream}", *options], environment)


def _litellm(place: Place) -> Start:
    (place.directory / "litellm.yaml").write_text(
        f"""model_list:
  - model_name: "*"
    litellm_params:
      model: "openai/*"
      api_base: http://127.0.0.1:{place.upstream}/v1
      api_key: token
"""
    )
    options = [
        "--host",
        "127.0.0.1",
        "--port",
        str(place.port),
        "--num_workers",
        str(place.workers),
        "--telemetry",
        "False",
    ]
    return Start(
        [place.program, "--config", str(place.directory / "litellm.yaml"), *options],
        {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": "key", "LITELLM_LOG": "ERROR"},
    )


def _portkey(place: Place) -> Start:
    server = Path(place.program).parents[1] / "@portkey-ai/gateway/build/start-server.js"
    return Start(["node", str(server), f"--port={place.port}", "--headless"], {"TRUSTED_CUSTOM_HOSTS": "127.0.0.1"})


def ztoapi_of(name: str, tree: Path) -> Target:
    """Returns the target ``name``: ztoapi as in ``tree``, with the interpreter and the packages of this process."""
    return Target(name, _PYTHON, (), _ztoapi("native", tree), ("echo", name, "0"), ("ztoapi",))


_PYTHON = Path(sys.executable).name
_IMPORT_VERSION = "from importlib.metadata import version as v; print({})"
TARGETS = (
    Target("nginx", "nginx", ("apt-get install -y nginx-light",), _nginx, ("{program}", "-v")),
    Target("haproxy", "haproxy", ("apt-get install -y haproxy",), _haproxy, ("{program}", "-v")),
    Target(
        "ztoapi",
        _PYTHON,
        ("pip install -e .",),
        _ztoapi("native"),
        ("{program}", "-m", "ztoapi", "--version"),
        ("ztoapi",),
    ),
    Target(
        "vllm-router",
        "vllm-router",
        (f"{sys.executable} -m venv {{tools}}", "{tools}/bin/pip install vllm-router"),
        _vllm_router,
        ("sh", "-c", '"$(dirname {program})"/pip show vllm-router'),
    ),
    Target(
        "aiohttp",
        "python",
        (f"{sys.executable} -m venv {{tools}}", "{tools}/bin/pip install aiohttp uvloop"),
        _server("aiohttp_proxy.py"),
        ("{program}", "-c", _IMPORT_VERSION.format("'aiohttp', v('aiohttp')")),
        ("aiohttp", "uvloop"),
    ),
    Target(
        "ztoapi --transport httpx",
        _PYTHON,
        ("pip install -e .",),
        _ztoapi("httpx"),
        ("{program}", "-m", "ztoapi", "--version"),
        ("ztoapi",),
    ),
    Target(
        "portkey",
        "node_modules/.bin/gateway",
        ("npm install --prefix {tools} @portkey-ai/gateway",),
        _portkey,
        ("node", "-p", "'@portkey-ai/gateway ' + require('{program}/../../@portkey-ai/gateway/package.json').version"),
        headers={"x-portkey-provider": "openai", "x-portkey-custom-host": "http://127.0.0.1:{upstream}/v1"},
    ),
    Target(
        "starlette+httpx",
        "python",
        (f"{sys.executable} -m venv {{tools}}", "{tools}/bin/pip install starlette uvicorn httptools uvloop httpx"),
        _server("starlette_proxy.py"),
        (
            "{program}",
            "-c",
            _IMPORT_VERSION.format("'starlette', v('starlette'), 'uvicorn', v('uvicorn'), 'httpx', v('httpx')"),
        ),
        ("starlette", "uvicorn", "httptools", "uvloop", "httpx"),
    ),
    Target(
        "litellm",
        "litellm",
        (f"{sys.executable} -m venv {{tools}}", "{tools}/bin/pip install 'litellm[proxy]'"),
        _litellm,
        ("env", "LITELLM_LOCAL_MODEL_COST_MAP=True", "{program}", "--version"),
    ),
)
