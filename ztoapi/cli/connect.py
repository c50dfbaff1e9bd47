"""``ztoapi connect``: prints the settings with which a client uses the gateway, or starts the client with them."""

import argparse
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec

from ztoapi.cli.options import load_config, own_origin
from ztoapi.clients.settings import Api, GatewayAccess, Model, Settings, shell_line
from ztoapi.clients.table import ClientDescription, clients, isolated_settings, settings
from ztoapi.config.catalogue import Catalogue
from ztoapi.config.model import Config, ModelFacts
from ztoapi.config.routes import RouteTable
from ztoapi.config.spelling import did_you_mean
from ztoapi.config.values import secret_fault
from ztoapi.dialects.registry import DIALECTS
from ztoapi.errors import UsageError

__all__ = ["run"]

_PLACEHOLDER: Final = "YOUR-KEY"
_HINT: Final = (
    "the configuration does not contain exactly one key in clear text; pass one with --key (any, if the gateway has "
    "no client keys), or create one with `ztoapi keys create`"
)
_LIMITS: Final = ("context_tokens", "max_output_tokens")
"""The facts about a model from which clients get its limits."""
_NO_KEY: Final = "none"
"""Sent to a gateway without client keys, because most clients refuse to start without a key."""
_HAIKU: Final = "claude-haiku"
"""Its route is the model for small tasks of agents, if it has one."""
_SIGNALLED: Final = 128
"""Shells add the number of a signal to it for the exit code of a program that the signal has ended."""


def run(args: argparse.Namespace) -> int:
    """Prints the list of clients or the settings of one, and returns 0; or starts it and returns its exit code.

    Raises ConfigError.
    """
    if args.name is None:
        _print_list(as_json=args.json)
        return 0
    client = clients().get(args.name)
    if client is None:
        hint = did_you_mean(args.name, clients())
        raise UsageError((f"unknown client {args.name}{hint}; `ztoapi connect` lists them",))
    api: Api = args.api or client.apis[0]
    if api not in client.apis:
        raise UsageError((f"--api: {client.title} has only {', '.join(client.apis)}",))
    if args.arguments and not args.run:
        raise UsageError(("--: arguments for the client require --run",))
    config = load_config(args).config
    access = _access(args, api, config)
    if hint := _limits_hint(args.name, access, config):
        print(hint, file=sys.stderr)
    if args.run:
        return _start(args.name, client, access, args.arguments)
    if access.key == _PLACEHOLDER:
        print(f"Replace {_PLACEHOLDER}: {_HINT}.", file=sys.stderr)
    client_settings = settings(args.name, access)
    print(_as_json(args.name, client, api, client_settings) if args.json else _as_text(client, api, client_settings))
    return 0


def _print_list(*, as_json: bool) -> None:
    if as_json:
        listed = [{"name": name, "title": client.title, "apis": client.apis} for name, client in clients().items()]
        print(json.dumps(listed, indent=2))
        return
    width = max(map(len, clients()))
    for name, client in clients().items():
        print(f"{name:<{width}}  {client.title} ({', '.join(client.apis)})")


def _access(args: argparse.Namespace, api: Api, config: Config) -> GatewayAccess:
    """Raises ConfigError."""
    url = own_origin(config) if args.url is None else _url(args.url)
    key = _configured_key(config, own=args.url is None) if args.key is None else args.key
    if (fault := secret_fault(key)) is not None:
        raise UsageError((f"--key: {fault}",))
    names = [route.public for route in config.routes]
    if args.model is not None:
        names = [args.model, *(name for name in names if name.lower() != args.model.lower())]
    routes = RouteTable(config)
    small = routes.find(_HAIKU).public
    if small == _HAIKU:
        small = names[0]
    if small not in names:
        names.append(small)
    return GatewayAccess(api, url, key, tuple(_models(names, routes, config)), small)


def _url(text: str) -> str:
    """Returns the gateway's URL without ``/v1`` and a trailing slash. Raises ConfigError."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in ("http", "https") and parts.hostname and not parts.query and not parts.fragment
        usable = usable and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not text.isascii() or not text.isprintable() or " " in text:
        raise UsageError((f"--url: {text!r} is not an http or https URL, such as http://127.0.0.1:9090",))
    return text.rstrip("/").removesuffix("/v1").rstrip("/")


def _configured_key(config: Config, *, own: bool) -> str:
    """Returns the only key that the configuration has in clear text, or a placeholder. Whether a gateway has no client
    keys is known only of the configuration's ``own``."""
    keys = [key.reveal() for key in (config.default_key, *config.api_keys) if key is not None]
    if own and not keys and config.key_file is None:
        return _NO_KEY
    return keys[0] if len(set(keys)) == 1 else _PLACEHOLDER


