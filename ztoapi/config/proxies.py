"""HTTP proxies of the environment, by the variables that curl and httpx read."""

import ipaddress
import urllib.parse
from collections.abc import Mapping
from typing import NamedTuple

from ztoapi.config.host import is_loopback

__all__ = ["Proxy", "proxy_of"]


class Proxy(NamedTuple):
    """The URL of a proxy, and the variable that has it."""

    variable: str
    url: str


def proxy_of(url: str, environ: Mapping[str, str]) -> Proxy | None:
    """Returns the proxy for requests to ``url``; None for a loopback host, and for one that NO_PROXY excludes."""
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    excluded = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if is_loopback(host) or any(_covers(entry.strip().lower(), host, parts.port) for entry in excluded.split(",")):
        return None
    names = (f"{parts.scheme}_proxy", "all_proxy")
    found = (name for lower in names for name in (lower, lower.upper()) if environ.get(name))
    return next((Proxy(name, environ[name]) for name in found), None)


def _covers(entry: str, host: str, port: int | None) -> bool:
    """Returns whether an entry of NO_PROXY excludes ``host``: ``*``, a domain with all names below it, an address or a
    network; each but the last may have a port."""
    if entry == "*":
        return True
    try:
        return bool(entry) and ipaddress.ip_address(host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        name, _, wanted = entry.partition(":")
        domain = name.removeprefix("*").removeprefix(".")
        return bool(domain) and f".{host}".endswith(f".{domain}") and wanted in ("", str(port))
