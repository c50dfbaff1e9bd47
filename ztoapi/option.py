"""The declaration of a configuration option, written in the annotation of a struct's field.

    port: Annotated[int, Range(0, 65535), Option("Port to listen on.", env="PORT", flag=True)] = 9090

The field gives the name, the type and the default. ``config/options.py`` derives the rest: the key in ``ztoapi.toml``,
the environment variables, the flag, the error message, the documentation and the JSON Schema.
"""

from typing import Annotated, NamedTuple

__all__ = ["Bytes", "Option", "Range", "Seconds", "SecondsOrZero"]


class Range(NamedTuple):
    """The values of a number, both ends included unless ``exclusive``."""

    minimum: float
    maximum: float
    unit: str = ""
    exclusive: bool = False
    """Whether the minimum itself is excluded."""


class Option(NamedTuple):
    """What else the annotation of a field declares about its option."""

    help: str
    """One or two sentences, with the effect of 0 where 0 is a value."""
    env: str | None = None
    """A variable beside the derived ``ZTOAPI_`` name; at the top level the only one."""
    flag: bool = False
    """Whether the commands take it as ``--name``."""
    auto: str | None = None
    """The meaning of the word ``auto`` in place of a number."""
    pattern: str | None = None
    """Regular expression that a string, or each string of a list, matches as a whole."""
    form: str | None = None
    """The pattern in words, with an example; completes "must be"."""
    separator: str = ","
    """Separates the parts of a list that is written as one string."""
    required: bool = False
    """Whether its table is an error without it."""


_DAY = 86400.0
_GIB = 1073741824

Seconds = Annotated[float, Range(0, _DAY, "seconds", exclusive=True)]
SecondsOrZero = Annotated[float, Range(0, _DAY, "seconds")]
Bytes = Annotated[int, Range(1, _GIB, "bytes")]
