"""POST /v1/messages and /v1/messages/count_tokens: Anthropic's Messages API.

https://platform.claude.com/docs/en/api/messages
"""

import re
from collections.abc import Callable
from typing import Final

import msgspec

from ztoapi.apis.messages.context import MessagesContext
from ztoapi.apis.messages.native import NativeMessages, without_billing
from ztoapi.apis.messages.request import Find, decode, decode_count
from ztoapi.apis.messages.writer import MessageWriter
from ztoapi.apis.tokens import prompt_weight
from ztoapi.dialects.request import ChatRequest
from ztoapi.relay.completions import Completions
from ztoapi.relay.native import NativeEndpoints, NativePrompt
from ztoapi.relay.prompt_tokens import PromptTokens
from ztoapi.relay.translated_response import TranslatedResponse
from ztoapi.server.exchange import Exchange
from ztoapi.server.large_bodies import LargeBodies

__all__ = ["MessagesHandler"]

_MAX_WARNING_CHARACTERS: Final = 500
_UNSAFE: Final = re.compile(r"[^\x20-\x7e]")
"""Characters that have no place in a header field."""

_encode = msgspec.json.Encoder().encode


class _Count(msgspec.Struct):
    input_tokens: int


class _Chat(msgspec.Struct, gc=False):
    """A request that is translated, and the weight of its prompt."""

    request: ChatRequest
    context: MessagesContext
    weight: int


class MessagesHandler:
    """Serves requests of the Messages API by ``completions``, or by the endpoints of upstreams that are ``native``.

    ``find`` returns the capabilities of a requested model, ``next_id`` unique ids; ``tokens`` estimates the tokens of
    prompts.
    """

    def __init__(
        self,
        completions: Completions,
        bodies: LargeBodies,
        native: NativeEndpoints,
        find: Find,
        tokens: PromptTokens,
        next_id: Callable[[], str],
    ) -> None:
        self._completions = completions
        self._bodies = bodies
        self._native = native
        self._find = find
        self._tokens = tokens
        self._next_id = next_id

    def handle(self, exchange: Exchange) -> None:
        """Serves one request. Raises ApiError for an invalid one."""
        self._bodies.decode(exchange, self._read, self._serve)

    def _read(self, body: bytes | bytearray) -> _Chat | NativePrompt:
        native = self._native.read(body)
        if native is not None:
            native.request = without_billing(native.request)
            return native
        request, context = decode(body, self._find)
        return _Chat(request, context, prompt_weight(request))

    def _serve(self, exchange: Exchange, read: _Chat | NativePrompt) -> None:
        request = read.request
        tokens = self._tokens.estimate_and_compare(request.model, read.weight, exchange)
        context_tokens = self._find(request.model).context_tokens
        headers = _request_id(exchange)
        if isinstance(read, NativePrompt):
            api = NativeMessages(exchange.request.headers, tokens, exchange.request_id, context_tokens)
            self._native.serve(exchange, read.request, api, headers=headers)
            return
        writer = MessageWriter(
            read.context,
            f"msg_{self._next_id()}",
            tokens,
            exchange.request_id,
            context_tokens,
            self._completions.max_response_bytes,
        )
        if read.context.dropped:
            warning = _UNSAFE.sub("?", "; ".join(read.context.dropped))[:_MAX_WARNING_CHARACTERS]
            headers += b"x-ztoapi-warning: %b\r\n" % warning.encode("ascii")
        self._completions.serve(
            exchange,
            read.request,
            TranslatedResponse(exchange, writer, headers),
            stream=bool(read.request.stream),
            large=read.request.is_large,
        )

    def handle_count(self, exchange: Exchange) -> None:
        """Responds with the estimated number of tokens of a prompt. Raises ApiError for an invalid request."""
        self._bodies.decode(exchange, _read_count, self._count)

    def _count(self, exchange: Exchange, prompt: tuple[str, int]) -> None:
        model, weight = prompt
        exchange.record.model = model
        count = _Count(self._tokens.estimate(model, weight))
        exchange.respond(200, _encode(count), headers=_request_id(exchange))


def _read_count(body: bytes | bytearray) -> tuple[str, int]:
    """Returns the model and the weight of a prompt."""
    request = decode_count(body)
    return request.model, prompt_weight(request)


def _request_id(exchange: Exchange) -> bytes:
    return b"request-id: %b\r\n" % exchange.request_id.encode("ascii")
