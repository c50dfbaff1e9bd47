"""GET /admin/config: the configuration of this worker, as ``ztoapi check`` prints it."""

from collections.abc import Callable
from typing import Final

import msgspec

from ztoapi.config.host import open_files
from ztoapi.config.load import Loaded
from ztoapi.config.model import ClientKey
from ztoapi.config.report import summary
from ztoapi.server.exchange import Exchange
from ztoapi.telemetry.figures import ConfigPage

__all__ = ["ConfigHandler"]

_NO_STORE: Final = b"cache-control: no-store\r\n"

_encode = msgspec.json.Encoder().encode


class ConfigHandler:
    """``keys`` returns the keys of the key file that are in force: they change without a new configuration."""

    def __init__(self, loaded: Loaded, keys: Callable[[], tuple[ClientKey, ...]]) -> None:
        self._loaded = loaded
        self._keys = keys

    def handle(self, exchange: Exchange) -> None:
        keys = self._keys()
        config = msgspec.structs.replace(self._loaded.config, keys=keys)
        # Keys that were added later have no line.
        sources = {f"keys.{key.name}": str(config.key_file) for key in keys} | self._loaded.sources
        text = "\n".join(summary(Loaded(config, sources), open_files()))
        exchange.respond(200, _encode(ConfigPage(list(config.warnings), text)), headers=_NO_STORE)
