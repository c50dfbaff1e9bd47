"""The credentials of each platform: tokens from every place that names them, with weights and caps where TOML has them.

A platform's tokens are its own: none is ever used for another.
"""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from ztoapi.config.endpoints import KINDS
from ztoapi.config.model import Credential, Secret
from ztoapi.config.sources import Found, Problems, Sources, did_you_mean
from ztoapi.config.values import read_json_object, read_list

__all__ = ["Credentials"]

_FIELDS: Final = frozenset(("name", "token", "weight", "max_in_flight", "max_in_flight_per_model"))
_DEFAULTS: Final = frozenset(("max_in_flight", "max_in_flight_per_model"))
"""What a platform may say for all of its credentials."""
_MAX_WEIGHT: Final = 1000.0
_MAX_IN_FLIGHT: Final = 1_000_000
_NAME_CHARACTERS: Final = 64


class _Caps(NamedTuple):
    """Most requests in flight: in all, and by model."""

    whole: int | None = None
    models: Mapping[str, int] = {}


class Credentials:
    """What is said of credentials in all sources."""

    def __init__(self, sources: Sources, problems: Problems) -> None:
        self._sources = sources
        self._problems = problems
        self._mapped = _token_map(sources, problems)
        self._found = sources.find("platforms")
        self._tables = self._read_tables()

    def of_platform(self, name: str, default: str) -> tuple[Credential, ...]:
        """Those of one platform, each token once: those with a table, then the others in the order of precedence."""
        table = self._tables.get(name, {})
        caps = self._caps(f"platforms.{name}", table, _Caps())
        listed: dict[str, Credential] = {}
        for number, entry in enumerate(self._entries(name, table), 1):
            one = self._credential(name, number, entry, caps)
            if one is not None and one.token is not None:
                if one.token.reveal() in listed or any(one.name == other.name for other in listed.values()):
                    self._add(f"platforms.{name}.credentials[{number}]", "its name or its token is there twice")
                listed[one.token.reveal()] = one
        names = {one.name for one in listed.values()}
        number = 0
        for token in self._tokens(name, default):
            if token not in listed:
                number += 1
                while f"{name}-{number}" in names:
                    number += 1
                listed[token] = _made(f"{name}-{number}", token, 1.0, caps)
        return tuple(listed.values())

    def without_token(self, name: str) -> tuple[Credential, ...]:
        """What a platform has that was given no token: servers of one's own often ask for none."""
        if KINDS[name].dialect != "openai":
            return ()
        return (_made(f"{name}-1", None, 1.0, self._caps(f"platforms.{name}", self._tables.get(name, {}), _Caps())),)

    # -- tables -------------------------------------------------------------------------------------------------------

    def _add(self, path: str, what: str) -> None:
        assert self._found is not None
        self._problems.add(self._found.within(path), what)

    def _read_tables(self) -> dict[str, dict[str, object]]:
        if self._found is None:
            return {}
        if not isinstance(self._found.value, dict):
            self._problems.add(self._found.where, "must be a table: write [[platforms.zai.credentials]]")
            return {}
        tables: dict[str, dict[str, object]] = {}
        for name, table in self._found.value.items():
            if name not in KINDS:
                hint = did_you_mean(name, KINDS)
                self._add(f"platforms.{name}", f"there is no such platform; there is {', '.join(KINDS)}{hint}")
            elif not isinstance(table, dict):
                self._add(f"platforms.{name}", f"must be a table: write [platforms.{name}]")
            else:
                tables[name] = table
                self._unknown(f"platforms.{name}", table, {*_DEFAULTS, "credentials"})
        return tables

    def _unknown(self, path: str, table: dict[str, object], known: Iterable[str]) -> None:
        for key in table.keys() - set(known):
            self._add(f"{path}.{key}", f"there is no such option{did_you_mean(key, known)}")

    def _entries(self, name: str, table: dict[str, object]) -> list[dict[str, object]]:
        entries = table.get("credentials", [])
        if isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries):
            return entries
        self._add(f"platforms.{name}.credentials", f"must be tables: write [[platforms.{name}.credentials]]")
        return []

    def _credential(self, platform: str, number: int, entry: dict[str, object], caps: _Caps) -> Credential | None:
        path = f"platforms.{platform}.credentials[{number}]"
        self._unknown(path, entry, _FIELDS)
        name, token = entry.get("name", f"{platform}-{number}"), entry.get("token")
        if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= _NAME_CHARACTERS:
            self._add(f"{path}.name", f"must be a line of up to {_NAME_CHARACTERS} characters")
            name = ""
        elif not name.isascii():
            self._add(f"{path}.name", "must be ASCII")
        if not isinstance(token, str) or not _is_token(token):
            self._add(f"{path}.token", "is needed: the token, whole, in quotes")
            return None
        weight = entry.get("weight", 1.0)
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight <= _MAX_WEIGHT:
            self._add(f"{path}.weight", f"must be a number above 0, up to {_MAX_WEIGHT:g}")
            weight = 1.0
        self._sources.used(f"platforms.{platform}.credentials", self._found)
        return _made(name, token, float(weight), self._caps(path, entry, caps))

    def _caps(self, path: str, table: Mapping[str, object], default: _Caps) -> _Caps:
        whole, models = default
        if "max_in_flight" in table:
            whole = self._cap(f"{path}.max_in_flight", table["max_in_flight"])
        given = table.get("max_in_flight_per_model")
        if isinstance(given, dict):
            caps = {
                model.lower(): self._cap(f"{path}.max_in_flight_per_model.{model}", one) for model, one in given.items()
            }
            models = {model: one for model, one in caps.items() if one is not None}
        elif given is not None:
            self._add(f"{path}.max_in_flight_per_model", 'must be a table such as { "glm-4.6" = 5, "*" = 20 }')
        return _Caps(whole, models)

    def _cap(self, path: str, value: object) -> int | None:
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MAX_IN_FLIGHT:
            return value
        self._add(path, f"must be a whole number from 1 to {_MAX_IN_FLIGHT}")
        return None

    # -- variables ----------------------------------------------------------------------------------------------------

    def _tokens(self, name: str, default: str) -> list[str]:
        found: list[Found | None] = []
        if name == default:
            found += [self._sources.find(key, key.upper()) for key in ("upstream_token", "upstream_tokens")]
        # ZAI_TOKEN meant the web platform in the project before this one; there it goes if that is the default.
        owner = "zai_web" if default == "zai_web" else "zai"
        for other in KINDS:
            if (owner if other == "zai" else other) == name:
                keys = (f"{other}_token", f"{other}_tokens")
                found += [self._sources.find(key, key.upper()) for key in keys]
        values: list[str] = []
        for one in [*found, *self._mapped.get(name, ())]:
            if one is None:
                continue
            tokens = read_list(one, self._problems)
            if not all(_is_token(token) for token in tokens):
                self._problems.add(one.where, "a token holds a character that no token has; copy it again, whole")
            self._sources.used(f"platforms.{name}.credentials", one)
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


def _is_token(text: str) -> bool:
    return bool(text) and text.isascii() and text.isprintable() and " " not in text


def _token_map(sources: Sources, problems: Problems) -> dict[str, list[Found]]:
    """PLATFORM_TOKEN_MAP by platform. Its keys are never shown: who mixes up the two sides has tokens there."""
    found = sources.find("platform_token_map", "PLATFORM_TOKEN_MAP")
    if found is None:
        return {}
    mapped: dict[str, list[Found]] = {}
    entries = read_json_object(found, problems, example='{"zai": ["TOKEN", "TOKEN"]}')
    for number, (key, value) in enumerate(entries.items(), 1):
        name = key.strip().lower()
        if name in KINDS:
            mapped.setdefault(name, []).append(found._replace(value=value))
        else:
            hint = did_you_mean(name, KINDS)
            problems.add(found.where, f"the key of entry {number} must be one of {', '.join(KINDS)}{hint}")
    return mapped
