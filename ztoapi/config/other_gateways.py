"""Variables of other gateways in ``.env`` files that were written for them. ``docs/coming-from.md`` has all of them."""

from collections.abc import Iterable, Iterator
from typing import Final

__all__ = ["NAMES", "UNUSED", "other_gateways"]

NAMES: Final = {
    "ADMIN_PASSWORD": "ADMIN_KEY",
    "API_ENDPOINT": "UPSTREAM_URL",
    "AUTH_TOKEN": "DEFAULT_KEY",
    "LISTEN_PORT": "PORT",
    "LITELLM_MASTER_KEY": "DEFAULT_KEY",
    "MAX_RETRIES": "ZTOAPI_MAX_TRIES",
    "SOCKS5_PROXY": "ALL_PROXY",
    "UVICORN_WORKERS": "WORKERS",
}
UNUSED: Final = ("ANONYMOUS_MODE", "GUEST_POOL_SIZE", "KV_URL", "ORIGIN_BASE", "REFERER_PREFIX", "X_FE_VERSION")


def other_gateways(settings: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Yields warnings about settings of ``.env`` files. A setting is its name, and its name with its source."""
    for name, where in settings:
        if name in NAMES:
            yield f"{where}: a variable of another gateway, without effect here: use {NAMES[name]}"
        elif name in UNUSED:
            yield f"{where}: a variable of another gateway, without effect here: remove it"
