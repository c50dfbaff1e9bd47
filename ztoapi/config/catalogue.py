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
from typing import Final

import msgspec

from ztoapi.config.model import ModelFacts
from ztoapi.config.options import options_of
from ztoapi.config.sources import Problems, Sources
from ztoapi.config.spelling import did_you_mean
from ztoapi.config.values import convert
from ztoapi.dialects.capabilities import EFFORTS, ModelCapabilities
from ztoapi.dialects.registry import DIALECTS, DialectName

__all__ = ["Catalogue", "first_day", "read_models", "zai_models"]


_KINDS: Final = ("image", "video", "audio", "file")
"""Kinds of input beside text."""
_SUGGESTIONS: Final = 3
"""Models that an error suggests for a kind of input."""


class _CatalogueFile(msgspec.Struct, forbid_unknown_fields=True):
    models: dict[str, ModelFacts]


class Catalogue:
    """Finds the facts about a model; case is ignored. ``configured`` are those of the configuration, by lower-case
    name."""

    def __init__(self, configured: Mapping[str, ModelFacts]) -> None:
        self._configured = configured
        self._zai = dict(zai_models())
        for name, facts in configured.items():
            self._zai[name] = _merged(self._zai.get(name, ModelFacts()), facts)
        self._capabilities = _capabilities(self._zai)
        self._configured_capabilities = _capabilities(configured)

    def capabilities(self, dialect: DialectName) -> Mapping[str, ModelCapabilities]:
        """Returns the capabilities of an upstream's models, by lower-case name."""
        if not DIALECTS[dialect].openai_format:
            return {}
        return self._capabilities if DIALECTS[dialect].glm else self._configured_capabilities

    def find(self, model: str, dialect: DialectName) -> ModelFacts | None:
        """Returns the facts about an upstream's model; None if there are none."""
        if not DIALECTS[dialect].openai_format:
            return None
        facts = self._zai if DIALECTS[dialect].glm else self._configured
        return facts.get(model.lower())


def _capabilities(models: Mapping[str, ModelFacts]) -> Mapping[str, ModelCapabilities]:
    accepting = {
        kind: tuple(name for name, facts in models.items() if kind in (facts.inputs or ()))[:_SUGGESTIONS]
        for kind in _KINDS
    }
    return {
        name: ModelCapabilities(
            max_output_tokens=facts.max_output_tokens,
            thinking=facts.thinking,
            efforts=None
            if facts.reasoning_efforts is None
            else tuple(effort for effort in EFFORTS if effort in facts.reasoning_efforts),
            refused_inputs={
                kind: names
                for kind, names in accepting.items()
                if facts.inputs is not None and kind not in facts.inputs
            },
            context_tokens=facts.context_tokens,
            tool_stream=bool(facts.tool_stream),
        )
        for name, facts in models.items()
    }


@functools.cache
def zai_models() -> Mapping[str, ModelFacts]:
    """Reads ``models.toml``: the models of Z.ai, the newest first."""
    document = tomllib.loads(Path(__file__).with_name("models.toml").read_text("utf-8"))
    return MappingProxyType(msgspec.convert(document, _CatalogueFile).models)


def first_day(since: str) -> datetime.date | None:
    """Returns the first day of a day, a month or a year; None if there is no such day."""
    try:
        return datetime.date.fromisoformat(since + "0000-01-01"[len(since) :])
    except ValueError:
        return None


def read_models(sources: Sources, problems: Problems) -> dict[str, ModelFacts]:
    """Reads the tables ``[models."NAME"]``, by lower-case name."""
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


def _merged(defaults: ModelFacts, configured: ModelFacts) -> ModelFacts:
    facts = msgspec.structs.asdict(configured)
    return msgspec.structs.replace(defaults, **{name: value for name, value in facts.items() if value is not None})
