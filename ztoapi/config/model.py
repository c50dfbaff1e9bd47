"""Every option: name, type, range, unit, default, environment variable, flag and help, in the order of the
documentation.

The fields annotated with an :class:`~ztoapi.option.Option` are options. :class:`PlatformSettings` and :class:`Config`
are the top level of ``ztoapi.toml``; a field of ``Config`` that is a struct is a table. ``config/options.py`` derives
the command line, the environment, the documentation and the JSON Schema from these classes, ``load.py`` reads the
values.
"""

import datetime
import fnmatch
import hmac
from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec

from ztoapi.dialects.capabilities import ThinkingKind
from ztoapi.dialects.registry import DialectName
from ztoapi.dialects.thinking import ThinkMode
from ztoapi.option import TOKENS, Bytes, Flag, Option, Range, Seconds, SecondsOrZero
from ztoapi.wire.limits import Limits

__all__ = [
    "DEFAULT_MODEL",
    "MAX_IN_FLIGHT",
    "OTHER_FILES",
    "CacheConfig",
    "ClaudeConfig",
    "ClientKey",
    "Config",
    "Credential",
    "KeyBudgets",
    "LimitsConfig",
    "ModelFacts",
    "ModelRoute",
    "Platform",
    "PlatformSettings",
    "PlatformTable",
    "RouteSettings",
    "Secret",
    "ServerConfig",
    "TrafficLimits",
    "UpstreamConfig",
]

PlatformId = Literal["zai", "zai_web", "zread", "openai"]

Amount = Annotated[int, Range(1, 100_000_000)]
"""Redis has 53 bits for an integer; larger rates would lose precision there."""
Count = Annotated[int, Range(1, 1_000_000)]
Tokens = Annotated[int, Range(1, 1_000_000_000, TOKENS)]
TokenRate = Annotated[int, Range(1, 100_000_000, TOKENS)]
TokenBudget = Annotated[int, Range(1, 1_000_000_000_000, TOKENS)]
Dollars = Annotated[float, Range(0, 1_000_000, "US dollars", exclusive=True)]
Price = Annotated[float, Range(0, 1_000_000, "US dollars")]

DEFAULT_MODEL: Final = "glm-5.3"
"""Z.ai's current flagship."""


class Secret:
    """A string that is masked wherever it is printed, formatted or encoded."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Returns the string; only for the header field or the URL that carries it."""
        return self._value

    def encode(self) -> bytes:
        """Returns the string as bytes, for ``hmac.compare_digest``, whose time does not depend on the content."""
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


Secrets = tuple[Secret, ...]


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """A token for a platform, and how it is used: one entry of ``[[platforms.NAME.credentials]]``."""

    name: Annotated[str, Option("Name in logs, metrics and records; the platform's name and a number if unset.")]
    token: Annotated[Secret | None, Option("The token.", required=True)]
    """None: requests carry no token."""
    weight: Annotated[
        float,
        Range(0, 1000, exclusive=True),
        Option("Share of the requests relative to the platform's other credentials."),
    ] = 1.0
    max_in_flight: Annotated[Count | None, Option("Largest number of requests in flight, over all workers.")] = None
    max_in_flight_per_model: Annotated[
        Mapping[str, Count],
        Option("Largest number of requests in flight by upstream model; `*` applies to every model without an entry."),
    ] = msgspec.field(default_factory=dict)


class PlatformTable(msgspec.Struct, frozen=True, kw_only=True):
    """A table ``[platforms.NAME]``."""

    messages: Annotated[
        Literal["translate", "native"],
        Option("`native` sends requests of the Messages API to the upstream's own endpoint, without translation."),
    ] = "translate"
    responses: Annotated[
        Literal["translate", "native"],
        Option("`native` sends requests of the Responses API to the upstream's own endpoint, without translation."),
    ] = "translate"
    messages_url: Annotated[
        str | None,
        Option("URL of the upstream's endpoint of the Messages API. If unset, it follows from the base URL."),
    ] = None
    responses_url: Annotated[
        str | None,
        Option("URL of the upstream's endpoint of the Responses API. If unset, it follows from the base URL."),
    ] = None

    passthrough_paths: Annotated[
        tuple[str, ...],
        Option(
            "Paths below `/v1/` whose requests go to the platform as they are. A path that ends in `/` stands for all "
            "paths below it.",
            pattern=r"/v1(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)+/?",
            form="a path below /v1, such as /v1/images/generations, or /v1/audio/ for all paths below it",
            example=("/v1/images/generations", "/v1/audio/"),
        ),
    ] = ()

    max_in_flight: Annotated[Count | None, Option("Default for the platform's credentials.")] = None
    max_in_flight_per_model: Annotated[Mapping[str, Count], Option("Default for the platform's credentials.")] = (
        msgspec.field(default_factory=dict)
    )
    credentials: Annotated[tuple[Credential, ...], Option("Credentials with a name, a weight and limits.")] = ()


