"""The client APIs: the path and the stream of each. ``questions`` has their requests."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import msgspec

from loadtests.sse import Stream

__all__ = ["APIS", "Api", "MessagesStream", "ResponsesStream", "error_message", "path_of"]

_EXCERPT_CHARACTERS: Final = 120
"""Characters of an error response without a message that are part of the failure."""


class _Fault(msgspec.Struct):
    message: str = ""
    type: str | None = None
    code: str | int | None = None


class _ErrorBody(msgspec.Struct):
    error: _Fault


class _MessagesDelta(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _MessagesEvent(msgspec.Struct):
    type: str
    delta: _MessagesDelta | None = None
    error: _Fault | None = None


class _Details(msgspec.Struct):
    reason: str | None = None


class _Response(msgspec.Struct):
    status: str | None = None
    error: _Fault | None = None
    incomplete_details: _Details | None = None


class _ResponsesEvent(msgspec.Struct):
    type: str
    delta: str | msgspec.Raw | None = None
    response: _Response | None = None
    message: str = ""
    code: str | None = None


_decode_error = msgspec.json.Decoder(_ErrorBody).decode
_decode_messages = msgspec.json.Decoder(_MessagesEvent).decode
_decode_responses = msgspec.json.Decoder(_ResponsesEvent).decode


class MessagesStream(Stream):
    """A response of Anthropic's Messages API."""

    event_name = "an event of the Messages API"
    end_mark = "message_stop"

    def _read(self, data: bytes, now: float) -> None:
        event = _decode_messages(data)
        delta = event.delta
        if event.error is not None:
            self.error = f"{event.error.type}: {event.error.message}"
        elif event.type == "message_stop":
            self.done = True
        elif delta is not None:
            self.finish_reason = delta.stop_reason or self.finish_reason
            if delta.text or delta.thinking or delta.partial_json:
                self._note(now)
                self.text.append(delta.text or "")


class ResponsesStream(Stream):
    """A response of OpenAI's Responses API."""

    event_name = "an event of the Responses API"
    end_mark = "response.completed"

    def _read(self, data: bytes, now: float) -> None:
        event = _decode_responses(data)
        if event.type == "error":
            self.error = f"{event.code}: {event.message}"
        elif event.type == "response.failed":
            fault = (event.response and event.response.error) or _Fault()
            self.error = f"{fault.code}: {fault.message}"
        elif event.type in ("response.completed", "response.incomplete"):
            self.done, self.finish_reason = True, event.type
        elif event.type.endswith(".delta") and isinstance(event.delta, str) and event.delta:
            self._note(now)
            if event.type == "response.output_text.delta":
                self.text.append(event.delta)


class Api(NamedTuple):
    """A client API. ``path`` follows the base URL of a server, which ends with ``/v1``."""

    path: str
    stream: Callable[[], Stream]
    headers: Mapping[str, str]


APIS: Final[Mapping[str, Api]] = {
    "chat": Api("/chat/completions", Stream, {}),
    "messages": Api("/messages", MessagesStream, {"anthropic-version": "2023-06-01"}),
    "responses": Api("/responses", ResponsesStream, {}),
}


def path_of(api: Api, base_url: str) -> str:
    """Returns the path of requests, relative to ``base_url``: an origin, or a URL that clients call base URL.

    An origin lacks the ``/v1``. The base URLs of Anthropic's clients lack it too, whatever their path.
    """
    path = urlsplit(base_url).path.rstrip("/")
    lacks_version = not path or (api.stream is MessagesStream and not path.endswith("/v1"))
    return f"/v1{api.path}" if lacks_version else api.path


def error_message(body: str) -> str:
    """Returns the message in the body of an error response, or else the beginning of the body."""
    try:
        message = _decode_error(body).error.message
    except msgspec.DecodeError:
        message = ""
    return message or body[:_EXCERPT_CHARACTERS]
