"""The table of clients: their descriptions in ``clients.toml``, and the functions that make their settings."""

import functools
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from ztoapi.clients.agents import (
    aider,
    aider_in,
    claude,
    cline,
    cline_in,
    continue_cli,
    continue_in,
    kilo,
    kilo_in,
    llm,
    llm_in,
    opencode,
    opencode_in,
    pi,
    pi_in,
    qwen_code,
)
from ztoapi.clients.applications import cursor, librechat, openwebui, zed
from ztoapi.clients.codex import codex, codex_in
from ztoapi.clients.libraries import LIBRARIES
from ztoapi.clients.settings import Api, GatewayAccess, Settings, SettingsMaker

__all__ = ["ClientDescription", "Kind", "clients", "isolated_settings", "settings"]

Kind = Literal["agent", "application", "library"]


class ClientDescription(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The description of a client."""

    title: str
    kind: Kind
    apis: tuple[Api, ...]
    """The client APIs that it can use, the default first."""
    install: str
    """A shell command, or the address of a page with the installer."""
    note: str = ""
    note_zh: str = ""
    """The note in Chinese."""


class _ClientsFile(msgspec.Struct, forbid_unknown_fields=True):
    clients: dict[str, ClientDescription]


_MAKERS: Final[Mapping[str, SettingsMaker]] = {
    "claude": claude,
    "codex": codex,
    "opencode": opencode,
    "kilo": kilo,
    "cline": cline,
    "qwen-code": qwen_code,
    "pi": pi,
    "continue": continue_cli,
    "aider": aider,
    "llm": llm,
    "openwebui": openwebui,
    "librechat": librechat,
    "cursor": cursor,
    "zed": zed,
    **LIBRARIES,
}
_ISOLATED: Final[Mapping[str, Callable[[GatewayAccess, str], Settings]]] = {
    "codex": codex_in,
    "opencode": opencode_in,
    "kilo": kilo_in,
    "cline": cline_in,
    "pi": pi_in,
    "continue": continue_in,
    "aider": aider_in,
    "llm": llm_in,
}
_ENVIRONMENT_ONLY: Final = frozenset(("claude", "qwen-code", "openwebui"))
"""Clients that need no file."""


@functools.cache
def clients() -> Mapping[str, ClientDescription]:
    """Reads ``clients.toml``: the clients by name."""
    document = tomllib.loads(Path(__file__).with_name("clients.toml").read_text("utf-8"))
    return MappingProxyType(msgspec.convert(document, _ClientsFile).clients)


def settings(name: str, access: GatewayAccess) -> Settings:
    """Returns the settings of a client, with its files in their usual places."""
    return _MAKERS[name](access)


def isolated_settings(name: str, access: GatewayAccess, directory: str) -> Settings | None:
    """Returns settings with which the client can be started once, with its files in ``directory``; None if it has none.

    They change nothing in the user's own configuration.
    """
    if name in _ENVIRONMENT_ONLY:
        return settings(name, access)
    maker = _ISOLATED.get(name)
    return None if maker is None else maker(access, directory)
