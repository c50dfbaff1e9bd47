"""Validates the URL of a Redis at the start, because its client would raise later or use another database."""

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
"""The parameters of the query, by scheme."""


def fault_of(url: str) -> str | None:
    """Returns an error message without any part of ``url``, which contains a password; None if the URL is valid."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "must have a port from 1 to 65535 and a host, such as redis://:password@host:6379/0"
    parameters = _OPTIONS.get(parts.scheme)
    if parameters is None:
        return "must be a URL such as redis://:password@host:6379/0"
    if parts.scheme == "unix":
        if len(unquote(parts.path)) < 2:
            return "must have the path of a socket, such as unix:///run/redis.sock"
    elif not host:
        return "must have a host, such as redis://:password@host:6379/0"
    elif not _DATABASE.fullmatch(parts.path):
        return "must end in the number of a database, such as /0, or without a path"
    if parts.fragment:
        return "must not contain #: write # in a password as %23"
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        if name not in parameters:
            valid = ", ".join(sorted(parameters))
            return f"must have no query parameters other than {valid}; write ? in a password as %3F"
        if name == "db" and not _NUMBER.fullmatch(value):
            return "must have a number as its parameter db"
        if name == "ssl_cert_reqs" and value not in ("none", "optional", "required"):
            return "must have none, optional or required as its parameter ssl_cert_reqs"
    return None
