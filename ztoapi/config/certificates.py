"""TLS for clients: the certificates, chosen by the name that the client wants (SNI, RFC 6066 section 3)."""

import ssl
from collections.abc import Sequence
from typing import Final

from ztoapi.config.model import ServerConfig

__all__ = ["server_tls", "tls_fault"]

_PROTOCOLS: Final = ("http/1.1",)


def tls_fault(server: ServerConfig) -> str | None:
    """Returns the reason why the files of ``server`` cannot be used, and the remedy; None if they can."""
    for chain, key in _files(server):
        try:
            _context(chain, key, None)
        except ssl.SSLError as error:
            return f"{chain}: {error.reason or error}: it must be a certificate chain (PEM) with its key"
        except OSError as error:
            return f"{chain}, {key}: {error.strerror}" if key else f"{chain}: {error.strerror}"
    try:
        server_tls(server)
    except OSError as error:
        return f"{error}: tls_client_ca_file must contain certificates; one of several tls_cert_files must be valid now"
    return None


def _files(server: ServerConfig) -> Sequence[tuple[str, str | None]]:
    """Returns the chains with their keys."""
    keys: Sequence[str | None] = server.tls_key_files or [None] * len(server.tls_cert_files)
    return [*zip(server.tls_cert_files, keys, strict=True)]


def server_tls(server: ServerConfig) -> ssl.SSLContext:
    """Returns the context for the certificates of ``server``. The first one is for clients that name no host, or an
    unknown one. TLS 1.2 and 1.3, with the cipher suites of OpenSSL's default.

    Raises OSError (with ssl.SSLError) for unusable files.
    """
    certificates = _files(server)
    contexts = [_context(chain, key, server.tls_client_ca_file) for chain, key in certificates]
    first = contexts[0]
    if len(contexts) == 1:
        return first
    by_name: dict[str, ssl.SSLContext] = {}
    for context, (chain, key) in zip(contexts, certificates, strict=True):
        for name in _names(chain, key):
            by_name.setdefault(name, context)

    def choose(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        wanted = (name or "").lower()
        wildcard = f"*.{wanted.partition('.')[2]}"
        connection.context = by_name.get(wanted) or by_name.get(wildcard) or first

    first.sni_callback = choose
    return first


def _context(chain: str, key: str | None, client_ca_file: str | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    context.set_alpn_protocols([*_PROTOCOLS])
    if client_ca_file is not None:
        context.load_verify_locations(client_ca_file)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _names(chain: str, key: str | None) -> list[str]:
    """Returns the host names of a certificate. The standard library shows them only to the client of a handshake, so
    this makes one in memory. Raises ssl.SSLError for a certificate that is not valid now."""
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname = False
    client_context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client_context.load_verify_locations(chain)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = client_context.wrap_bio(incoming, outgoing)
    server = _context(chain, key, None).wrap_bio(outgoing, incoming, server_side=True)
    for side in (client, server, client):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    names = (client.getpeercert() or {}).get("subjectAltName", ())
    return [str(entry[1]).lower() for entry in names if entry[0] == "DNS"]
