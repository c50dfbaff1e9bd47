"""The settings of a client: its environment, its files, its commands."""

import json
import shlex
from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from ztoapi.config.model import ModelFacts

__all__ = [
    "PROVIDER",
    "Api",
    "GatewayAccess",
    "Model",
    "Settings",
    "SettingsFile",
    "SettingsMaker",
    "json_file",
    "shell_line",
    "without_none",
]

Api: TypeAlias = Literal["chat", "messages", "responses"]
"""A client API: OpenAI Chat Completions, Anthropic Messages, OpenAI Responses."""

PROVIDER: Final = "zto"
"""Name of the gateway in files of clients. Some clients derive the name of a variable from it, and the gateway refuses
variables that begin with ZTOAPI and are no option."""


class Model(NamedTuple):
    """A public model of the gateway, and the facts about it."""

    name: str
    facts: ModelFacts


class GatewayAccess(NamedTuple):
    """Access to a running gateway: the address, a key, the models."""

    api: Api
    url: str
    """Origin and path prefix, without ``/v1`` and without a trailing slash."""
    key: str
    models: tuple[Model, ...]
    """The main model first."""
    small: str
    """Model for titles, summaries and other small tasks."""

    @property
    def base_url(self) -> str:
        """The base URL of OpenAI's SDKs."""
        return f"{self.url}/v1"

    @property
    def model(self) -> str:
        """The main model's name."""
        return self.models[0].name

    @property
    def facts(self) -> ModelFacts:
        """The facts about the main model."""
        return self.models[0].facts


class SettingsFile(NamedTuple):
    """A file of a client; ``~`` is the home directory."""

    path: str
    text: str


class Settings(NamedTuple):
    """Everything that a user has to set, in the order of the fields."""

    environment: Mapping[str, str] = {}
    files: tuple[SettingsFile, ...] = ()
    form: Mapping[str, str] = {}
    """Fields of the client's settings window."""
    commands: tuple[tuple[str, ...], ...] = ()
    """The last one starts the client."""


SettingsMaker: TypeAlias = Callable[[GatewayAccess], Settings]


def json_file(path: str, value: object) -> SettingsFile:
    """Returns a file with ``value`` as JSON."""
    return SettingsFile(path, json.dumps(value, indent=2) + "\n")


def without_none(values: Mapping[str, object]) -> dict[str, object]:
    """Returns the entries without those that are None."""
    return {name: value for name, value in values.items() if value is not None}


def shell_line(command: tuple[str, ...]) -> str:
    """Returns a command for the shell, which expands ``~`` only without quotes."""
    return " ".join(f"~/{shlex.quote(word[2:])}" if word.startswith("~/") else shlex.quote(word) for word in command)
