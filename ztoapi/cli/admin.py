"""Requests of commands to a running gateway, at the paths for operators."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import httpx
import msgspec

from ztoapi.cli.options import load_config, own_origin
from ztoapi.config.host import is_loopback
from ztoapi.errors import UsageError
from ztoapi.telemetry.terminal_text import clean

__all__ = ["GatewayError", "ask", "call_gateway", "decoded", "open_client"]

T = TypeVar("T")

_TIMEOUT_SECONDS: Final = 5.0
_PROBLEM_CHARACTERS: Final = 300
_CERTIFICATE_REMEDY: Final = (
    "set SSL_CERT_FILE to a file with the certificate of the gateway's authority (its own, if it is self-signed), and "
    "use a host name of the certificate in --url"
)
_SCHEMES: Final = ("all://", "http://", "https://")
"""The URL patterns for which httpx reads proxies from the environment."""


class GatewayError(Exception):
    """The gateway has not done what was requested; the message is shown."""


class _ErrorMessage(msgspec.Struct):
    message: str


class _ErrorResponse(msgspec.Struct):
    error: _ErrorMessage


def open_client(args: argparse.Namespace) -> tuple[httpx.AsyncClient, str]:
    """Returns a client for the gateway of ``--url`` or of the configuration, with the admin key, and its origin. Raises
    ConfigError."""
    config = load_config(args).config
    url: str = args.url or own_origin(config, operators=True)
    headers = {} if config.admin_key is None else {"authorization": f"Bearer {config.admin_key.reveal()}"}
    try:
        host = httpx.URL(url).host
        # The admin key of a gateway on this host must not go through a proxy.
        direct = dict.fromkeys(_SCHEMES) if args.url is None or is_loopback(host) else None
        client = httpx.AsyncClient(base_url=url, headers=headers, timeout=_TIMEOUT_SECONDS, mounts=direct)
    except (httpx.InvalidURL, ValueError) as error:
        raise UsageError((f"--url: {error}",)) from error
    if client.base_url.scheme not in ("http", "https") or not client.base_url.host:
        raise UsageError((f"--url: {url!r} is not an http or https URL, such as http://127.0.0.1:9090",))
    return client, url


def call_gateway(
    command: str, args: argparse.Namespace, work: Callable[[httpx.AsyncClient, argparse.Namespace], Awaitable[None]]
) -> int:
    """Calls ``work`` with a client for the gateway. Returns 0, or 1 after printing a GatewayError. Raises
    ConfigError."""
    client, _ = open_client(args)
    try:
        asyncio.run(_close_after(client, work(client, args)))
    except GatewayError as error:
        print(f"ztoapi {command}: {clean(str(error))}", file=sys.stderr)
        return 1
    return 0


async def _close_after(client: httpx.AsyncClient, work: Awaitable[None]) -> None:
    async with client:
        await work


async def ask(client: httpx.AsyncClient, path: str, body: bytes | None = None) -> bytes:
    """Returns the response to a GET, or to a POST of ``body``. Raises GatewayError."""
    try:
        response = await client.request("GET" if body is None else "POST", path, content=body)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        refused = "CERTIFICATE_VERIFY_FAILED" in str(error)
        remedy = (
            _CERTIFICATE_REMEDY if refused else "start the gateway with `ztoapi serve`, or name another one with --url"
        )
        reason = error or type(error).__name__
        raise GatewayError(f"no response from {client.base_url}: {reason}; {remedy}") from error
    if response.status_code != 200:
        message = _message(response)[:_PROBLEM_CHARACTERS]
        raise GatewayError(f"{client.base_url} returned {response.status_code}: {message}")
    return response.content


def decoded(content: bytes, kind: type[T]) -> T:
    """Returns a response of :func:`ask`. Raises GatewayError."""
    try:
        return msgspec.json.decode(content, type=kind)
    except msgspec.DecodeError as error:
        raise GatewayError(f"not a ztoapi gateway of a compatible version: {error}") from error


def _message(response: httpx.Response) -> str:
    try:
        return msgspec.json.decode(response.content, type=_ErrorResponse).error.message
    except msgspec.DecodeError:
        return response.text
