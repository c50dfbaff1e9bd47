"""The declaration of a configuration option, written in the annotation of a struct's field.

    port: Annotated[int, Range(0, 65535), Option("Port to listen on.", env="PORT", flag=Flag("server", "PORT"))] = 9090

The field gives the name, the type and the default. ``config/options.py`` derives the rest: the key in ``ztoapi.toml``,
the environment variables, the flag, the error message, the documentation and the JSON Schema.
"""

from typing import Annotated, Final, NamedTuple

__all__ = ["AMOUNT_PATTERN", "TOKENS", "Bytes", "Flag", "Option", "Range", "Seconds", "SecondsOrZero"]


TOKENS: Final = "tokens"
"""The unit of whole numbers that may be written with a suffix: 5k, 1.5M."""
AMOUNT_PATTERN: Final = r"([0-9]{1,12}(?:\.[0-9]{1,9})?)([kKmMbB])"


class Range(NamedTuple):
    """The valid values of a number. Both ends are valid, except an ``exclusive`` minimum."""

    minimum: float
    maximum: float
    unit: str = ""
    exclusive: bool = False


class Flag(NamedTuple):
    """The flag ``--name`` of commands: its group in the help, the word for its value, and a short form."""

    group: str
    metavar: str
    short: str | None = None
    values: tuple[tuple[str, str, str], ...] = ()
    """Flags without a value that stand for one: the short flag, the long flag and the value."""


class Option(NamedTuple):
    """The rest of the declaration."""

    help: str
    """One or two sentences: a noun or an imperative first, and the effect of 0 where 0 is valid."""
    env: str | None = None
    """In a table: a short variable beside the derived ``ZTOAPI_NAME``. At the top level: the variable, where it is not
    the name in upper case; empty for none."""
    flag: Flag | None = None
    """Its flag; None if commands have none."""
    auto: str | None = None
    """The meaning of the word ``auto`` in place of a number."""
    pattern: str | None = None
    """Regular expression that the whole string, or each string of a list, must match."""
    form: str | None = None
    """The pattern in words, with an example; completes "must be"."""
    separator: str = ","
    """Separates the parts of a list that is written as one string."""
    required: bool = False
    """Whether it must be present in its table."""
    example: object = None
    """A value for the example file, where the option is unset by default."""


_DAY = 86400.0
_GIB = 1073741824

Seconds = Annotated[float, Range(0, _DAY, "seconds", exclusive=True)]
SecondsOrZero = Annotated[float, Range(0, _DAY, "seconds")]
Bytes = Annotated[int, Range(1, _GIB, "bytes")]