def _models(names: Iterable[str], routes: RouteTable, config: Config) -> Iterator[Model]:
    catalogue = Catalogue(config.models)
    dialects = {platform.id: platform.dialect for platform in config.platforms}
    for name in names:
        route = routes.find(name)
        yield Model(name, catalogue.find(route.upstream, dialects[route.platform]) or ModelFacts())


def _limits_hint(name: str, access: GatewayAccess, config: Config) -> str:
    """Returns a hint at limits of the main model that are not known and would be part of the client's settings, or
    ""."""
    main = access.models[0]
    route = RouteTable(config).find(main.name)
    dialect = next(platform.dialect for platform in config.platforms if platform.id == route.platform)
    missing = [limit for limit in _LIMITS if getattr(main.facts, limit) is None]
    known = main._replace(facts=msgspec.structs.replace(main.facts, **dict.fromkeys(missing, 1)))
    complete = access._replace(models=(known, *access.models[1:]))
    # Other dialects have no facts about their models.
    if not DIALECTS[dialect].openai_format or settings(name, complete) == settings(name, access):
        return ""
    table = f"[models.{json.dumps(route.upstream, ensure_ascii=False)}]"
    return f"{main.name}: {' and '.join(missing)} are not known; add them to {table} in the configuration."


def _start(name: str, client: ClientDescription, access: GatewayAccess, arguments: Sequence[str]) -> int:
    """Starts the client and returns its exit code. Raises ConfigError."""
    if access.key == _PLACEHOLDER:
        raise UsageError((f"--key: required; {_HINT}",))
    with tempfile.TemporaryDirectory(prefix="ztoapi-") as directory:
        client_settings = isolated_settings(name, access, directory)
        if client_settings is None:
            if client.kind == "library":
                fault = f"{name} is not a program; export the variables that `ztoapi connect {name}` prints"
            else:
                fault = f"{client.title} cannot be started from here; set what `ztoapi connect {name}` prints"
            raise UsageError((f"--run: {fault}",))
        for file in client_settings.files:
            Path(file.path).write_text(file.text, "utf-8")
        if shutil.which(client_settings.commands[-1][0]) is None:
            print(f"ztoapi: {client_settings.commands[-1][0]} is not installed: {client.install}", file=sys.stderr)
            return 1
        environment = {**os.environ, **client_settings.environment}
        for command in client_settings.commands[:-1]:
            subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
        return _run_to_the_end((*client_settings.commands[-1], *arguments), environment)


def _run_to_the_end(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Runs the program in the foreground: the terminal sends it Ctrl-C, and it receives a SIGTERM of this process."""
    running: list[subprocess.Popen[bytes]] = []
    terminated = False

    def terminate(*_: object) -> None:
        nonlocal terminated
        terminated = True
        for process in running:
            process.terminate()

    # Unlike SIG_IGN, the program does not inherit a handler.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, terminate)
    with subprocess.Popen(command, env=environment) as process:
        running.append(process)
        # The signal may have come while the program was being started.
        if terminated:
            process.terminate()
        code = process.wait()
    return code if code >= 0 else _SIGNALLED - code


def _as_json(name: str, client: ClientDescription, api: Api, client_settings: Settings) -> str:
    document = {
        "name": name,
        "title": client.title,
        "api": api,
        "install": client.install,
        "environment": client_settings.environment,
        "files": [file._asdict() for file in client_settings.files],
        "form": client_settings.form,
        "commands": client_settings.commands,
        "note": client.note or None,
    }
    return json.dumps(document, indent=2)


def _as_text(client: ClientDescription, api: Api, client_settings: Settings) -> str:
    parts = [f"# {client.title} ({api}). To install it: {client.install}"]
    if client_settings.environment:
        parts.append(
            "\n".join(
                (
                    "# Environment:",
                    *(f"export {name}={shlex.quote(value)}" for name, value in client_settings.environment.items()),
                )
            )
        )
    parts += [f"# {file.path}:\n{file.text.rstrip()}" for file in client_settings.files]
    if client_settings.form:
        parts.append(
            "\n".join(("# Settings:", *(f"{label}: {value}" for label, value in client_settings.form.items())))
        )
    if client_settings.commands:
        parts.append("\n".join(("# Start:", *map(shell_line, client_settings.commands))))
    if client.note:
        parts.append(f"# {client.note.replace('`', '')}")
    return "\n\n".join(parts)