class RouteSettings(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of ``model_platform_map``."""

    platform: Annotated[PlatformId | None, Option("Platform; the default platform if unset.")] = None
    upstream: Annotated[str | None, Option("Model id of the upstream.")] = None
    alias: Annotated[tuple[str, ...], Option("Other public names of the model.")] = ()


class PlatformSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Options that describe platforms. A platform is an upstream service: its address, its dialect and its credentials.

    Only the declarations are used: ``platforms.py`` resolves the values into ``Config.platforms`` and
    ``Config.routes``.
    """

    platform_id: Annotated[
        PlatformId | None,
        Option(
            "Default platform. If unset, inferred from the host of `upstream_url`.",
            flag=Flag("upstream and models", "NAME"),
            example="zai",
        ),
    ] = None
    upstream_url: Annotated[
        str | None,
        Option(
            "Base URL or chat URL of the default platform.",
            flag=Flag("upstream and models", "URL", "-u"),
            example="https://api.z.ai/api/paas/v4",
        ),
    ] = None
    upstream_token: Annotated[Secrets, Option("Token of the default platform.", separator="|", example="...")] = ()
    upstream_tokens: Annotated[Secrets, Option("More tokens of the default platform.", separator="|")] = ()
    zai_token: Annotated[
        Secrets, Option("Token of Z.ai; of the web chat if that is the default platform.", separator="|", example="...")
    ] = ()
    zai_tokens: Annotated[Secrets, Option("More tokens like `zai_token`.", separator="|")] = ()
    zai_upstream_url: Annotated[
        str | None, Option("Base URL or chat URL of Z.ai's official API.", example="https://api.z.ai/api/paas/v4")
    ] = None
    zai_web_token: Annotated[Secrets, Option("Token of Z.ai's web chat.", separator="|", example="...")] = ()
    zai_web_tokens: Annotated[Secrets, Option("More tokens of Z.ai's web chat.", separator="|")] = ()
    zai_web_upstream_url: Annotated[
        str | None, Option("Base URL or chat URL of Z.ai's web chat.", example="https://chat.z.ai")
    ] = None
    zread_token: Annotated[Secrets, Option("Token of zread.ai.", separator="|", example="...")] = ()
    zread_tokens: Annotated[Secrets, Option("More tokens of zread.ai.", separator="|")] = ()
    zread_upstream_url: Annotated[
        str | None, Option("Base URL or talk URL of zread.ai.", example="https://zread.ai")
    ] = None
    openai_token: Annotated[
        Secrets, Option("Token of the OpenAI-compatible server.", separator="|", example="...")
    ] = ()
    openai_tokens: Annotated[Secrets, Option("More tokens of the OpenAI-compatible server.", separator="|")] = ()
    openai_upstream_url: Annotated[
        str | None, Option("Base URL or chat URL of the OpenAI-compatible server.", example="http://127.0.0.1:8000/v1")
    ] = None
    platform_token_map: Annotated[
        Mapping[PlatformId, Secrets], Option("Tokens by platform: a token or a list of tokens.", separator="|")
    ] = msgspec.field(default_factory=dict)
    platforms: Annotated[
        Mapping[PlatformId, PlatformTable],
        Option("Credentials, limits and endpoints by platform; only in TOML.", env=""),
    ] = msgspec.field(default_factory=dict)
    model_platform_map: Annotated[
        Mapping[str, PlatformId | RouteSettings],
        Option("Public models: the platform, or an object of `platform`, `upstream` and `alias`."),
    ] = msgspec.field(default_factory=dict)
    upstream_model_id_map: Annotated[
        Mapping[str, str], Option("Public models on the default platform: the upstream's model id.")
    ] = msgspec.field(default_factory=dict)
    upstream_model_id_default: Annotated[
        str | None,
        Option(
            "Upstream id of `model_name`, and on the web platforms of every model without a route.", example="glm-5.3"
        ),
    ] = None


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """A platform after its settings are resolved."""

    id: str
    """Name in options, metrics and records: zai, zai_web, zread, or openai for any other host."""
    dialect: DialectName
    """``zai`` is OpenAI's format with GLM's rules (parameters, finish reasons, error codes); ``openai`` is plain."""
    base_url: str
    """Scheme, authority and path prefix without a trailing slash, e.g. https://api.z.ai/api/paas/v4."""
    chat_url: str
    """The URL that chat requests are posted to (the talk URL for zread)."""
    models_url: str | None
    """The URL of the model list; None where the upstream has none."""
    messages_url: str | None = None
    """The URL of the upstream's own Messages API; None if requests are translated."""
    responses_url: str | None = None
    """The URL of the upstream's own Responses API; None if requests are translated."""
    embeddings_url: str | None = None
    """The URL of the upstream's embeddings; None where the upstream has none."""
    passthrough_paths: tuple[str, ...] = ()
    """Paths whose requests are passed on to it as they are; those that end in "/" with all paths below them."""
    credentials: tuple[Credential, ...] = ()
    """Never used for another platform."""
    default_model: str
    """Upstream model id for a public model without a route."""


class ModelRoute(msgspec.Struct, frozen=True, kw_only=True):
    """The platform and the upstream model id of one public model."""

    public: str
    platform: str
    upstream: str


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The facts about one model: a table ``[models."NAME"]``, or an entry of ``models.toml``. None is unknown."""

    since: Annotated[
        str | None,
        Option(
            "Day, month or year of publication.",
            pattern=r"20[0-9]{2}(-[01][0-9](-[0-3][0-9])?)?",
            form="a date in quotes, such as 2026-08-14, 2026-08 or 2026",
        ),
    ] = None
    context_tokens: Annotated[Tokens | None, Option("Largest number of tokens of prompt and response together.")] = None
    max_output_tokens: Annotated[
        Tokens | None, Option("Largest number of tokens of a response; a larger `max_tokens` is lowered to it.")
    ] = None
    inputs: Annotated[
        tuple[str, ...] | None,
        Option(
            "Kinds of input: `text`, `image`, `video`, `audio`, `file`. Requests with other kinds are refused.",
            pattern="text|image|video|audio|file",
            form="one of text, image, video, audio, file",
        ),
    ] = None
    thinking: Annotated[
        ThinkingKind | None,
        Option("`always`: thinking cannot be disabled; `toggle`: it can; `none`: the model does not think."),
    ] = None
    reasoning_efforts: Annotated[
        tuple[str, ...] | None,
        Option(
            "Values of `reasoning_effort`; an empty list if the model accepts none.",
            pattern="low|medium|high|xhigh|max",
            form="one of low, medium, high, xhigh, max",
        ),
    ] = None
    structured_output: Annotated[bool | None, Option("Whether the model is made for output in a JSON Schema.")] = None
    tool_stream: Annotated[
        bool | None, Option("Whether the arguments of a tool call are streamed if the request has `tool_stream`.")
    ] = None
    input_price: Annotated[Price | None, Option("US dollars per million tokens of the prompt.")] = None
    output_price: Annotated[Price | None, Option("US dollars per million tokens of the response.")] = None
    cached_input_price: Annotated[
        Price | None, Option("US dollars per million tokens of the prompt that the upstream has in its cache.")
    ] = None
    notes: Annotated[str | None, Option("Remarks for readers of the catalogue.")] = None


class TrafficLimits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Limits of one scope: a client key, a model, a client address, or all requests. None is unlimited."""

    requests_per_second: Annotated[Amount | None, Option("Requests per second.", example=5)] = None
    requests_per_minute: Annotated[Amount | None, Option("Requests per minute.", example=60)] = None
    burst: Annotated[
        Amount | None,
        Option("Requests that may arrive at once; the number of `requests_per_...` if unset.", example=10),
    ] = None
    tokens_per_minute: Annotated[
        TokenRate | None, Option("Prompt and completion tokens per minute.", example="100k")
    ] = None
    bandwidth_bytes_per_second: Annotated[
        Bytes | None, Option("Bytes of streamed responses per second.", example=100000)
    ] = None
    max_concurrency: Annotated[
        int | None, Range(1, 1073741824, "requests"), Option("Requests in flight at the same time.", example=8)
    ] = None


class KeyBudgets(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Budgets of a client key: ``[limits.budget]`` is that of each key without its own. None is unlimited."""

    tokens_per_day: Annotated[
        TokenBudget | None, Option("Prompt and completion tokens per day (UTC).", example="2M")
    ] = None
    tokens_per_month: Annotated[
        TokenBudget | None, Option("Prompt and completion tokens per month (UTC).", example="50M")
    ] = None
    usd_per_day: Annotated[
        Dollars | None, Option("US dollars per day (UTC), by the prices of the models.", example=5.0)
    ] = None
    usd_per_month: Annotated[
        Dollars | None, Option("US dollars per month (UTC), by the prices of the models.", example=100.0)
    ] = None


class ClientKey(msgspec.Struct, frozen=True, kw_only=True):
    """A client key without its secret: its name, and what requests with it may use."""

    name: str
    """Name in logs, metrics and records: ``default`` and ``api-key-1`` ... for DEFAULT_KEY and API_KEYS."""
    id: str | None = None
    """Public part of a key of the key file; finds its entry."""
    hash: Secret | None = None
    """Hash of a key of the key file, in the format of ``config/keys.py``."""
    models: tuple[str, ...] = ()
    """Patterns of the allowed models in lower case, ``*`` for any characters; empty for all."""
    expires: datetime.datetime | None = None
    """The first moment at which the key is rejected."""
    revoked: bool = False
    priority: str = "normal"
    """``high``: its requests leave the admission queue before others."""
    limits: TrafficLimits = TrafficLimits()
    """Limits of this key; ``[limits.key]`` applies to those that are None."""
    budgets: KeyBudgets = KeyBudgets()
    """Budgets of this key; ``[limits.budget]`` applies to those that are None."""

    def allows(self, model: str) -> bool:
        """Returns whether the key may use ``model``; case is ignored."""
        name = model.lower()
        return not self.models or any(fnmatch.fnmatchcase(name, pattern) for pattern in self.models)

    def expired(self, now: float) -> bool:
        """Returns whether the key has expired at ``now`` (Unix seconds)."""
        return self.expires is not None and now >= self.expires.timestamp()


MAX_IN_FLIGHT: Final = 16384
"""Requests in flight of a worker by default, if its limit on open files allows. So many streams of a model take 130 MB
and, at a chunk a second each, a third of a core."""
OTHER_FILES: Final = 100
"""Open files of a worker beside those of requests: listening sockets, descriptors of the event loop, log files and idle
connections, with a reserve."""


class ServerConfig(Limits, frozen=True, kw_only=True):
    """The client side: ``[server]``. Includes the options of :class:`~ztoapi.wire.limits.Limits`."""

    host: Annotated[
        str,
        Option(
            "Address or name to listen on; of a name, all of its addresses. Any but loopback requires a client key.",
            env="HOST",
            flag=Flag("listening and workers", "ADDRESS", "-H"),
            pattern=r"[^\s/@\[\]]+",
            form="one address or name, without a scheme, brackets or a port, such as 127.0.0.1 or ::1",
        ),
    ] = "127.0.0.1"
    port: Annotated[
        int,
        Range(0, 65535),
        Option("TCP port; 0 picks a free port.", env="PORT", flag=Flag("listening and workers", "PORT", "-p")),
    ] = 9090
    listen: Annotated[
        tuple[str, ...],
        Option(
            "Addresses to listen on instead of `host` and `port`: `HOST:PORT`, `[IPV6]:PORT`, `unix:/PATH` or `fd:N`, "
            "each with any of the words `tls`, `proxy`, `admin` and `mode=0660`.",
            flag=Flag("listening and workers", "ADDRESS", "-l"),
            example=("0.0.0.0:443 tls", "127.0.0.1:9091 admin", "unix:/run/ztoapi/http.sock mode=0660"),
        ),
    ] = ()
    fd: Annotated[
        int | None,
        Range(0, 1_048_576),
        Option(
            "Listening socket of the parent process, instead of `host` and `port`.",
            flag=Flag("listening and workers", "N"),
            example=3,
        ),
    ] = None
    tls_cert_files: Annotated[
        tuple[str, ...],
        Option(
            "Certificate chains (PEM) for `tls` addresses; without `listen`, `host` and `port` use TLS. The first is "
            "the default, the others are chosen by the host name. A reload reads changed files."
        ),
    ] = ()
    tls_key_files: Annotated[
        tuple[str, ...],
        Option("Private keys of `tls_cert_files`, in the same order; empty if the chains contain them."),
    ] = ()
    tls_client_ca_file: Annotated[
        str | None, Option("Authorities (PEM) of client certificates, which `tls` addresses then require.")
    ] = None
    workers: Annotated[
        int,
        Range(1, 1024, "processes"),
        Option(
            "Worker processes.",
            env="WORKERS",
            flag=Flag("listening and workers", "N", "-w"),
            auto="one per usable core",
        ),
    ] = 1
    backlog: Annotated[
        int, Range(1, 65535, "connections"), Option("Accept queue of the listening socket, for each worker.")
    ] = 2048
    max_in_flight: Annotated[
        int,
        Range(0, 1_000_000, "requests"),
        Option(
            "Requests in flight in one worker; further requests are queued. 0: as many as the limit on open files "
            f"allows, at most {MAX_IN_FLIGHT}."
        ),
    ] = 0
    max_queued: Annotated[
        int,
        Range(0, 1_000_000, "requests"),
        Option("Queue of requests above `max_in_flight`, for each worker; 503 above it. 0 disables the queue."),
    ] = 512
    queue_seconds: Annotated[Seconds, Option("Longest time in the queue; 503 after it.")] = 0.5
    trusted_proxies: Annotated[
        tuple[str, ...],
        Option(
            "Addresses or networks (10.0.0.0/8) of proxies whose `forwarded_header` and PROXY protocol header are "
            "trusted. Clients of Unix sockets have the address 127.0.0.1.",
            example=("10.0.0.0/8",),
        ),
    ] = ()
    forwarded_header: Annotated[
        Literal["x-forwarded-for", "forwarded"],
        Option("Header field in which trusted proxies send the address of the client."),
    ] = "x-forwarded-for"
    max_wrong_keys_per_minute: Annotated[
        int,
        Range(0, 1_000_000, "keys"),
        Option(
            "Wrong keys of one address to a worker; above it the address gets 429, except for keys that were right "
            "there before, until it has been quiet for a minute. 0: no limit."
        ),
    ] = 120
    drain_seconds: Annotated[
        SecondsOrZero,
        Option(
            "Time for requests in flight to finish after SIGTERM; 0 aborts them at once.",
            env="DRAIN_SECONDS",
            flag=Flag("listening and workers", "SECONDS"),
        ),
    ] = 30.0
    shutdown_delay_seconds: Annotated[
        SecondsOrZero,
        Option(
            "Time after SIGTERM in which `/readyz` returns 503 and new requests are still accepted, so that a load "
            "balancer can react. 0: listening ends at once."
        ),
    ] = 0.0
    worker_max_age_seconds: Annotated[
        SecondsOrZero,
        Option("Age at which a worker is replaced, 10% more or less; its requests finish. 0: no limit."),
    ] = 0.0
    worker_max_memory_bytes: Annotated[
        int,
        Range(0, 1099511627776, "bytes"),
        Option(
            "Resident memory at which a worker is replaced; its requests finish. "
            "0: no limit, otherwise at least 67108864."
        ),
    ] = 0
    sse_keepalive_seconds: Annotated[
        SecondsOrZero,
        Option("Interval of `: keepalive` comments while a started stream receives nothing; 0 disables them."),
    ] = 15.0
    sse_keepalive_before_first_byte: Annotated[
        bool,
        Option("Send keepalive comments also before the upstream responds. The response status is then always 200."),
    ] = False

    def in_flight_limit(self, open_files: int) -> int:
        """Returns the largest number of requests in flight in a worker that may have ``open_files``: two for each
        request, after those that :class:`~ztoapi.server.connection_limits.ConnectionLimits` keeps free."""
        fitting = (open_files - open_files // 8 - OTHER_FILES) // 2
        return self.max_in_flight or max(1, min(fitting, MAX_IN_FLIGHT))


class UpstreamConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The upstream side: ``[upstream]``."""

    transport: Annotated[
        Literal["native", "httpx"],
        Option(
            "HTTP client for upstreams. `native` tunnels through an http:// proxy of HTTPS_PROXY, HTTP_PROXY or "
            "ALL_PROXY; `httpx` supports other proxies too, and uses about ten times the CPU.",
            flag=Flag("upstream and models", "CLIENT"),
        ),
    ] = "native"
    max_idle_connections: Annotated[
        int, Range(0, 1_000_000, "connections"), Option("Idle upstream connections in the pool of a worker.")
    ] = 512
    max_idle_per_origin: Annotated[
        int, Range(0, 1_000_000, "connections"), Option("Idle upstream connections to one origin.")
    ] = 256
    idle_timeout_seconds: Annotated[Seconds, Option("Time that an idle upstream connection is kept open.")] = 90.0
    connect_timeout_seconds: Annotated[Seconds, Option("Time to connect to an upstream, TLS included.")] = 8.0
    first_byte_timeout_seconds: Annotated[Seconds, Option("Time until the first byte of a response.")] = 60.0
    between_bytes_timeout_seconds: Annotated[Seconds, Option("Longest pause within a response.")] = 60.0
    total_timeout_seconds: Annotated[
        Seconds, Option("Time for a whole response. Time spent waiting for a slow client does not count.")
    ] = 600.0
    max_tries: Annotated[
        int,
        Range(1, 10, "attempts"),
        Option(
            "Attempts for one request with one model. Only failures before the first byte of a response are retried."
        ),
    ] = 3
    retry_budget_percent: Annotated[
        int,
        Range(0, 1000, "percent"),
        Option("Retries of one worker per 100 requests to a platform. Ten retries in ten seconds are always allowed."),
    ] = 20
    session_header: Annotated[
        str | None,
        Option(
            "Request header that ties requests to a credential: those with the same value use the same one while it "
            "is available.",
            pattern=r"[A-Za-z0-9!#$%&'*+.^_`|~-]+",
            form="the name of a header, such as x-session-id",
            example="x-session-id",
        ),
    ] = None
    max_event_bytes: Annotated[
        int, Range(1024, 1073741824, "bytes"), Option("Largest SSE event accepted from an upstream.")
    ] = 16777216
    max_response_bytes: Annotated[
        int,
        Range(1024, 1073741824, "bytes"),
        Option(
            "Largest upstream response that the gateway keeps as a whole: one that is not streamed to the client, or "
            "one to a request of the gateway itself; 502 above it. Events of an upstream that streams count as they "
            "would be sent. Also the most characters that a stream may make the gateway keep: text, reasoning and "
            "arguments in the Responses API, thinking and arguments in the Messages API."
        ),
    ] = 67108864
    tls_verify: Annotated[bool, Option("Verify upstream certificates. Turn it off only for a server of your own.")] = (
        True
    )
    ca_file: Annotated[
        str | None,
        Option("File of CA certificates (PEM) that replaces the system's.", example="/etc/ssl/certs/my-ca.pem"),
    ] = None
    allow_coding_endpoint: Annotated[
        bool, Option("Allow Z.ai's coding endpoint, whose terms permit listed tools only.")
    ] = False


class LimitsConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Traffic limits: ``[limits]``. A request must be within the limits of all its scopes."""

    redis_url: Annotated[
        Secret | None,
        Option(
            "Redis or Valkey in which several gateways share their limits, e.g. `redis://:password@host:6379/0`.",
            env="REDIS_URL",
            example="redis://:password@host:6379/0",
        ),
    ] = None
    gateways: Annotated[
        int,
        Range(1, 10000, "gateways"),
        Option(
            "Gateways that share the Redis. While Redis is unreachable each of them enforces that fraction of a limit."
        ),
    ] = 1
    on_store_error: Annotated[
        Literal["local", "deny"],
        Option("While Redis is unreachable: `local` enforces this gateway's share, `deny` rejects every request."),
    ] = "local"
    ietf_headers: Annotated[
        bool, Option("Send `RateLimit` and `RateLimit-Policy` in addition to OpenAI's `x-ratelimit-` fields.")
    ] = False
    everybody: TrafficLimits = msgspec.field(default_factory=TrafficLimits, name="global")
    """All requests together."""
    key: TrafficLimits = TrafficLimits()
    """Each client key."""
    model: TrafficLimits = TrafficLimits()
    """Each model."""
    address: TrafficLimits = TrafficLimits()
    """Each client address; an IPv6 address by its first 64 bits."""
    budget: KeyBudgets = KeyBudgets()
    """Each client key, by day and month."""


class CacheConfig(msgspec.Struct, frozen=True, kw_only=True):
    """The response cache: ``[cache]``."""

    enabled: Annotated[bool, Option("Cache responses.")] = False
    max_bytes: Annotated[
        Bytes, Option("Memory for cached responses in each worker. Responses in flight may use as much again.")
    ] = 67108864
    max_entry_bytes: Annotated[Bytes, Option("Largest response that is cached.")] = 1048576
    ttl_seconds: Annotated[Seconds, Option("Lifetime of a cached response.")] = 3600.0
    shared: Annotated[bool, Option("Serve a response that one client key received to other client keys.")] = False
    redis: Annotated[bool, Option("Share responses between workers and gateways in `limits.redis_url`.")] = False


class ResponsesConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Stored responses of the Responses API: ``[responses]``."""

    store: Annotated[
        Literal["none", "memory", "redis"],
        Option("Store responses in memory (one worker only), or in `limits.redis_url`. They contain conversations."),
    ] = "none"
    max_bytes: Annotated[
        Bytes, Option("Memory for stored responses; the least recently used ones make room. Redis has its own limit.")
    ] = 67108864
    ttl_seconds: Annotated[
        float, Range(0, 2_592_000, "seconds", exclusive=True), Option("Lifetime of a stored response.")
    ] = 86400.0


class ClaudeConfig(msgspec.Struct, frozen=True, kw_only=True):
    """Models for the names of Claude's models, which clients made for Claude send: ``[claude]``."""

    opus: Annotated[str | None, Option("Model for `claude-opus-*`; the main model if unset.", example="glm-5.3")] = None
    sonnet: Annotated[
        str | None, Option("Model for `claude-sonnet-*`; the main model if unset.", example="glm-5.3")
    ] = None
    haiku: Annotated[
        str | None,
        Option(
            "Model for `claude-haiku-*`; if unset, `glm-4.5-air` on Z.ai's API, otherwise the main model.",
            example="glm-5.3-flash",
        ),
    ] = None
    fable: Annotated[str | None, Option("Model for `claude-fable-*`; the main model if unset.", example="glm-5.3")] = (
        None
    )


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The configuration of one gateway."""

    model_name: Annotated[str, Option("Main model, listed first.", flag=Flag("upstream and models", "MODEL", "-m"))] = (
        DEFAULT_MODEL
    )
    fallbacks: Annotated[
        Mapping[str, tuple[str, ...]],
        Option("Models that replace an unavailable model, in this order.", env="MODEL_FALLBACKS"),
    ] = msgspec.field(default_factory=dict)
    """By model, in lower case."""
    models: Annotated[
        Mapping[str, ModelFacts],
        Option("Facts about models that the catalogue lacks or has otherwise; only in TOML.", env=""),
    ] = msgspec.field(default_factory=dict)
    """By model, in lower case."""
    default_key: Annotated[
        Secret | None,
        Option("Client key named `default`. Without any client key no key is required; loopback only."),
    ] = None
    api_keys: Annotated[Secrets, Option("Client keys named `api-key-1`, `api-key-2` and so on.", separator="|")] = ()
    key_file: Annotated[
        str | None,
        Option(
            "File of client keys written by `ztoapi keys`. Changes take effect within 2 seconds.",
            env="ZTOAPI_KEY_FILE",
            flag=Flag("keys and logs", "FILE", "-k"),
            example="/etc/ztoapi/keys.toml",
        ),
    ] = None
    admin_key: Annotated[
        Secret | None,
        Option(
            "Key for metrics, the dashboard's figures and the profiler. Without it only this host may read them, "
            "and only on a loopback address."
        ),
    ] = None
    default_stream: Annotated[bool, Option("Value of `stream` for requests without it.")] = False
    enable_thinking: Annotated[
        bool | None, Option("Thinking for requests that do not set it; the upstream decides if unset.", example=True)
    ] = None
    think_mode: Annotated[
        ThinkMode,
        Option(
            "Presentation of reasoning from the web chat.",
            env="THINK_TAGS_MODE",
            flag=Flag("upstream and models", "MODE"),
        ),
    ] = "reasoning"
    web_search: Annotated[
        bool,
        Option(
            "Serve the web search tools of the Messages and Responses APIs by Z.ai's own web search. Z.ai charges for "
            "it.",
            env="ZTOAPI_WEB_SEARCH",
        ),
    ] = False
    zread_repository: Annotated[
        str | None,
        Option(
            "Repository of zread questions that name none.",
            pattern=r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+",
            form="owner/name, such as vllm-project/vllm",
            example="vllm-project/vllm",
        ),
    ] = None
    dashboard_enabled: Annotated[bool, Option("Serve the dashboard and the chat page.")] = True
    history_file: Annotated[
        str,
        Option(
            "SQLite file of hourly counts. `auto`: `history-PORT.db` in `$STATE_DIRECTORY` (systemd), "
            "`$XDG_STATE_HOME/ztoapi` or `~/.local/state/ztoapi`. `none` disables the history.",
            env="ZTOAPI_HISTORY_FILE",
        ),
    ] = "auto"
    access_log: Annotated[
        str,
        Option(
            "Destination of the access log: `stdout`, `stderr`, a file (reopened on SIGHUP) or `off`.",
            env="ZTOAPI_ACCESS_LOG",
            flag=Flag("keys and logs", "FILE"),
        ),
    ] = "stdout"
    access_log_format: Annotated[
        Literal["auto", "json", "text", "console"],
        Option(
            "Format of the access log and of messages. `console` is for reading: one row for each request, with local "
            "time and colours. `auto` is `console` on a terminal, otherwise JSON.",
            env="ZTOAPI_ACCESS_LOG_FORMAT",
            flag=Flag("keys and logs", "FORMAT"),
        ),
    ] = "auto"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Option(
            "Least level of messages. From `warning` on, the console leaves out requests that have succeeded.",
            env="ZTOAPI_LOG_LEVEL",
            flag=Flag(
                "keys and logs",
                "LEVEL",
                values=(("-q", "--quiet", "warning"), ("-v", "--verbose", "debug")),
            ),
        ),
    ] = "info"
    otlp_endpoint: Annotated[
        str | None,
        Option(
            "Base URL of an OpenTelemetry collector (OTLP over HTTP) for traces; requires `ztoapi[otel]`.",
            env="OTEL_EXPORTER_OTLP_ENDPOINT",
            pattern=r"https?://[^\s?#]+",
            form="a URL such as http://localhost:4318 (OTLP over HTTP, not gRPC)",
            example="http://localhost:4318",
        ),
    ] = None
    debug: Annotated[
        bool, Option("Log messages of all levels. Tokens and bodies are never logged.", env="DEBUG_MODE")
    ] = False
    cors_origins: Annotated[
        tuple[str, ...],
        Option(
            "Origins of pages that may read responses. Without client keys only loopback origins may.",
            env="ZTOAPI_CORS_ORIGINS",
            pattern=r"\*|null|[A-Za-z][A-Za-z0-9+.-]*://[A-Za-z0-9.:_\[\]-]+",
            form="* or scheme://host[:port], without a path or a trailing slash",
        ),
    ] = ("*",)

    server: ServerConfig = msgspec.field(default_factory=ServerConfig)
    upstream: UpstreamConfig = msgspec.field(default_factory=UpstreamConfig)
    limits: LimitsConfig = msgspec.field(default_factory=LimitsConfig)
    cache: CacheConfig = msgspec.field(default_factory=CacheConfig)
    responses: ResponsesConfig = msgspec.field(default_factory=ResponsesConfig)
    claude: ClaudeConfig = msgspec.field(default_factory=ClaudeConfig)

    platforms: tuple[Platform, ...] = ()
    """The platforms in use, the default platform first."""
    default_platform: str = "zai"
    routes: tuple[ModelRoute, ...] = ()
    """The public models, ``model_name`` first."""
    keys: tuple[ClientKey, ...] = ()
    """The keys of the key file."""
    warnings: tuple[str, ...] = ()
    """Advice about a valid configuration, e.g. the usage policy of the coding endpoint."""
