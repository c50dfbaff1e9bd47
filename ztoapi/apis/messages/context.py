"""Facts about a Messages request that its chat request cannot hold, for the response."""

import msgspec

__all__ = ["MessagesContext"]


class MessagesContext(msgspec.Struct, frozen=True):
    """Neither the upstream's request nor the key of a cached response depends on it."""

    model: str
    """The requested name, which the response repeats."""
    thinking: bool = False
    """Whether the client wants thinking blocks."""
    thinking_omitted: bool = False
    """Whether thinking blocks have a signature but no text (``thinking.display = "omitted"``)."""
    stop_sequences: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    """What the upstream does not get, each with the reason, for a header and the log."""
