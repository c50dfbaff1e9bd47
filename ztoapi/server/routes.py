"""The routes of a server. The path of a request is looked up once, when its head has been parsed.

``wire/path.py`` has given the path its normal form by then. A route is also found with a slash at the end, below
``/anthropic`` or ``/api/anthropic`` and, below ``/v1``, without that: base URLs are configured in all these ways.
"""

import difflib
import enum
from collections.abc import Callable, Iterator, Mapping
from typing import Final, Generic, TypeVar

from ztoapi.errors import ApiError
from ztoapi.server.responses import ErrorFormat, error_response
from ztoapi.wire.path import decoded

__all__ = ["Group", "Route", "Routes", "unversioned"]

T = TypeVar("T")

_VERSION: Final = "/v1"
_ANTHROPIC: Final = ("/api/anthropic", "/anthropic")
"""Where Z.ai and others have the Messages API, so that clients are configured with it."""
_ANTHROPIC_VERSION: Final = b"anthropic-version"
"""The field that only clients of Anthropic's API send."""
_MESSAGES: Final = "/v1/messages"
"""The path of that API."""
_MAX_SHOWN_PATH: Final = 200
"""Characters of an unknown path that the error message repeats."""
_SIMILARITY: Final = 0.8
"""Lowest ratio of ``difflib`` for a suggestion: ``/v1/completions`` is near ``/v1/chat/completions`` (0.86), and
``/v1/embeddings`` is near no route."""


class Group(enum.Enum):
    """The gates before a route."""

    PUBLIC = enum.auto()
    """None: health checks and static pages."""
    ADMIN = enum.auto()
    """Only the admin gate, so that operators get responses under overload too."""
    API = enum.auto()
    """All others. Only these requests count as traffic."""


class Route(Generic[T]):
    """A path and its handlers by method, which are called with a T.

    ``template`` may have a parameter: ``/v1/models/{id}``. It is the label of the route in metrics. A route that is not
    ``listed`` is never suggested for a misspelt path. Errors have the format ``errors``. The handlers of a route that
    ``streams`` are called before a large body has arrived, and receive it in parts.
    """

    __slots__ = (
        "allowed",
        "errors",
        "group",
        "handlers",
        "listed",
        "monitoring",
        "prefix",
        "streams",
        "suffix",
        "template",
    )

    def __init__(
        self,
        template: str,
        handlers: Mapping[str, Callable[[T], None]],
        group: Group,
        *,
        listed: bool,
        errors: ErrorFormat,
        streams: bool,
    ) -> None:
        self.template = template
        self.streams = streams
        self.prefix, _, rest = template.partition("{")
        self.suffix = rest.partition("}")[2]
        self.errors = errors
        self.handlers = dict(handlers)
        if "GET" in handlers:
            self.handlers["HEAD"] = handlers["GET"]
        self.allowed = ", ".join((*self.handlers, "OPTIONS"))
        """Value of the Allow field."""
        self.group = group
        self.monitoring = group is not Group.API
        """Whether requests are excluded from traffic statistics, so that reading a number does not change it."""
        self.listed = listed

    def parameter(self, path: str) -> str:
        """Returns the parameter in ``path``, still percent-encoded."""
        return _versioned(path)[len(self.prefix) :].removesuffix(self.suffix)

    def matches(self, path: str) -> bool:
        """Returns whether ``path``, below ``/v1``, has a value of the parameter."""
        size = len(self.prefix) + len(self.suffix)
        return len(path) > size and path.startswith(self.prefix) and path.endswith(self.suffix)

    def wrong_method(self, path: str, method: str) -> ApiError:
        """Returns the error (405) for a method that the route does not have."""
        return ApiError(
            f"{path} does not support {method}; supported methods: {self.allowed}",
            status=405,
            code="method_not_allowed",
        )


