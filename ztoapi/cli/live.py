"""``ztoapi check --live``: tests the way to each upstream, from its name to the response to each credential.

The requests list models, which costs no tokens. A step that fails ends the test of its platform.
"""

import contextlib
import email.utils
import socket
import ssl
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple, Protocol

import httpx
import msgspec

from ztoapi.config.model import Config, Credential, Platform
from ztoapi.config.proxies import Proxy, proxy_of
from ztoapi.dialects.reports import presentable
from ztoapi.upstream.tls import client_tls
from ztoapi.wire.sse import BYTE_ORDER_MARK

__all__ = ["ListedModels", "LiveCheck", "Step", "list_models"]

_MIN_DAYS: Final = 21
"""Certificates of 90 days are renewed 30 days before their end."""
_MAX_SKEW_SECONDS: Final = 60
"""Signed tokens and certificates are valid for minutes around their times."""
_MESSAGE_CHARACTERS: Final = 200
_REFUSED: Final = (200, 401, 403)
_NO_LIST: Final = (404, 405)

State = Literal["ok", "warning", "FAILED"]


class Step(NamedTuple):
    """The result of one step."""

    state: State
    subject: str
    text: str


class ListedModels(NamedTuple):
    """The response to a request for the list of models: ``fault`` is empty if there are ``models``."""

    fault: str
    models: tuple[str, ...] = ()
    status: int = 0
    seconds: float = 0.0
    date: str = ""


class _Entry(msgspec.Struct):
    id: str


class _List(msgspec.Struct):
    data: list[_Entry]


def list_models(client: httpx.Client, url: str, credential: Credential) -> ListedModels:
    """Requests a list of models. Raises httpx.HTTPError."""
    token = credential.token
    headers = {} if token is None else {"authorization": f"Bearer {token.reveal()}"}
    response = client.get(url, headers=headers)
    text = response.text if token is None else response.text.replace(token.reveal(), "***")
    fault = f"status {response.status_code}: {presentable(text)[:_MESSAGE_CHARACTERS]}"
    models: tuple[str, ...] = ()
    if response.is_success:
        # A success may be an error too: Z.ai reports some refused tokens with the status 200.
        with contextlib.suppress(msgspec.DecodeError):
            body = response.content.removeprefix(BYTE_ORDER_MARK)
            models = tuple(entry.id for entry in msgspec.json.decode(body, type=_List).data)
            fault = ""
    seconds = response.elapsed.total_seconds()
    return ListedModels(fault, models, response.status_code, seconds, response.headers.get("date", ""))


