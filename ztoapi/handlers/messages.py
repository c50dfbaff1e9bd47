"""POST /v1/messages and /v1/messages/count_tokens: Anthropic's Messages API.

https://platform.claude.com/docs/en/api/messages
"""

import re
from collections.abc import Callable
from typing import Final

import msgspec

from ztoapi.apis.messages.native import NativeMessages
from ztoapi.apis.messages.request import Find, decode, decode_count
from ztoapi.apis.messages.writer import MessageWriter
from ztoapi.apis.native import NativeRequest
from ztoapi.relay.completions import Completions
from ztoapi.relay.native import NativeEndpoints
from ztoapi.relay.prompt_tokens import PromptTokens
from ztoapi.relay.translated_response import TranslatedResponse
from ztoapi.server.exchange import Exchange

__all__ = ["MessagesHandler"]

_MAX_WARNING_CHARACTERS: Final = 500
_UNSAFE: Final = re.compile(r"[^\x20-\x7e]")
"""Characters that have no place in a header field."""

_encode = msgspec.json.Encoder().encode


class _Count(msgspec.Struct):
    input_tokens: int


class MessagesHandler:
    """Serves requests of the Messages API by ``completions``, or by the endpoints of upstreams that are ``native``.

    ``find`` returns the capabilities of a requested model, ``next_id`` unique ids; ``tokens`` estimates the tokens of
    prompts.
    """

    def __init__(
        self,
        completions: Completions,
        native: NativeEndpoints,
        find: Find,
        tokens: PromptTokens,
        next_id: Callable[[], str],
    ) -> None:
        self._completions = completions
        self._native = native
        self._find = find
        self._tokens = tokens
        self._next_id = next_id

    def handle(self, exchange: Exchange) -> None:
        """Serves one request. Raises ApiError for an invalid one."""
        native = self._native.read(exchange)
        if native is not None:
            self._pass_on(exchange, native)
            return
        request, context = decode(exchange.request.body, self._find)
        writer = MessageWriter(
            context,
            f"msg_{self._next_id()}",
            self._tokens.estimate_and_compare(request, exchange),
            exchange.request_id,
            self._find(request.model).context_tokens,
            self._completions.max_response_bytes,
        )
        headers = _request_id(exchange)
        if context.dropped:
            warning = _UNSAFE.sub("?", "; ".join(context.dropped))[:_MAX_WARNING_CHARACTERS]
            headers += b"x-ztoapi-warning: %b\r\n" % warning.encode("ascii")
        self._completions.serve(
            exchange,
            request,
            TranslatedResponse(exchange, writer, headers),
            stream=bool(request.stream),
        )

    def _pass_on(self, exchange: Exchange, request: NativeRequest) -> None:
        headers = exchange.request.headers
        tokens = self._tokens.estimate_native(request, exchange)
        api = NativeMessages(headers, tokens, exchange.request_id, self._find(request.model).context_tokens)
        self._native.serve(exchange, request, api, headers=_request_id(exchange))

    def handle_count(self, exchange: Exchange) -> None:
        """Responds with the estimated number of tokens of a prompt. Raises ApiError for an invalid request."""
        request = decode_count(exchange.request.body)
        exchange.record.model = request.model
        count = _Count(self._tokens.estimate(request))
        exchange.respond(200, _encode(count), headers=_request_id(exchange))


def _request_id(exchange: Exchange) -> bytes:
    return b"request-id: %b\r\n" % exchange.request_id.encode("ascii")
