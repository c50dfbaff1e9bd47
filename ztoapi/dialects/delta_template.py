"""Makes the delta template of a stream from one of its plain events."""

import re
from typing import Final

from ztoapi.wire.delta_template import DeltaTemplate

__all__ = ["DELTA", "learn"]

DELTA: Final = b'"choices":[{"index":0,"delta":'
"""The end of the head of a plain event."""
_BARE_TAIL: Final = b"}}]"
"""The end of a choice that has no field after its delta."""
_FINISH: Final = b'"finish_reason"'
_LOGPROBS: Final = b'"logprobs"'
_ERROR: Final = b'"error"'
_USAGE: Final = b'"usage"'
_NO_USAGE: Final = re.compile(rb',\s*"usage":\s*null\s*}$', re.MULTILINE)


def learn(data: bytes, head: bytes, new_head: bytes, *, nulls: bool, usage_removed: bool) -> DeltaTemplate:
    """Returns the template of a plain event whose JSON is ``data`` and whose bytes begin with ``head``.

    ``nulls`` adds ``logprobs`` and ``finish_reason`` as null where a choice lacks them; ``usage_removed`` drops a
    ``"usage":null`` at the end.
    """
    at = data.rfind(_FINISH)
    absent: tuple[bytes, ...] = ()
    if at >= 0 and nulls:
        # The tail begins with the brace that closes the delta, so that events with and without logprobs differ in it.
        brace = data.rfind(b"}", 0, at)
        tail = data[brace:] + b"\n\n"
    elif at >= 0:
        tail = data[at:] + b"\n\n"
    elif data.endswith((_BARE_TAIL + b"}", _BARE_TAIL + b',"usage":null}')):
        tail = data[data.rindex(_BARE_TAIL) :] + b"\n\n"
        absent = (_FINISH,)
    else:
        tail = b"}\n\n"
        absent = (_FINISH, _USAGE, _ERROR)
    new_tail = tail
    if nulls and tail.startswith(_BARE_TAIL):
        new_tail = b'},"logprobs":null,"finish_reason":null}]' + tail[len(_BARE_TAIL) :]
    elif nulls and at >= 0 and _LOGPROBS not in tail:
        # At the end of the choice, where a decoded event gets it.
        end = data.find(b"}]", at)
        new_tail = data[brace:end] + b',"logprobs":null' + data[end:] + b"\n\n"
        absent = (_LOGPROBS,)
    if usage_removed:
        new_tail = _NO_USAGE.sub(b"}", new_tail)
    return DeltaTemplate(head, new_head, tail, new_tail, absent)