class LiveCheck:
    """Tests the upstreams of ``config``. ``clock`` returns Unix seconds."""

    def __init__(self, config: Config, environ: Mapping[str, str], clock: Callable[[], float]) -> None:
        self._config = config
        self._environ = environ
        self._clock = clock
        self._tls = client_tls(config.upstream)
        self._timeout = config.upstream.connect_timeout_seconds

    def steps(self) -> Iterator[Step]:
        """Yields the steps as they are done."""
        for platform in self._config.platforms:
            yield from self._platform(platform)

    def client(self, platform: Platform) -> httpx.Client:
        """Returns a client that uses the proxy that the configured transport uses."""
        proxy = self._proxy(platform)
        return httpx.Client(
            verify=self._tls,
            proxy=None if proxy is None else proxy.url,
            trust_env=False,
            timeout=self._timeout,
        )

    def _proxy(self, platform: Platform) -> Proxy | None:
        proxy = proxy_of(platform.chat_url, self._environ)
        usable = proxy is not None and (proxy.tunnels or self._config.upstream.transport == "httpx")
        return proxy if usable else None

    def _platform(self, platform: Platform) -> Iterator[Step]:
        proxy = self._proxy(platform)
        reached = False
        for step in self._connection(platform.id, urllib.parse.urlsplit(platform.base_url), proxy):
            yield step
            reached = step.state != "FAILED"
        if not reached:
            return
        if not platform.credentials:
            yield Step("FAILED", platform.id, f"no token: set {platform.id.upper()}_TOKEN")
        with self.client(platform) as client:
            for credential in platform.credentials:
                yield from self._credential(platform, credential, client)

    def _connection(self, name: str, url: urllib.parse.SplitResult, proxy: Proxy | None) -> Iterator[Step]:
        """Tests the connection; to a proxy only up to TCP, because the request for the models needs the rest."""
        host, port = url.hostname or "", url.port or (443 if url.scheme == "https" else 80)
        if proxy is not None:
            host, port = proxy.address
            yield Step(
                "ok", f"{name} proxy", f"{proxy.variable}: {host}:{port}, which resolves the name of the upstream"
            )
        start = time.monotonic()
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            text = f"{host} does not resolve ({error.strerror}): check the URL, and the resolver in /etc/resolv.conf"
            yield Step("FAILED", f"{name} DNS", text)
            return
        addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
        yield Step("ok", f"{name} DNS", f"{host} is {', '.join(addresses)}{_took(start)}")
        start = time.monotonic()
        try:
            connection = socket.create_connection((host, port), self._timeout)
        except OSError as error:
            text = f"{host}:{port}: {error.strerror or error}: start the server, or allow the connection (firewall)"
            yield Step("FAILED", f"{name} TCP", text)
            return
        with connection:
            yield Step("ok", f"{name} TCP", f"{connection.getpeername()[0]}:{port}{_took(start)}")
            if url.scheme == "https" and proxy is None:
                yield self._encrypted(name, host, connection)

    def _encrypted(self, name: str, host: str, connection: socket.socket) -> Step:
        start = time.monotonic()
        try:
            with self._tls.wrap_socket(connection, server_hostname=host) as encrypted:
                version, certificate = encrypted.version(), encrypted.getpeercert() or {}
                chain = _chain(encrypted)
        except ssl.SSLCertVerificationError as error:
            remedy = "set upstream.ca_file to the authority of the server, or correct the clock or the host name"
            return Step("FAILED", f"{name} TLS", f"the certificate is refused: {error.verify_message}: {remedy}")
        except OSError as error:
            return Step("FAILED", f"{name} TLS", f"{error.strerror or error}: is it an http:// URL?")
        if not certificate:
            return Step("warning", f"{name} TLS", f"{version}, the certificate is not verified (upstream.tls_verify)")
        end = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
        days = int((end - self._clock()) // 86400)
        text = f"{version}, issued by {_common_name(certificate['issuer'])}, valid for {days} days{_took(start)}{chain}"
        return Step("warning" if days < _MIN_DAYS else "ok", f"{name} TLS", text)

    def _credential(self, platform: Platform, credential: Credential, client: httpx.Client) -> Iterator[Step]:
        subject = f"{platform.id}/{credential.name}"
        if platform.models_url is None:
            yield Step("warning", subject, "not tested: the platform has no request that costs nothing")
            return
        try:
            listed = list_models(client, platform.models_url, credential)
        except httpx.HTTPError as error:
            yield Step("FAILED", subject, f"{platform.models_url}: {error or type(error).__name__}")
            return
        if not listed.fault:
            count = f"{len(listed.models)} models in {listed.seconds * 1000:.0f} ms"
            yield Step("ok", subject, f"accepted, {count}")
            yield from self._missing(platform, listed.models)
        elif listed.status in _NO_LIST:
            yield self._without_list(platform, credential, client, listed)
        else:
            remedy = ": set a valid token" if listed.status in _REFUSED else ""
            yield Step("FAILED", subject, f"{listed.fault}{remedy}")
        yield from self._skew(platform.id, listed.date)

    def _without_list(
        self, platform: Platform, credential: Credential, client: httpx.Client, listed: ListedModels
    ) -> Step:
        """Finds out whether the base URL lacks the version."""
        subject = f"{platform.id}/{credential.name}"
        below = f"{platform.base_url}/v1"
        if platform.id == "openai" and list_models(client, f"{below}/models", credential).status not in _NO_LIST:
            return Step("FAILED", subject, f"{listed.fault}: the base URL must be {below}")
        return Step("warning", subject, f"not tested: {platform.models_url} has no list of models ({listed.status})")

    def _missing(self, platform: Platform, models: Sequence[str]) -> Iterator[Step]:
        known = {model.lower() for model in models}
        for route in self._config.routes:
            if route.platform == platform.id and route.upstream.lower() not in known:
                text = f"{route.public}: the list of the platform does not have {route.upstream}"
                yield Step("warning", f"{platform.id} models", text)

    def _skew(self, name: str, date: str) -> Iterator[Step]:
        try:
            skew = self._clock() - email.utils.parsedate_to_datetime(date).timestamp()
        except ValueError:
            return
        if abs(skew) > _MAX_SKEW_SECONDS:
            direction = "ahead of" if skew > 0 else "behind"
            text = f"this host is {abs(skew):.0f} s {direction} the upstream: synchronise it (NTP)"
            yield Step("warning", f"{name} clock", text)


class _Certificate(Protocol):
    def get_info(self) -> Mapping[str, object]: ...


class _Tls(Protocol):
    def get_verified_chain(self) -> Sequence[_Certificate]: ...


def _chain(connection: ssl.SSLSocket) -> str:
    """Returns the subjects of the certificates up to the trusted one, each with the day on which it expires."""
    # Python has a public method only since 3.13, and it returns the bytes of the certificates.
    tls: _Tls = connection._sslobj  # type: ignore[attr-defined]
    certificates = [one.get_info() for one in tls.get_verified_chain()]
    links = (f"{_subject(one['subject'])} (until {_day(str(one['notAfter']))})" for one in certificates)
    return f"; chain: {' < '.join(links)}"


def _day(text: str) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(ssl.cert_time_to_seconds(text)))


def _took(start: float) -> str:
    return f" ({(time.monotonic() - start) * 1000:.0f} ms)"


def _common_name(name: object) -> str:
    """Returns the organization or the common name of a name in a certificate."""
    fields = _fields(name)
    return fields.get("organizationName") or fields.get("commonName") or "an unnamed authority"


def _subject(name: object) -> str:
    """Returns the common name or the organization of a name in a certificate."""
    fields = _fields(name)
    return fields.get("commonName") or fields.get("organizationName") or "no name"


def _fields(name: object) -> dict[str, str]:
    assert isinstance(name, tuple)
    return {key: str(value) for part in name for key, value in part}
