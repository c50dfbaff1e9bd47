"""GET /admin/keys, and POST to it, /admin/keys/rotate and /admin/keys/revoke: the client keys of the key file, and the
budgets of all keys.

A change needs the admin key, also on this host: without one every program of this host would have access. A page of
another origin cannot send the admin key. A request of such a page, or with the content type of a form, is refused in
any case.
"""

import asyncio
import datetime
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from ztoapi.config.keyentries import KEY_FIELDS, create_key, key_entry, rotate_key
from ztoapi.config.keyfile import load_key, load_keys, revoke_key
from ztoapi.config.model import ClientKey
from ztoapi.config.sources import Setting
from ztoapi.config.spelling import did_you_mean
from ztoapi.errors import ApiError, ConfigError, Ending, UsageError
from ztoapi.server.authorization import is_own_origin
from ztoapi.server.exchange import Exchange
from ztoapi.telemetry.figures import BudgetFigures
from ztoapi.wire.limits import LARGE_BODY_BYTES

__all__ = ["KeysHandler"]

_NO_STORE: Final = b"cache-control: no-store\r\n"
_JSON: Final = b"application/json"
_OWN_SITE: Final = (None, b"same-origin", b"none")

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, object]).decode
_log = logging.getLogger(__name__)
T = TypeVar("T")
_Change = Callable[[Path, dict[str, object]], dict[str, object]]


class KeysHandler:
    """``path`` is the key file, if one is configured; ``changes`` is whether an admin key is set. ``clock`` returns
    Unix seconds, ``advice`` warnings about keys, and ``budgets`` those of all keys."""

    def __init__(
        self,
        path: str | None,
        clock: Callable[[], float],
        advice: Callable[[Iterable[ClientKey]], Iterable[str]],
        budgets: Callable[[], Awaitable[Sequence[BudgetFigures]]],
        *,
        changes: bool,
    ) -> None:
        self._advice = advice
        self._budgets = budgets
        self._path = None if path is None else Path(path)
        self._changes = changes
        self._clock = clock

    def handle_list(self, exchange: Exchange) -> None:
        exchange.spawn(self._list(exchange))

    def handle_create(self, exchange: Exchange) -> None:
        """Raises ApiError for a request that is refused, as the others do."""
        self._start(exchange, 201, self._create)

    def handle_rotate(self, exchange: Exchange) -> None:
        self._start(exchange, 200, _rotate)

    def handle_revoke(self, exchange: Exchange) -> None:
        self._start(exchange, 200, _revoke)

    async def _list(self, exchange: Exchange) -> None:
        page: dict[str, object] = {"file": self._path is not None, "changes": self._changes, "keys": []}
        if self._path is not None:
            now = self._now()
            page["keys"] = [key_entry(key, now) for key in await _in_thread(partial(load_keys, self._path, []))]
        page["budgets"] = await self._budgets()
        exchange.respond(200, _encode(page), headers=_NO_STORE)

    def _start(self, exchange: Exchange, status: int, change: _Change) -> None:
        self._check(exchange)
        if self._path is None:
            raise ApiError("no key file is configured: set ZTOAPI_KEY_FILE or key_file", status=409, code="no_key_file")
        body = _body(exchange)
        exchange.spawn(self._change(exchange, status, change, self._path, body))

    async def _change(
        self, exchange: Exchange, status: int, change: _Change, path: Path, body: dict[str, object]
    ) -> None:
        request = exchange.request

        def make() -> bytes:
            made = change(path, body)
            # In the thread, because the client may have left.
            _log.info("client key %s: %s %s", made["name"], request.method, request.path)
            return _encode(made)

        exchange.respond(status, await _in_thread(make), headers=_NO_STORE)

    def _check(self, exchange: Exchange) -> None:
        """Raises ApiError unless this request may change keys."""
        headers = exchange.request.headers
        if not self._changes:
            message = "client keys are changed with an admin key only: set ADMIN_KEY"
            raise ApiError(message, status=403, type="permission_error", code="admin_key_required")
        if not _from_own_page(headers):
            message = "client keys are changed by the gateway's own pages only"
            raise ApiError(message, status=403, type="permission_error", code="origin_not_allowed")
        if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != _JSON:
            message = "send the body as content-type: application/json"
            raise ApiError(message, status=415, code="unsupported_content_type", param="content-type")

    def _create(self, path: Path, body: dict[str, object]) -> dict[str, object]:
        for field in body:
            if field not in ("name", *KEY_FIELDS):
                shown = field[:80]
                hint = did_you_mean(shown, KEY_FIELDS)
                raise ApiError(f"a key has no field {shown}{hint}", code="invalid_value", param=shown)
        fields = {name: Setting(value, name, "body") for name, value in body.items() if name != "name"}
        name = Setting(body.get("name"), "name", "body")
        key = create_key(path, name, fields, self._now())
        warnings = [*self._advice([load_key(path, str(name.value))])]
        return {"name": name.value, "id": key.id, "key": key.text, "warnings": warnings}

    def _now(self) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(int(self._clock()), datetime.UTC)


def _from_own_page(headers: Mapping[bytes, bytes]) -> bool:
    """Returns False for requests of pages of another origin. Browsers send no Fetch Metadata to names without TLS."""
    site, origin = headers.get(b"sec-fetch-site"), headers.get(b"origin")
    if site is not None or origin is None:
        return site in _OWN_SITE
    return is_own_origin(origin, headers.get(b"host", b""))


async def _in_thread(call: Callable[[], T]) -> T:
    """Runs ``call``, which waits for the lock and for the disk. Raises ApiError instead of its errors."""
    try:
        return await asyncio.to_thread(call)
    except UsageError as error:
        raise ApiError("; ".join(error.problems), code="invalid_value") from error
    except ConfigError as error:
        raise _unavailable("; ".join(error.problems)) from error
    except OSError as error:
        raise _unavailable(f"{error.filename}: {error.strerror}") from error


def _unavailable(reason: str) -> ApiError:
    return ApiError(
        f"the key file cannot be used: {reason}",
        status=503,
        type="server_error",
        code="key_file_unavailable",
        ending=Ending.INTERNAL_ERROR,
    )


def _rotate(path: Path, body: dict[str, object]) -> dict[str, object]:
    name = _name(path, body)
    key = rotate_key(path, name)
    return {"name": name, "id": key.id, "key": key.text}


def _revoke(path: Path, body: dict[str, object]) -> dict[str, object]:
    name = _name(path, body)
    return {"name": name, "changed": revoke_key(path, name)}


def _name(path: Path, body: dict[str, object]) -> str:
    """Returns the name of an existing key. Raises ApiError, ConfigError."""
    if body.keys() != {"name"} or not isinstance(body["name"], str):
        raise ApiError('the body must be {"name": "..."}', code="invalid_value", param="name")
    return load_key(path, body["name"]).name


def _body(exchange: Exchange) -> dict[str, object]:
    body = exchange.request_body
    if len(body) > LARGE_BODY_BYTES:
        raise ApiError(
            f"the request body is too large: a change of a key may have {LARGE_BODY_BYTES} bytes",
            status=413,
            code="request_too_large",
        )
    try:
        return _decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ApiError(f"the body is not a JSON object: {error}", code="invalid_json") from error