class Routes(Generic[T]):
    """The route table."""

    __slots__ = ("_by_path", "_parametrised")

    def __init__(self) -> None:
        self._by_path: dict[str, Route[T]] = {}
        self._parametrised: list[Route[T]] = []

    def __iter__(self) -> Iterator[Route[T]]:
        return iter((*self._by_path.values(), *self._parametrised))

    def add(
        self,
        template: str,
        handlers: Mapping[str, Callable[[T], None]],
        group: Group,
        *,
        listed: bool = True,
        errors: ErrorFormat = error_response,
        streams: bool = False,
    ) -> None:
        """Adds a route. Of several routes with a parameter that fit a path, the one added first is found."""
        route = Route(template, handlers, group, listed=listed, errors=errors, streams=streams)
        if route.prefix == template:
            self._by_path[template] = route
        else:
            self._parametrised.append(route)

    def find(self, path: str) -> Route[T] | None:
        """Returns the route of ``path``, or None."""
        route = self._by_path.get(path)
        return self._find_spelling(path) if route is None else route

    def is_streamed(self, path: str) -> bool:
        """Returns whether the handlers for ``path`` receive bodies in parts."""
        route = self.find(path)
        return route is not None and route.streams

    def _find_spelling(self, path: str) -> Route[T] | None:
        versioned = _versioned(path)
        route = self._by_path.get(path.rstrip("/")) or self._by_path.get(versioned)
        if route is not None:
            return route
        for route in self._parametrised:
            if route.matches(versioned):
                return route
        return None

    def errors_for(self, route: Route[T] | None, path: str, headers: Mapping[bytes, bytes]) -> ErrorFormat:
        """Returns the format of errors for a request: that of the client API that it belongs to."""
        errors = self._errors_below(path) if route is None else route.errors
        if errors is error_response and _ANTHROPIC_VERSION in headers and _MESSAGES in self._by_path:
            return self._by_path[_MESSAGES].errors
        return errors

    def _errors_below(self, path: str) -> ErrorFormat:
        path = self._find_within(path[:_MAX_SHOWN_PATH].lower()) or path
        versioned = f"{_MESSAGES if path.startswith(_ANTHROPIC) else _versioned(path)}/"
        return next(
            (route.errors for route in self._by_path.values() if versioned.startswith(f"{route.template}/")),
            error_response,
        )

    def not_found(self, path: str) -> ApiError:
        """Returns the error for a path without a route: 404, or 400 for a broken percent-encoding.

        The message names the route that the client probably meant, or else all routes of the API.
        """
        try:
            decoded(path)
        except ValueError as error:
            return ApiError(f"the path is malformed: {error}", code="invalid_path")
        excerpt = path[:_MAX_SHOWN_PATH]
        if (suggestion := self._find_within(excerpt.lower())) is not None:
            if unversioned(suggestion) == suggestion and suggestion.rstrip("/") not in self._by_path:
                suggestion = _VERSION + suggestion
            base = "without /v1" if _versioned(suggestion).startswith(_MESSAGES) else "and /v1, nothing more"
            remedy = f"did you mean {suggestion}? The base URL for clients of this API is the gateway's address {base}"
        elif (suggestion := self._find_near(excerpt)) is not None:
            remedy = f"did you mean {suggestion}?"
        else:
            remedy = "routes: " + ", ".join(
                route.template for route in self if route.group is Group.API and route.listed
            )
        return ApiError(f"no route for {excerpt}; {remedy}", status=404, code="not_found")

    def _find_within(self, path: str) -> str | None:
        """Returns the longest end of ``path`` that has a route: base URLs often repeat a part of the path
        (``/v1/v1/models``)."""
        starts = (start for start, character in enumerate(path[:-1]) if character == "/")
        return next((path[start:] for start in starts if self.find(path[start:]) is not None), None)

    def _find_near(self, path: str) -> str | None:
        """Returns the listed route that ``path`` nearly spells (``/v1/chat/completion``), with the parameter of
        ``path``."""
        lowered = path.lower()
        listed = [route.template for route in self._by_path.values() if route.listed]
        near = _nearest(lowered, listed) or _nearest(_versioned(lowered), listed)
        if near is not None:
            return near
        head, slash, parameter = _versioned(path).rpartition("/")
        prefix = _nearest((head + slash).lower(), [route.prefix for route in self._parametrised])
        return None if prefix is None else prefix + parameter


def _nearest(path: str, candidates: list[str]) -> str | None:
    return next(iter(difflib.get_close_matches(path, candidates, 1, _SIMILARITY)), None)


def _versioned(path: str) -> str:
    """Returns ``path`` below ``/v1``, without a slash at the end."""
    return _VERSION + unversioned(path).rstrip("/")


def unversioned(path: str) -> str:
    """Returns the part of ``path`` after ``/v1``."""
    for prefix in _ANTHROPIC:
        path = path.removeprefix(prefix)
    return path.removeprefix(_VERSION)
