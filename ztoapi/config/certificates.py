"""TLS for clients: the certificates, chosen by the name that the client wants (SNI, RFC 6066 section 3)."""

import ssl
from collections.abc import Callable, Sequence
from typing import Final, cast

from ztoapi.config.model import ServerConfig
from ztoapi.wire.limits import LINGER_BYTES

__all__ = ["ServerTLS", "server_tls", "tls_fault"]

_PROTOCOLS: Final = ("http/1.1",)
_HTTP_VERSION: Final = b" HTTP/1."
_REFUSAL: Final = (
    b'{"error":{"message":"this address requires TLS: use https:// in place of http://",'
    b'"type":"invalid_request_error","param":null,"code":"bad_request"}}'
)
_PLAIN_RESPONSE: Final = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b"
    % (len(_REFUSAL), _REFUSAL)
)


class _Handshake(ssl.SSLObject):
    """Responds to HTTP without TLS, as nginx does, and drops the further bytes of the client. The event loop keeps the
    connection until its handshake timeout, or until the client closes it."""

    incoming: ssl.MemoryBIO
    outgoing: ssl.MemoryBIO
    dropped: int | None = None
    """Bytes dropped since the response; None before it."""

    def do_handshake(self) -> None:
        if self.dropped is not None:
            self.dropped += len(self.incoming.read())
            if self.dropped > LINGER_BYTES:
                raise ssl.SSLError("the client still sends without TLS")
            raise ssl.SSLWantReadError
        try:
            super().do_handshake()
        except ssl.SSLError as error:
            # OpenSSL detects GET, HEAD, POST and PUT. It has read five bytes of another method, or of another protocol.
            if error.reason != "HTTP_REQUEST" and not (
                error.reason == "WRONG_VERSION_NUMBER" and _HTTP_VERSION in self.incoming.read()
            ):
                raise
            self.dropped = 0
            self.outgoing.write(_PLAIN_RESPONSE)
            cast("ServerTLS", self.context).on_plain_http()
            # Makes the event loop send what is in the buffer.
            raise ssl.SSLWantReadError from error


class ServerTLS(ssl.SSLContext):
    """A context of the server's side. ``on_plain_http`` is called for each client that sends HTTP without TLS."""

    sslobject_class = _Handshake
    on_plain_http: Callable[[], None] = staticmethod(lambda: None)

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        made = cast("_Handshake", super().wrap_bio(incoming, outgoing, server_side, server_hostname, session))
        made.incoming, made.outgoing = incoming, outgoing
        return made


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


def server_tls(server: ServerConfig) -> ServerTLS:
    """Returns the context for the certificates of ``server``. The first one is for clients that name no host, or an
    unknown one. TLS 1.2 and 1.3, with the cipher suites of OpenSSL's default.

    Raises OSError (with ssl.SSLError) for unusable files.
    """
    certificates = _files(server)
    contexts = [_context(chain, key, server.tls_client_ca_file) for chain, key in certificates]
    first = contexts[0]
    if len(contexts) == 1:
        return first
    by_name: dict[str, ServerTLS] = {}
    for context, (chain, key) in zip(contexts, certificates, strict=True):
        for name in _names(chain, key):
            by_name.setdefault(name, context)

    def choose(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        wanted = (name or "").lower()
        wildcard = f"*.{wanted.partition('.')[2]}"
        connection.context = by_name.get(wanted) or by_name.get(wildcard) or first

    first.sni_callback = choose
    return first


def _context(chain: str, key: str | None, client_ca_file: str | None) -> ServerTLS:
    context = ServerTLS(ssl.PROTOCOL_TLS_SERVER)
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
