"""Embeddings in OpenAI's format: vectors that depend on the text alone."""

import base64
import hashlib
import struct

import msgspec

from ztoapi.simulator.chat import decoded
from ztoapi.simulator.chat_reply import ChatDialect
from ztoapi.simulator.faults import SimulatedCall, refuse
from ztoapi.simulator.pacer import send_whole

__all__ = ["EmbeddingsEndpoint"]

_DEFAULT_DIMENSIONS = 8
_encode = msgspec.json.Encoder().encode


class _EmbeddingsBody(msgspec.Struct):
    input: str | list[str]
    encoding_format: str = "float"
    dimensions: int = _DEFAULT_DIMENSIONS


_decode = msgspec.json.Decoder(_EmbeddingsBody).decode


class EmbeddingsEndpoint:
    """The embeddings of a server whose chat is ``chat``."""

    def __init__(self, chat: ChatDialect) -> None:
        self._chat = chat
        self.error_event = chat.error_event

    def error(self, code: str, message: str) -> tuple[int, bytes]:
        return self._chat.error(code, message)

    def respond(self, call: SimulatedCall) -> None:
        try:
            body = decoded(_decode, call.exchange.request_body)
        except msgspec.DecodeError as error:
            refuse(call.exchange, self, "1210", str(error))
            return
        texts = [body.input] if isinstance(body.input, str) else body.input
        tokens = sum(len(text.encode("utf-8", "replace")) for text in texts) // 4 + len(texts)
        data = [
            {"object": "embedding", "index": index, "embedding": _vector(text, body)}
            for index, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        whole = _encode({"object": "list", "data": data, "model": call.model, "usage": usage})
        send_whole(call.exchange, call.plan, self, whole, 0)


def _vector(text: str, body: _EmbeddingsBody) -> object:
    digest = hashlib.shake_256(text.encode("utf-8", "replace")).digest(body.dimensions)
    numbers = [byte / 128 - 1 for byte in digest]
    if body.encoding_format == "base64":
        return base64.b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode("ascii")
    return numbers
