"""The session of a request. The requests of one conversation should use the same credential, whose upstream has the
beginning of the prompt in its cache."""

from collections.abc import Mapping
from typing import Final

__all__ = ["session_of"]

_HEADERS: Final = (b"x-claude-code-session-id", b"x-session-affinity", b"x-session-id", b"session-id", b"session_id")
"""Fields with which agents name a conversation: Claude Code's, opencode's, those of others, and Codex's."""


def session_of(headers: Mapping[bytes, bytes]) -> bytes | None:
    """Returns the session that the client has named, if any."""
    return next((headers[name] for name in _HEADERS if headers.get(name)), None)
