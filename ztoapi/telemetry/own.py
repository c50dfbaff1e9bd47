"""Monitoring requests, which are excluded from traffic statistics."""

from typing import Final

__all__ = ["is_own"]

_OWN_ROUTES: Final = frozenset(("/health", "/livez", "/readyz", "/metrics", "/openapi.json"))


def is_own(route: str) -> bool:
    """Returns whether requests for ``route`` are monitoring requests. They are counted by route and status only, so
    that reading a figure does not change it."""
    return route in _OWN_ROUTES or route.startswith(("/dashboard", "/debug", "/docs"))
