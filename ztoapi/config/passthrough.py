"""The paths whose requests go to a platform as they are: ``passthrough_paths`` of ``[platforms.NAME]``."""

from typing import Final

from ztoapi.config.endpoints import KINDS
from ztoapi.config.model import PlatformTable
from ztoapi.config.options import options_of
from ztoapi.config.sources import Problems, Sources
from ztoapi.config.values import convert
from ztoapi.dialects.registry import DIALECTS

__all__ = ["OWN_PATHS", "PassthroughPaths"]

OWN_PATHS: Final = frozenset(("chat", "completions", "embeddings", "messages", "models", "responses"))
"""First segments below ``/v1`` that the gateway serves itself. Requests that went past it would evade the limits on
tokens and models."""


class PassthroughPaths:
    """Reads the paths of one platform after the other. A path belongs to one platform."""

    def __init__(self, sources: Sources, problems: Problems) -> None:
        self._sources = sources
        self._problems = problems
        self._option = next(each for each in options_of(PlatformTable) if each.name == "passthrough_paths")
        self._owners: dict[str, str] = {}

    def of_platform(self, name: str) -> tuple[str, ...]:
        """Returns the paths of the platform ``name``."""
        setting = self._sources.find("platforms")
        tables = None if setting is None else setting.value
        table = tables.get(name) if isinstance(tables, dict) else None
        if setting is None or not isinstance(table, dict) or "passthrough_paths" not in table:
            # credentials.py reports values of another type.
            return ()
        part = setting.part(f"platforms.{name}.passthrough_paths", table["passthrough_paths"])
        if not DIALECTS[KINDS[name].dialect].openai_format:
            self._problems.add(part.where, f"the platform {name} has no such paths: remove it")
            return ()
        paths = convert(part, self._option, self._problems)
        assert isinstance(paths, tuple)
        for path in paths:
            own = path.removeprefix("/v1/").partition("/")[0]
            if own in OWN_PATHS:
                self._problems.add(part.where, f"the gateway serves the paths below /v1/{own} itself: remove {path}")
            elif self._owners.setdefault(path, name) != name:
                self._problems.add(
                    part.where, f"{path} is also a path of the platform {self._owners[path]}: remove one"
                )
        self._sources.used(part.name, part)
        return paths
