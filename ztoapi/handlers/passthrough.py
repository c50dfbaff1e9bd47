"""Paths that a platform passes through (``passthrough_paths``): images, audio, files and others."""

from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Final

import msgspec

from ztoapi.config.model import ClientKey, Platform
from ztoapi.errors import ApiError
from ztoapi.relay.chat import ChatRelays
from ztoapi.relay.rate_limits import RateLimits
from ztoapi.server.exchange import Exchange
from ztoapi.server.routes import Group, Routes, unversioned
from ztoapi.wire.path import decoded

__all__ = ["PassthroughHandler", "add_passthrough"]

_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")


class _UnreadRequest:
    """The request as the limits see it: without a model and without tokens."""

    body = b""
    model = ""
    names: Collection[str] = ()
    fields: Mapping[str, msgspec.Raw] = {}
    generates = False


_UNREAD: Final = _UnreadRequest()


class PassthroughHandler:
    """Passes requests on to an upstream. ``key_of`` returns the client's key, None if no key is required; ``limits`` is
    None if there are none."""

    def __init__(
        self,
        relays: ChatRelays,
        key_of: Callable[[Exchange], ClientKey | None],
        limits: RateLimits | None,
    ) -> None:
        self._relays = relays
        self._key_of = key_of
        self._limits = limits

    def handle(self, platform: str, exchange: Exchange) -> None:
        """Passes a request on to ``platform``. Raises ApiError for one that is not possible."""
        target = _target(exchange)
        key = self._key_of(exchange)
        # Only a pattern for any model allows a request without a known one.
        if key is not None and not key.allows(_UNREAD.model):
            raise ApiError(
                f"the API key {key.name} is limited to some models, and a request for {exchange.request.path} is "
                "passed on without reading its model: use a key without a list of models",
                status=403,
                code="path_not_allowed",
            )
        begin = partial(self._relays.pass_on, exchange, platform, target)
        if self._limits is None or self._limits.enter(exchange, key, _UNREAD):
            begin()
        else:
            exchange.spawn(self._limits.enter_later(exchange, key, _UNREAD, begin))


def add_passthrough(routes: Routes[Exchange], platforms: Iterable[Platform], handler: PassthroughHandler) -> None:
    """Adds the paths of ``platforms``, the longer ones first: one that ends in "/" covers others."""
    owners = {path: platform.id for platform in platforms for path in platform.passthrough_paths}
    for path in sorted(owners, key=len, reverse=True):
        template = path + "{path}" if path.endswith("/") else path
        handle = partial(handler.handle, owners[path])
        routes.add(template, dict.fromkeys(_METHODS, handle), Group.API, streams=True)


def _target(exchange: Exchange) -> bytes:
    """Returns the path below the base URL, with the query. Raises ApiError (400) for a path that an upstream may take
    for one outside the configured paths."""
    path = unversioned(exchange.request.path)
    for segment in path.split("/"):
        try:
            plain = decoded(segment)
        except ValueError as error:
            raise ApiError(f"the path is malformed: {error}", code="invalid_path") from error
        if plain in (".", "..") or any(character in plain for character in "/\\%;"):
            raise ApiError(
                f"the path contains the segment {segment!r:.80}, which is not passed on", code="invalid_path"
            )
    query = exchange.request.query
    return path.encode("ascii") + (b"?" + query if query else b"")
