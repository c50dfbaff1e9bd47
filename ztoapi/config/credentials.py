"""Credentials of each platform: tokens from all sources, with the weights and limits of ``[platforms.NAME]``.

The tokens of one platform are never used for another.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from ztoapi.config.endpoints import KINDS
from ztoapi.config.model import Credential, PlatformTable, Secret
from ztoapi.config.options import Declared, options_of
from ztoapi.config.sources import Problems, Setting, Sources
from ztoapi.config.spelling import did_you_mean
from ztoapi.config.values import convert_number, read_json_object, read_list, token_fault
from ztoapi.dialects.registry import DIALECTS

__all__ = ["Credentials"]

_ELSEWHERE: Final = {"base_url": "upstream_url", "chat_url": "upstream_url", "token": "token"}
"""Values that a table of a platform may be expected to have, and the last part of the option that sets each."""
_NAME_CHARACTERS: Final = 64


class _Caps(NamedTuple):
    """Largest number of requests in flight: in total, and by model."""

    whole: int | None = None
    models: Mapping[str, int] = {}


class Credentials:
    """The settings of credentials in all sources."""

    def __init__(self, sources: Sources, problems: Problems) -> None:
        self._sources = sources
        self._problems = problems
        self._mapped = _token_map(sources, problems)
        self._setting = sources.find("platforms")
        self._options = {option.name: option for option in options_of(Credential)}
        self._tables = self._read_tables()

    def of_platform(self, name: str, default: str) -> tuple[Credential, ...]:
        """Returns the credentials of one platform: those with a table, then other tokens in order of precedence."""
        table = self._tables.get(name, {})
        caps = self._caps(f"platforms.{name}", table, _Caps())
        listed: dict[str, Credential] = {}
        for number, entry in enumerate(self._entries(name, table), 1):
            credential = self._credential(name, number, entry, caps)
            if credential is not None and credential.token is not None:
                token = credential.token.reveal()
                if token in listed or any(credential.name == other.name for other in listed.values()):
                    self._add(f"platforms.{name}.credentials[{number}]", "duplicate name or token: remove one")
                listed[token] = credential
        names = {credential.name for credential in listed.values()}
        number = 0
        for token in self._tokens(name, default):
            if token not in listed:
                number += 1
                while f"{name}-{number}" in names:
                    number += 1
                listed[token] = _made(f"{name}-{number}", token, 1.0, caps)
        return tuple(listed.values())

    def without_token(self, name: str) -> tuple[Credential, ...]:
        """Returns the credential of a platform without tokens. An OpenAI-compatible server may not require one."""
        if not DIALECTS[KINDS[name].dialect].token_optional:
            return ()
        return (_made(f"{name}-1", None, 1.0, self._caps(f"platforms.{name}", self._tables.get(name, {}), _Caps())),)

    # -- tables -------------------------------------------------------------------------------------------------------

    def _add(self, path: str, text: str) -> None:
        assert self._setting is not None
        self._problems.add(self._setting.part(path).where, text)

    def _read_tables(self) -> dict[str, dict[str, object]]:
        if self._setting is None:
            return {}
        if not isinstance(self._setting.value, dict):
            self._problems.add(self._setting.where, "must be a table: write [[platforms.zai.credentials]]")
            return {}
        tables: dict[str, dict[str, object]] = {}
        for name, table in self._setting.value.items():
            if name not in KINDS:
                hint = did_you_mean(name, KINDS)
                self._add(f"platforms.{name}", f"unknown platform; must be one of {', '.join(KINDS)}{hint}")
            elif not isinstance(table, dict):
                self._add(f"platforms.{name}", f"must be a table: write [platforms.{name}]")
            else:
                tables[name] = table
                self._check_names(f"platforms.{name}", table, PlatformTable.__struct_fields__)
        return tables

    def _check_names(self, path: str, table: dict[str, object], names: Iterable[str]) -> None:
        for key in table.keys() - set(names):
            hint = did_you_mean(key, names)
            if key in _ELSEWHERE:
                hint = f"; set {path.split('.')[1]}_{_ELSEWHERE[key]} above the tables"
            self._add(f"{path}.{key}", f"unknown option{hint}")

    def _entries(self, name: str, table: dict[str, object]) -> list[dict[str, object]]:
        entries = table.get("credentials", [])
        if isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries):
            return entries
        self._add(f"platforms.{name}.credentials", f"must be tables: write [[platforms.{name}.credentials]]")
        return []

    def _credential(self, platform: str, number: int, entry: dict[str, object], caps: _Caps) -> Credential | None:
        path = f"platforms.{platform}.credentials[{number}]"
        self._check_names(path, entry, self._options)
        name, token = entry.get("name", f"{platform}-{number}"), entry.get("token")
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= _NAME_CHARACTERS:
            self._add(f"{path}.name", f"must be one line of up to {_NAME_CHARACTERS} characters")
            name = ""
        elif not name.isascii():
            self._add(f"{path}.name", "must be ASCII")
        if not isinstance(token, str) or not token:
            self._add(f"{path}.token", "required: the whole token, in quotes")
            return None
        if (fault := token_fault(token)) is not None:
            self._add(f"{path}.token", fault)
            return None
        weight = self._number(f"{path}.weight", entry.get("weight", 1.0), self._options["weight"])
        assert self._setting is not None
        self._sources.used(f"platforms.{platform}.credentials", self._setting)
        self._sources.used(f"platforms.{platform}.credentials.{name}", self._setting.part(path))
        return _made(name, token, weight or 1.0, self._caps(path, entry, caps))

    def _caps(self, path: str, table: Mapping[str, object], default: _Caps) -> _Caps:
        whole, models = default
        if "max_in_flight" in table:
            whole = self._cap(f"{path}.max_in_flight", table["max_in_flight"])
        by_model = table.get("max_in_flight_per_model")
        if isinstance(by_model, dict):
            caps = {
                model.lower(): self._cap(f"{path}.max_in_flight_per_model.{model}", value)
                for model, value in by_model.items()
            }
            models = {model: cap for model, cap in caps.items() if cap is not None}
        elif by_model is not None:
            self._add(f"{path}.max_in_flight_per_model", 'must be a table such as { "glm-5.3" = 5, "*" = 20 }')
        return _Caps(whole, models)

    def _cap(self, path: str, value: object) -> int | None:
        cap = self._number(path, value, self._options["max_in_flight"])
        return None if cap is None else int(cap)

    def _number(self, path: str, value: object, option: Declared) -> float | None:
        assert self._setting is not None
        return convert_number(self._setting.part(path, value), option, self._problems)

    # -- variables ----------------------------------------------------------------------------------------------------

    def _tokens(self, name: str, default: str) -> list[str]:
        keys = ["upstream_token", "upstream_tokens"] if name == default else []
        # In the predecessor project ZAI_TOKEN was the token of the web platform; it still is if that is the default.
        owner = "zai_web" if default == "zai_web" else "zai"
        for other in KINDS:
            if (owner if other == "zai" else other) == name:
                keys += [f"{other}_token", f"{other}_tokens"]
        values: list[str] = []
        for setting in [*map(self._sources.find, keys), *self._mapped.get(name, ())]:
            if setting is None:
                continue
            tokens = read_list(setting, self._problems)
            for fault in filter(None, map(token_fault, tokens)):
                self._problems.add(setting.where, f"a token {fault}")
            self._sources.used(f"platforms.{name}.credentials", setting)
            values += tokens
        return values


def _made(name: str, token: str | None, weight: float, caps: _Caps) -> Credential:
    return Credential(
        name=name,
        token=None if token is None else Secret(token),
        weight=weight,
        max_in_flight=caps.whole,
        max_in_flight_per_model=caps.models,
    )


def _token_map(sources: Sources, problems: Problems) -> dict[str, list[Setting]]:
    """Returns PLATFORM_TOKEN_MAP by platform. No message shows its keys: they are tokens if the sides are swapped."""
    setting = sources.find("platform_token_map")
    if setting is None:
        return {}
    mapped: dict[str, list[Setting]] = {}
    entries = read_json_object(setting, problems, example='{"zai": ["TOKEN", "TOKEN"]}')
    for number, (key, value) in enumerate(entries.items(), 1):
        name = key.strip().lower()
        if name in KINDS:
            mapped.setdefault(name, []).append(setting._replace(value=value))
        else:
            hint = did_you_mean(name, KINDS)
            problems.add(setting.where, f"the key of entry {number} must be one of {', '.join(KINDS)}{hint}")
    return mapped
