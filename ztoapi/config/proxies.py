"""HTTP proxies of the environment, by the variables that curl and httpx read."""

import base64
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

    @property
    def tunnels(self) -> bool:
        """Whether the native transport can use it: an HTTP proxy that is reached without TLS."""
        try:
            parts = urllib.parse.urlsplit(self.url)
            return parts.scheme == "http" and bool(parts.hostname) and parts.port != 0
        except ValueError:
            return False

    @property
    def address(self) -> tuple[str, int]:
        """The host and the port."""
        parts = urllib.parse.urlsplit(self.url)
        return parts.hostname or "", parts.port or 80

    @property
    def authorization(self) -> str | None:
        """The value of Proxy-Authorization (RFC 7617), if the URL has a user."""
        parts = urllib.parse.urlsplit(self.url)
        if parts.username is None:
            return None
        user, password = (urllib.parse.unquote(part or "") for part in (parts.username, parts.password))
        return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode('ascii')}"


def proxy_of(url: str, environ: Mapping[str, str]) -> Proxy | None:
    """Returns the proxy for requests to ``url``; None for a loopback host, and for one that NO_PROXY excludes."""
    parts = urllib.parse.urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    excluded = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    if is_loopback(host) or any(_covers(entry.strip().lower(), host, port) for entry in excluded.split(",")):
        return None
    names = (f"{parts.scheme}_proxy", "all_proxy")
    for name in (spelling for lower in names for spelling in (lower, lower.upper())):
        if value := environ.get(name):
            return Proxy(name, value if "://" in value else f"http://{value}")
    return None


def _covers(entry: str, host: str, port: int) -> bool:
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
