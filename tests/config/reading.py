"""Reading a configuration in tests."""

from pathlib import Path

import pytest

from ztoapi.config.load import Loaded, load
from ztoapi.config.model import Config, Platform
from ztoapi.errors import ConfigError

__all__ = ["loaded", "platform", "problems", "tokens"]


def loaded(directory: Path, arguments: dict[str, object] | None = None, /, **environ: str) -> Loaded:
    return load(arguments or {}, environ=environ, directory=directory)


def platform(config: Config, name: str) -> Platform:
    return next(platform for platform in config.platforms if platform.id == name)


def tokens(config: Config, name: str) -> list[str]:
    return [one.token.reveal() for one in platform(config, name).credentials if one.token is not None]


def problems(directory: Path, **environ: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        loaded(directory, **environ)
    return caught.value.problems
