"""What is wrong with the URL of a Redis, found at the start: its client would raise, or take another database."""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

__all__ = ["fault_of"]

_DATABASE: Final = re.compile(r"/?\d{0,5}", re.ASCII)
_NUMBER: Final = re.compile(r"\d{1,5}", re.ASCII)
_CERTIFICATES: Final = frozenset(("ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile"))
_OPTIONS: Final[Mapping[str, frozenset[str]]] = {
    "redis": frozenset(("db",)),
    "rediss": frozenset(("db",)) | _CERTIFICATES,
    "unix": frozenset(("db", "password", "username")),
}
"""By scheme, what may stand behind the question mark."""


def fault_of(url: str) -> str | None:
    """A sentence for the operator, without anything of ``url``, which holds a password; None if it can be used."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "must have a port from 1 to 65535 and a host, such as redis://:password@host:6379/0"
    known = _OPTIONS.get(parts.scheme)
    if known is None:
        return "must be a URL such as redis://:password@host:6379/0"
    if parts.scheme == "unix":
        if len(unquote(parts.path)) < 2:
            return "must have the path of a socket, such as unix:///run/redis.sock"
    elif not host:
        return "must have a host, such as redis://:password@host:6379/0"
    elif not _DATABASE.fullmatch(parts.path):
        return "must end in the number of a database, such as /0, or in nothing"
    if parts.fragment:
        return "must have no #: write one in a password as %23"
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in known:
            return f"can have only {', '.join(sorted(known))} behind its question mark; write ? in a password as %3F"
        if name == "db" and not _NUMBER.fullmatch(value):
            return "must have a number as db"
        if name == "ssl_cert_reqs" and value not in ("none", "optional", "required"):
            return "must have none, optional or required as ssl_cert_reqs"
    return None
