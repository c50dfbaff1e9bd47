"""OpenAI's legacy completions API: a prompt in place of a conversation.

The prompt becomes one user message. GLM's chat cannot continue a text, return the prompt (``echo``) or insert text
before a ``suffix``, so requests for that are refused. Reasoning has no place in the response: thinking is switched off
where the model allows it.

https://platform.openai.com/docs/api-reference/completions
"""

from typing import Final

import msgspec

from ztoapi.apis.plain_deltas import PlainDeltas
from ztoapi.apis.thinking import thinking_fields
from ztoapi.apis.writing import stopped_early
from ztoapi.dialects.capabilities import ModelCapabilities
from ztoapi.dialects.chunks import ABSENT, ChunkChoice, number, read_chunks
from ztoapi.dialects.field_errors import missing
from ztoapi.dialects.request import ChatRequest, decode_request, decode_value, read_body
from ztoapi.dialects.whole import completion_events
from ztoapi.errors import ApiError, UpstreamError

__all__ = ["CompletionRequest", "CompletionWriter"]

_SENT: Final = frozenset(
    (
        "frequency_penalty", "max_tokens", "presence_penalty", "seed", "stop", "temperature", "top_p", "user",
    )
)  # fmt: skip
"""Fields that the chat API has too."""
_NEUTRAL: Final = {"best_of": (1,), "echo": (False,), "logprobs": (0,), "n": (1,), "suffix": ("",)}
"""Values, besides null, of fields that the gateway cannot honour otherwise."""
_NULL: Final = msgspec.Raw(b"null")
_TEXT_END: Final = b',"logprobs":null,"finish_reason":null}]}\n\n'
_DONE: Final = b"data: [DONE]\n\n"

_encode = msgspec.json.Encoder().encode


class CompletionRequest:
    """A request. Raises ApiError (400) that names the field."""

    __slots__ = ("_fields", "_prompt", "include_usage", "model", "stream")

    def __init__(self, body: bytes | bytearray) -> None:
        _, fields = read_body(body)
        self._fields = fields
        model = decode_value(fields, "model", str)
        if not model:
            raise missing("model")
        self.model = model
        self.stream = bool(decode_value(fields, "stream", bool))
        options = decode_value(fields, "stream_options", dict[str, object]) or {}
        self.include_usage = options.get("include_usage") is True
        for name, allowed in _NEUTRAL.items():
            value = decode_value(fields, name, object)
            if value is not None and value not in allowed:
                raise ApiError(
                    f"{name} is not supported here: leave it out, or use /v1/chat/completions",
                    code="unsupported_parameter",
                    param=name,
                )
        self._prompt = _prompt(fields)

    def chat(self, model: ModelCapabilities) -> ChatRequest:
        """Returns the chat request. Raises ApiError (400)."""
        chat: dict[str, object] = {
            "model": self.model,
            "messages": [{"role": "user", "content": self._prompt}],
            **{name: value for name, value in self._fields.items() if name in _SENT},
            **thinking_fields(False, None, model, replayed=False),
        }
        if self.stream:
            chat |= {"stream": True, "stream_options": {"include_usage": True}}
        return decode_request(_encode(chat))


class CompletionWriter:
    """Writes one completion; an :class:`~ztoapi.apis.writing.EventWriter`. ``id`` is the completion's, ``created`` Unix
    seconds. The stream has its usage if ``include_usage``."""

    __slots__ = (
        "_fields", "_finish", "_include_usage", "_keeps", "_plain", "_text", "_text_event", "_usage", "done", "error",
    )  # fmt: skip

    def __init__(self, model: str, id: str, created: int, *, include_usage: bool) -> None:
        self._fields = {"id": id, "object": "text_completion", "created": created, "model": model}
        self._text_event = b'data: %b,"choices":[{"index":0,"text":' % _encode(self._fields)[:-1]
        self._include_usage = include_usage
        self._finish: str | None = None
        self._plain = PlainDeltas()
        self._keeps = False
        self._text: list[str] = []
        """The text of a whole response."""
        self._usage: msgspec.Raw = _NULL
        self.done = False
        self.error: UpstreamError | None = None

    def keepalive(self) -> bytes:
        return b": keepalive\n\n"

    def start(self) -> bytes:
        return b""

    def feed(self, block: bytes) -> bytes:
        text = self._plain.text(block)
        if text is not None:
            return self._text_event + _encode(text) + _TEXT_END
        out: list[bytes] = []
        try:
            chunks, ended = read_chunks(block)
        except UpstreamError as error:
            self.error = error
            return b""
        if len(chunks) == 1 and not ended:
            self._plain.learn(block, chunks[0])
        for chunk in chunks:
            if chunk.usage not in (ABSENT, _NULL):
                self._usage = chunk.usage.copy()
            for choice in chunk.choices or ():
                if not number(choice.index):
                    self._add(choice, out)
        if ended:
            self.error = stopped_early(self._finish)
            self.done = self.error is None
            if self.done:
                if self._include_usage:
                    out.append(self._event([], self._usage))
                out.append(_DONE)
        return b"".join(out)

    def _add(self, choice: ChunkChoice, out: list[bytes]) -> None:
        text = (choice.delta.content if choice.delta is not None else None) or ""
        finish = choice.finish_reason if isinstance(choice.finish_reason, str) and choice.finish_reason else None
        self._finish = finish or self._finish
        if self._keeps:
            self._text.append(text)
        if text or finish:
            out.append(self._event([_choice(text, finish)], None))

    def _event(self, choices: list[dict[str, object]], usage: object) -> bytes:
        fields: dict[str, object] = {**self._fields, "choices": choices}
        if usage is not None:
            fields["usage"] = usage
        return b"data: %b\n\n" % _encode(fields)

    def whole(self, completion: bytes) -> bytes:
        self._keeps = True
        self.feed(completion_events(completion, include_usage=True))
        if self.error is not None:
            raise self.error
        choices = [_choice("".join(self._text), self._finish)]
        return _encode({**self._fields, "choices": choices, "usage": self._usage})

    def explain(self, error: ApiError) -> None:
        pass

    def fail(self, error: ApiError) -> bytes:
        description = {"message": error.message, "type": error.type, "param": error.param, "code": error.code}
        return b"data: %b\n\n" % _encode({"error": description})


def _choice(text: str, finish: str | None) -> dict[str, object]:
    return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}


def _prompt(fields: dict[str, msgspec.Raw]) -> str:
    prompt = decode_value(fields, "prompt", object)
    if prompt is None:
        raise missing("prompt", "send a text")
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise ApiError(
            "prompt must be one text: lists of prompts and lists of tokens are not supported",
            code="unsupported_value",
            param="prompt",
        )
    if not prompt:
        raise ApiError("prompt is empty: send a text", code="invalid_value", param="prompt")
    return prompt
