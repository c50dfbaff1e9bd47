"""Estimates the tokens of a prompt, from the kinds of its characters and from the counts that responses report.

No package has GLM's vocabulary, and the counts of others differ by a factor of 1.4 for JSON and of 2.4 for symbols.
The estimate therefore has two parts. :func:`weigh` adds a weight for each byte by its class: the weight of two texts is
the sum of theirs. :class:`Calibration` keeps the mean ratio of reported to weighed tokens of each model. It changes
slowly, so that the counts of one conversation can be compared, and stays within limits, so that wrong counts of an
upstream do little harm.
"""

import math
import re
from collections.abc import Mapping
from typing import Final

import msgspec

from ztoapi.dialects.request import ChatRequest

__all__ = ["Calibration", "native_weight", "prompt_weight", "weigh"]

UNITS: Final = 9
"""Weights are integers, in ninths of a token: the sum of a text's weights is a count of bits."""


def _weight(byte: int) -> int:
    """Returns the weight of a byte by its class.

    English has about four characters per token with the blanks, source code about two symbols, Chinese about 1.5
    characters of three bytes. The first byte of other characters stands for letters of other scripts, and for emoji.
    """
    if byte >= 0x80:
        return 0 if byte < 0xC0 else 6 if 0xE0 <= byte < 0xF0 else 8
    character = chr(byte)
    return 1 if character.isspace() else 2 if character.isalpha() else 4 if character.isdigit() else 5


_BITS: Final = b"".join(((1 << _weight(byte)) - 1).to_bytes(1, "little") for byte in range(256))
"""Translates each byte to one with as many bits set as its weight."""
_IMAGE_WEIGHT: Final = 1000 * UNITS
"""Tokens of an image, whose bytes are no text. Typical of vision models."""
_TOOL_WEIGHT: Final = 8 * UNITS
"""The words around a tool in the prompt."""
_PIECE_BYTES: Final = 262144
_DATA_URI: Final = re.compile(rb'"data:[^"]*"')
_IMAGE: Final = b'"image_url"'
"""Occurs twice in an image part: as its type and as the name of a field."""

_PROMPT_FIELDS: Final = ("system", "instructions", "messages", "input", "tools")
_BASE64: Final = re.compile(rb'"(?:data:[^"]*|[A-Za-z0-9+/=]{256,})"')
"""The content of an image or a file, with or without the head of a data URI."""

_MIN_WEIGHT: Final = 64 * UNITS
"""The counts of a smaller prompt depend on the model's template more than on the text."""
_LEAST_RATIO, _GREATEST_RATIO = 0.5, 2.0
_WINDOW: Final = 32
"""Responses over which the mean is taken: one response moves it by a thirty-second of the difference."""
_PRIOR_RESPONSES: Final = 8
"""Weight of the initial ratio of 1. Each worker has its own ratios, and clients subtract the estimates of two workers:
the first response moves the ratio by a ninth of the difference."""
_PRIOR: Final = (1.0, _PRIOR_RESPONSES)
_MAX_MODELS: Final = 256
"""Models with a ratio. Names come from the configuration and from clients."""


def weigh(text: bytes) -> int:
    """Returns the weight of UTF-8 text. It takes 3 to 8 microseconds per KB. Other threads run between the pieces."""
    if len(text) <= _PIECE_BYTES:
        return int.from_bytes(text.translate(_BITS), "little").bit_count()
    return sum(weigh(text[at : at + _PIECE_BYTES]) for at in range(0, len(text), _PIECE_BYTES))


def prompt_weight(request: ChatRequest) -> int:
    """Returns the weight of a request's messages and tools. The JSON around a text stands for what the model's
    template puts there."""
    fields = request.fields
    messages = bytes(fields.get("messages", b""))
    weight = 0
    if _IMAGE in messages:
        weight = messages.count(_IMAGE) // 2 * _IMAGE_WEIGHT
        messages, _ = _without(_DATA_URI, messages)
    weight += weigh(messages)
    tools = fields.get("tools")
    if tools is not None:
        encoded = bytes(tools)
        weight += weigh(encoded) + encoded.count(b'"parameters":') * _TOOL_WEIGHT
    return weight


def native_weight(fields: Mapping[str, msgspec.Raw]) -> int:
    """Returns the weight of the prompt in a request of another API than chat."""
    weight = 0
    for name in _PROMPT_FIELDS:
        text = bytes(fields.get(name, b""))
        if b"base64" in text:
            text, images = _without(_BASE64, text)
            weight += images * _IMAGE_WEIGHT
        weight += weigh(text)
    return weight


def _without(pattern: re.Pattern[bytes], text: bytes) -> tuple[bytes, int]:
    """Returns ``text`` without what matches ``pattern``, which begins and ends with a quotation mark, and the number of
    matches. Other threads run between the pieces: five million quotation marks take 0.3 s."""
    kept: list[bytes] = []
    count = at = 0
    while at < len(text):
        end = text.find(b'"', at + _PIECE_BYTES) + 1
        if not end:
            end = len(text)
        elif (match := pattern.match(text, end - 1)) is not None:
            # The mark may be the first one of a match, which stays whole.
            end = match.end()
        piece, found = pattern.subn(b"", text[at:end])
        kept.append(piece)
        count += found
        at = end
    return b"".join(kept), count


class Calibration:
    """The ratios of reported to weighed tokens, by model."""

    __slots__ = ("_ratios",)

    def __init__(self) -> None:
        self._ratios: dict[str, tuple[float, int]] = {}
        """The mean ratio and the number of responses in it, the prior ones included, at most ``_WINDOW``."""

    def tokens(self, model: str, weight: int) -> int:
        """Returns the estimate of the tokens in a prompt of ``weight``."""
        ratio = self._ratios.get(model, _PRIOR)[0]
        return math.ceil(weight * ratio / UNITS)

    def note(self, model: str, weight: int, prompt_tokens: int) -> None:
        """Counts a response whose usage has ``prompt_tokens``, cached ones included."""
        if weight < _MIN_WEIGHT or prompt_tokens <= 0:
            return
        mean, count = self._ratios.get(model, _PRIOR)
        if model not in self._ratios and len(self._ratios) >= _MAX_MODELS:
            del self._ratios[next(iter(self._ratios))]
        ratio = min(max(prompt_tokens * UNITS / weight, _LEAST_RATIO), _GREATEST_RATIO)
        count = min(count + 1, _WINDOW)
        self._ratios[model] = (mean + (ratio - mean) / count, count)
