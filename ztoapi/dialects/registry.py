"""The dialects of the upstreams, and everything that depends on which one an upstream has."""

from collections.abc import Callable, Mapping
from typing import Final, Literal, TypeAlias

import msgspec

from ztoapi.dialects.request import ChatRequest
from ztoapi.dialects.translate import (
    Translation,
    TranslationContext,
    WebTranslation,
    ZreadTranslation,
    to_openai,
    to_zai,
)

__all__ = ["DIALECTS", "Dialect", "DialectName"]

DialectName: TypeAlias = Literal["openai", "zai", "zai_web", "zread"]


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """The properties of a dialect."""

    translate: Callable[[ChatRequest, TranslationContext], Translation]
    """Raises ApiError if the request cannot be translated."""
    provider: str
    """``gen_ai.provider.name`` of OpenTelemetry."""
    openai_format: bool = False
    """Whether a client of OpenAI's API can use the upstream directly."""
    glm: bool = False
    """Whether the models are Z.ai's, under their own names."""
    keeps_model_names: bool = False
    """Whether an upstream serves many models, so that a model without a route keeps its name."""
    repeatable: bool = False
    """Whether the upstream honours ``seed`` and ``temperature``, so that equal requests may have equal responses."""
    token_optional: bool = False
    """Whether an upstream may accept requests without a token."""


DIALECTS: Final[Mapping[DialectName, Dialect]] = {
    # OpenAI's format, of servers about which nothing else is known.
    "openai": Dialect(
        translate=to_openai,
        provider="openai",
        openai_format=True,
        keeps_model_names=True,
        repeatable=True,
        token_optional=True,
    ),
    # OpenAI's format with GLM's parameters, finish reasons and error codes.
    "zai": Dialect(
        translate=to_zai,
        provider="z_ai",
        openai_format=True,
        glm=True,
        keeps_model_names=True,
        repeatable=True,
    ),
    # The web services search while they respond.
    "zai_web": Dialect(translate=WebTranslation, provider="z_ai"),
    "zread": Dialect(translate=ZreadTranslation, provider="z_ai"),
}
