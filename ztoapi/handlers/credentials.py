"""GET /admin/credentials and POST /admin/credentials/reset: the state of the upstream credentials, and its reset."""

import asyncio
from collections.abc import Callable
from typing import Final

import msgspec

from ztoapi.errors import ApiError
from ztoapi.relay.resets import ResetWatch
from ztoapi.server.exchange import Exchange
from ztoapi.telemetry.board import MetricsBoard
from ztoapi.telemetry.figures import CredentialName, CredentialsPage, ResetRequest, ResetResponse
from ztoapi.telemetry.stats import credential_figures

__all__ = ["CredentialsHandler"]

_NO_STORE: Final = b"cache-control: no-store\r\n"

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ResetRequest).decode


class CredentialsHandler:
    """Reports on all workers. ``refresh`` and ``clock`` are as in MetricsHandler."""

    def __init__(
        self, board: MetricsBoard, refresh: Callable[[], None], clock: Callable[[], float], resets: ResetWatch
    ) -> None:
        self._board = board
        self._refresh = refresh
        self._clock = clock
        self._resets = resets

    def handle_list(self, exchange: Exchange) -> None:
        exchange.spawn(self._list(exchange))

    def handle_reset(self, exchange: Exchange) -> None:
        """Puts credentials back into service, here at once and in other workers at their next tick. Raises ApiError
        for an invalid request."""
        request = _read(exchange.request_body)
        found = self._resets.reset(None if request.all else request.credential)
        if not found and not request.all:
            raise ApiError(
                f"there is no credential {request.credential}", status=404, code="not_found", param="credential"
            )
        exchange.respond(200, _encode(ResetResponse([CredentialName(*each) for each in found])), headers=_NO_STORE)

    async def _list(self, exchange: Exchange) -> None:
        self._refresh()
        exchange.respond(200, await asyncio.to_thread(self._encoded), headers=_NO_STORE)

    def _encoded(self) -> bytes:
        return _encode(CredentialsPage(credential_figures(self._board.samples(), self._clock())))


def _read(body: bytes | bytearray) -> ResetRequest:
    try:
        request = _decode(body)
    except msgspec.DecodeError as error:
        raise ApiError(f"the body is not a reset request: {error}", code="invalid_value") from error
    if request.all == (request.credential is not None):
        raise ApiError('the body must have either "credential" or "all": true', code="invalid_value")
    return request
