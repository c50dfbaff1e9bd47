"""The response to a chat request in OpenAI's format, streamed or whole."""

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol

from ztoapi.simulator.faults import SimulatedCall, SimulatedDialect, refuse
from ztoapi.simulator.pacer import Pacer, send_whole
from ztoapi.simulator.strictness import Objection

__all__ = ["ChatDialect", "SimulatedChat", "send_chat"]


class SimulatedChat(NamedTuple):
    """The response to one request: its ``events``, of which ``last`` end it, and a whole one. ``tokens`` is their
    number, and ``stream`` is whether the client wants a stream."""

    events: Iterator[bytes]
    last: bytes
    whole: Callable[[], bytes]
    tokens: int
    stream: bool


class ChatDialect(SimulatedDialect, Protocol):
    """A dialect with OpenAI's format."""

    def read(self, call: SimulatedCall, raw: bytes | bytearray) -> SimulatedChat | Objection:
        """Returns the response to the chat request ``raw``."""
        ...


def send_chat(call: SimulatedCall, dialect: ChatDialect) -> None:
    """Responds to ``call``."""
    chat = dialect.read(call, call.exchange.request_body)
    if isinstance(chat, Objection):
        refuse(call.exchange, dialect, chat.code, chat.message)
    elif chat.stream:
        Pacer(call.exchange, call.plan, dialect, chat.events, chat.last).start()
    else:
        send_whole(call.exchange, call.plan, dialect, chat.whole(), chat.tokens)
