"""The catalogue of models: the facts of ``models.toml``, extended and overridden by ``[models."NAME"]``.

``models.toml`` describes the models of Z.ai's official API. The same model may have another context or price elsewhere,
so other platforms have only what is configured.
"""

import datetime
import functools
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import msgspec

from ztoapi.config.model import ModelFacts
from ztoapi.config.options import options_of
from ztoapi.config.sources import Problems, Sources, did_you_mean
from ztoapi.config.values import convert
from ztoapi.dialects.registry import DIALECTS, DialectName

__all__ = ["Catalogue", "first_day", "read_models", "zai_models"]


class _File(msgspec.Struct, forbid_unknown_fields=True):
    models: dict[str, ModelFacts]


class Catalogue:
    """Finds the facts about a model; case is ignored. ``configured`` are those of the configuration, by lower-case
    name."""

    def __init__(self, configured: Mapping[str, ModelFacts]) -> None:
        self._configured = configured
        self._zai = dict(zai_models())
        for name, facts in configured.items():
            self._zai[name] = _merged(self._zai.get(name, ModelFacts()), facts)

    def find(self, model: str, dialect: DialectName) -> ModelFacts | None:
        """Return the facts about an upstream's model; None if there are none."""
        if not DIALECTS[dialect].openai_format:
            return None
        facts = self._zai if DIALECTS[dialect].glm else self._configured
        return facts.get(model.lower())


@functools.cache
def zai_models() -> Mapping[str, ModelFacts]:
    """Read ``models.toml``: the models of Z.ai, the newest first."""
    document = tomllib.loads(Path(__file__).with_name("models.toml").read_text("utf-8"))
    return MappingProxyType(msgspec.convert(document, _File).models)


def first_day(since: str) -> datetime.date | None:
    """Return the first day of a day, a month or a year; None if there is no such day."""
    try:
        return datetime.date.fromisoformat(since + "0000-01-01"[len(since) :])
    except ValueError:
        return None


def read_models(sources: Sources, problems: Problems) -> dict[str, ModelFacts]:
    """Read the tables ``[models."NAME"]``, by lower-case name."""
    setting = sources.find("models")
    if setting is None:
        return {}
    if not isinstance(setting.value, dict):
        problems.add(setting.where, 'must be a table: write [models."NAME"]')
        return {}
    options = {option.name: option for option in options_of(ModelFacts)}
    models: dict[str, ModelFacts] = {}
    for name, table in setting.value.items():
        path = f"models.{name}"
        if not isinstance(table, dict):
            problems.add(setting.part(path).where, f'must be a table: write [models."{name}"]')
            continue
        values: dict[str, object] = {}
        for key, value in table.items():
            part = setting.part(f"{path}.{key}", value)
            if key in options:
                values[key] = convert(part, options[key], problems)
            else:
                problems.add(part.where, f"unknown option{did_you_mean(key, options)}")
        if name.lower() in models:
            problems.add(setting.part(path).where, "is a duplicate (case is ignored): remove one")
        facts = models[name.lower()] = msgspec.convert(values, ModelFacts)
        if facts.since is not None and first_day(facts.since) is None:
            problems.add(setting.part(f"{path}.since").where, "is no day of the calendar")
        sources.used(path, setting.part(path))
    return models


def _merged(known: ModelFacts, configured: ModelFacts) -> ModelFacts:
    facts = msgspec.structs.asdict(configured)
    return msgspec.structs.replace(known, **{name: value for name, value in facts.items() if value is not None})
