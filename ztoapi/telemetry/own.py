"""Requests that look after the gateway, and are none of those that it is there for."""

from typing import Final

__all__ = ["is_own"]

_OWN_ROUTES: Final = frozenset(("/health", "/livez", "/readyz", "/metrics", "/openapi.json"))


def is_own(route: str) -> bool:
    """Whether ``route`` is for who looks after the gateway. Its requests are counted by route and status, and left out
    of everything else: who asks how many are in flight is not one of them."""
    return route in _OWN_ROUTES or route.startswith(("/dashboard", "/debug", "/docs"))
