"""Every option there is: its name, type, unit, default and meaning. Loading is in ``load.py``.

The command line, the environment, the TOML file, the documentation and ``ztoapi check`` are derived from these
classes; no option is listed anywhere else.
"""

import datetime
import fnmatch
import hmac
from collections.abc import Mapping
from typing import Literal

import msgspec

from ztoapi.dialects.thinking import ThinkMode

__all__ = [
    "CacheConfig",
    "ClientKey",
    "Config",
    "Credential",
    "DialectName",
    "LimitsConfig",
    "ModelRoute",
    "Platform",
    "Secret",
    "ServerConfig",
    "TrafficLimits",
    "UpstreamConfig",
]

DialectName = Literal["openai", "zai", "zai_web", "zread"]


class Secret:
    """A string that never shows itself: whatever prints, formats or encodes it gets a mask."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The string itself; for the header it goes into, nothing else."""
        return self._value

    def encode(self) -> bytes:
        """Its bytes, which ``hmac.compare_digest`` compares without telling by its time how much was right."""
        return self._value.encode("utf-8")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self.encode(), other.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "'***'"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)


class TrafficLimits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one may take: a key, a model, an address, or all together. None is no limit."""

    requests_per_second: int | None = None
    """Requests in a second."""
    requests_per_minute: int | None = None
    """Requests in a minute."""
    burst: int | None = None
    """Requests that may come at once; without it as many as the limit on requests allows in its time."""
    tokens_per_minute: int | None = None
    """Prompt and completion tokens in a minute."""
    bandwidth_bytes_per_second: int | None = None
    """Bytes of streamed answers in a second."""
    max_concurrency: int | None = None
    """Requests that may be in hand at the same time."""


class ClientKey(msgspec.Struct, frozen=True, kw_only=True):
    """A client key, without the key: what requests that carry it may do, and the name they are recorded under."""

    name: str
    """Name in logs, metrics and records: ``default`` and ``api-key-1`` ... for DEFAULT_KEY and API_KEYS."""
    id: str | None = None
    """The public part of a key of the key file, which it is looked up by."""
    hash: Secret | None = None
    """Hash of a key of the key file, as ``config/keys.py`` writes it."""
    models: tuple[str, ...] = ()
    """Models that may be used, in lower case, ``*`` for any characters; empty for all."""
    expires: datetime.datetime | None = None
    """The first moment at which it is not accepted any more."""
    revoked: bool = False
    """Whether it has been revoked."""
    limits: TrafficLimits = TrafficLimits()
    """Limits of its own; where it has none, those of ``[limits.key]`` hold."""

    def allows(self, model: str) -> bool:
        """Whether it may use ``model``; names are compared without regard to case."""
        wanted = model.lower()
        return not self.models or any(fnmatch.fnmatchcase(wanted, pattern) for pattern in self.models)

    def expired(self, now: float) -> bool:
        """Whether its time is over at ``now`` (Unix seconds)."""
        return self.expires is not None and now >= self.expires.timestamp()


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """One of the users' own tokens for a platform, and how it is used."""

    name: str
    """Name in logs, metrics and records: the platform's name and a number where none is given."""
    token: Secret | None
    """None: the platform is asked without one."""
    weight: float = 1.0
    """Its share of the requests, compared with the platform's other credentials."""
    max_in_flight: int | None = None
    """Most requests in flight, over all workers; None is no cap."""
    max_in_flight_per_model: Mapping[str, int] = msgspec.field(default_factory=dict)
    """The same by the upstream's name of the model, in lower case; ``*`` is for each that is not named."""


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """One upstream: where it is, what it speaks, and the credentials for it."""

    id: str
    """Name in MODEL_PLATFORM_MAP, metrics and records: zai, zai_web, zread, or openai for an unknown host."""
    dialect: DialectName
    """``zai`` is OpenAI's format with GLM's rules (parameters, finish reasons, error codes); ``openai`` is plain."""
    base_url: str
    """Scheme, authority and path prefix without a trailing slash, e.g. https://api.z.ai/api/paas/v4."""
    chat_url: str
    """Whole URL that chat requests are posted to (the talk URL for zread)."""
    models_url: str | None
    """Whole URL of the model list, or None where the upstream has none."""
    credentials: tuple[Credential, ...] = ()
    """Never used for another platform."""
    default_model: str
    """Upstream model id for a client model that has no route of its own."""


class ModelRoute(msgspec.Struct, frozen=True, kw_only=True):
    """Where one public model name goes."""

    public: str
    platform: str
    upstream: str


class ServerConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The client side. Times are in seconds, sizes in bytes; the reasons are in ``wire/limits.py``."""

    host: str = "127.0.0.1"
    """Address or name to listen on; of a name, all of its addresses. Any but loopback needs a client key."""
    port: int = 9090
    """Port to listen on; 0 takes a free one."""
    workers: int = 1
    """Processes; ``auto`` is one for each usable core."""
    backlog: int = 2048
    """Connections that wait to be accepted, for each worker."""
    max_in_flight: int = 2048
    """Requests that one worker has in hand at a time; others wait in its queue."""
    max_queued: int = 512
    """Requests that wait for that, for each worker; 503 above it. 0: none waits."""
    queue_seconds: float = 0.5
    """Time that a request waits to be taken in hand; 503."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses or networks (10.0.0.0/8) of proxies whose `x-forwarded-for` is believed."""
    drain_seconds: float = 30.0
    """Time that requests in hand have to finish after SIGTERM."""
    head_timeout_seconds: float = 10.0
    """Time for a whole request head, from the connection or its first byte on; 408."""
    body_timeout_seconds: float = 30.0
    """Time for a whole request body; 408."""
    body_idle_timeout_seconds: float = 15.0
    """Longest pause in a request body; 408."""
    keepalive_timeout_seconds: float = 75.0
    """Time that an idle client connection is kept."""
    write_stall_timeout_seconds: float = 120.0
    """A client that takes no byte for so long is cut off."""
    linger_seconds: float = 2.0
    """Time that a refused client has to read its refusal."""
    max_request_line_bytes: int = 8192
    """Longest request line; 414."""
    max_head_bytes: int = 32768
    """Largest request head; 431."""
    max_head_fields: int = 100
    """Most header fields; 431."""
    max_body_bytes: int = 10485760
    """Largest request body; 413."""
    sse_keepalive_seconds: float = 15.0
    """A ``: keepalive`` comment after so long without an upstream byte in mid-stream; 0 turns it off."""
    sse_keepalive_before_first_byte: bool = False
    """Send such comments also while the upstream has not answered, which commits the answer to status 200."""


class UpstreamConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The upstream side. Times are in seconds."""

    transport: Literal["native", "httpx"] = "native"
    """``httpx`` is ten times dearer and knows proxies (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY)."""
    max_idle_connections: int = 512
    """Idle upstream connections that are kept in all."""
    max_idle_per_origin: int = 256
    """Idle upstream connections that are kept for one origin."""
    idle_timeout_seconds: float = 90.0
    """Time that an idle upstream connection is kept."""
    connect_timeout_seconds: float = 8.0
    """Time to connect to an upstream."""
    first_byte_timeout_seconds: float = 60.0
    """Time until the first byte of an answer."""
    between_bytes_timeout_seconds: float = 60.0
    """Longest pause in an answer."""
    total_timeout_seconds: float = 600.0
    """Time for a whole answer; time in which the client is too slow does not count."""
    max_tries: int = 3
    """Tries of one request with one model, the first included; only failures before the first answer byte are tried
    again."""
    retry_budget_percent: int = 20
    """Retries that each worker makes for every hundred requests to a platform; ten in ten seconds are always free."""
    session_header: str | None = None
    """Name of a request header: requests with the same value stay with one credential while it can serve them."""
    max_event_bytes: int = 16777216
    """Largest single SSE event that is accepted from an upstream."""
    max_response_bytes: int = 67108864
    """Largest answer that is held whole (not streamed)."""
    tls_verify: bool = True
    """Whether upstream certificates are verified; only ever turn it off against a server of your own."""
    ca_file: str | None = None
    """A file of certificates to trust instead of the usual ones."""
    allow_coding_endpoint: bool = False
    """Needed to use Z.ai's coding endpoint, whose terms allow listed tools only."""


class LimitsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """How much may be asked for; a request must be within the limits of all its scopes."""

    redis_url: Secret | None = None
    """Redis or Valkey that several gateways share their limits by, e.g. `redis://:password@host:6379/0`."""
    gateways: int = 1
    """How many gateways share that Redis: while it is away each allows so large a part of every limit."""
    on_store_error: Literal["local", "deny"] = "local"
    """While Redis is away: each gateway allows its own share, or nobody is let in."""
    ietf_headers: bool = False
    """Whether answers carry `RateLimit` and `RateLimit-Policy` beside OpenAI's `x-ratelimit-` fields."""
    everybody: TrafficLimits = TrafficLimits()
    """All requests together: `[limits.global]`."""
    key: TrafficLimits = TrafficLimits()
    """Each client key: `[limits.key]`."""
    model: TrafficLimits = TrafficLimits()
    """Each model: `[limits.model]`."""
    address: TrafficLimits = TrafficLimits()
    """Each client address: `[limits.address]`; IPv6 by its first 64 bits."""


class CacheConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Answers that are kept, to be given again to the same question."""

    enabled: bool = False
    """Whether there is a response cache."""
    max_bytes: int = 67108864
    """Memory for answers, in each worker; answers on their way may take as much again."""
    max_entry_bytes: int = 1048576
    """A larger answer is not kept."""
    ttl_seconds: float = 3600.0
    """Time for which an answer is given again."""
    shared: bool = False
    """Whether one client key may be given the answers that another one got."""
    redis: bool = False
    """Whether workers and gateways share answers by `limits.redis_url`."""


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The whole configuration of one gateway."""

    server: ServerConfig = msgspec.field(default_factory=ServerConfig)
    upstream: UpstreamConfig = msgspec.field(default_factory=UpstreamConfig)
    limits: LimitsConfig = msgspec.field(default_factory=LimitsConfig)
    cache: CacheConfig = msgspec.field(default_factory=CacheConfig)
    default_key: Secret | None = None
    """The client key called ``default``. Without any key none is asked for (accepted on a loopback bind only)."""
    api_keys: tuple[Secret, ...] = ()
    """The client keys called ``api-key-1``, ``api-key-2`` ..."""
    key_file: str | None = None
    """File of client keys, as `ztoapi keys create` writes it; read again at SIGHUP."""
    keys: tuple[ClientKey, ...] = ()
    """Those of the key file."""
    admin_key: Secret | None = None
    """What operators send to see metrics, the dashboard's figures and the profiler. Without one this host alone sees
    them, and only on a loopback bind."""
    platforms: tuple[Platform, ...] = ()
    default_platform: str = "zai"
    routes: tuple[ModelRoute, ...] = ()
    """Configured models, MODEL_NAME first."""
    fallbacks: Mapping[str, tuple[str, ...]] = msgspec.field(default_factory=dict)
    """By model, in lower case: models that are asked instead when it cannot be had, in this order."""
    model_name: str = "glm-4.6"
    default_stream: bool = False
    """Used where a request has no ``stream`` key."""
    enable_thinking: bool | None = None
    """Default for requests that do not say; None leaves it to the upstream."""
    think_mode: ThinkMode = "reasoning"
    """How the web dialect shows reasoning."""
    zread_repository: str | None = None
    """owner/name that zread questions are about where the request names none."""
    dashboard_enabled: bool = True
    """Whether there is a dashboard."""
    history_file: str = "auto"
    """SQLite file that counts are kept in, by the hour. `auto`: `history-PORT.db` in `$STATE_DIRECTORY` (systemd),
    `$XDG_STATE_HOME/ztoapi` or `~/.local/state/ztoapi`. `none` keeps none."""
    access_log: str = "stdout"
    """Where each request leaves a line: `stdout`, `stderr`, a file (opened anew at SIGHUP), or `off`."""
    access_log_format: Literal["auto", "json", "text"] = "auto"
    """``auto`` is text on a terminal, else JSON."""
    otlp_endpoint: str | None = None
    """Base URL of an OpenTelemetry collector (OTLP over HTTP) that traces are sent to; needs `ztoapi[otel]`."""
    debug: bool = False
    """More messages for operators; never tokens or bodies."""
    cors_origins: tuple[str, ...] = ("*",)
    """Origins of pages that may read answers; without client keys only loopback origins may."""
    warnings: tuple[str, ...] = ()
    """What a user should know although the configuration is valid, e.g. the coding endpoint's usage policy."""

    def route(self, model: str) -> ModelRoute:
        """Where requests for ``model`` go; names are compared without regard to case.

        A model without a route of its own goes to the default platform: by its own name where the upstream knows
        many models, else as that platform's default model.
        """
        wanted = model.lower()
        for route in self.routes:
            if route.public.lower() == wanted:
                return route
        platform = next(platform for platform in self.platforms if platform.id == self.default_platform)
        own_name = platform.dialect in ("openai", "zai")
        return ModelRoute(public=model, platform=platform.id, upstream=model if own_name else platform.default_model)
