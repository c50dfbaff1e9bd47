"""What a simulated answer is like: the server's options, changed for one request by its model name.

A model name may carry settings, ``name(:key=value)*``: ``glm-4.6:tokens=500:itl=2:fault=1302:fault_times=1``. The name
before the first colon is the model; the keys are the fields of :class:`Plan`. A token may carry them too: so one of
several credentials fails, and is counted by itself.
"""

from typing import Annotated, Final

import msgspec

from ztoapi.errors import ApiError
from ztoapi.simulator.codes import REFUSALS

__all__ = ["FAULTS", "FINISH_FAULTS", "MID_FAULTS", "Options", "Plan", "read_plan"]

MID_FAULTS: Final = frozenset(
    ("truncate", "reset_mid", "hang_mid", "garbage_mid", "bad_chunk", "error_mid", "huge", "drip", "no_done")
)
"""What befalls an answer that has begun."""
FINISH_FAULTS: Final = frozenset(("network_error", "sensitive", "model_context_window_exceeded"))
"""Abnormal ends that GLM reports by the finish reason."""
FAULTS: Final = (
    REFUSALS.keys()
    | {"refuse", "reset", "hang", "garbage", "html", "html_200", "empty", "bad_head", "captcha"}
    | MID_FAULTS
    | FINISH_FAULTS
)

_Milliseconds = Annotated[float, msgspec.Meta(ge=0)]
_Count = Annotated[int, msgspec.Meta(ge=0)]
_DEFAULT_REASONING: Final = 4


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Defaults of a simulator. Times in milliseconds."""

    ttft_ms: float = 0.0
    itl_ms: float = 0.0
    tokens: int = 32
    events_per_write: int = 1
    api_key: str | None = None


class Plan(msgspec.Struct, kw_only=True):
    """One answer."""

    ttft: _Milliseconds = 0.0
    """Milliseconds to the first token."""
    itl: _Milliseconds = 0.0
    """Milliseconds between two tokens, on a schedule that does not drift; 0 is as fast as the client reads."""
    tokens: _Count = 32
    reasoning: _Count | None = None
    """Tokens of reasoning before the answer's, where the request wants thinking: 4 if unset, on a plain server none."""
    epw: Annotated[int, msgspec.Meta(ge=1)] = 1
    """Events a write."""
    size: _Count = 0
    """Octets of each delta's text; 0 gives words."""
    stamp: _Count = 0
    """1: each delta is ``t=<nanoseconds of the monotonic clock>;``, with ``size`` filled up to that."""
    fault: str = ""
    """One of :data:`FAULTS`."""
    fault_times: _Count = 0
    """How many requests for this model string have the fault; 0 is all of them."""
    retry_after: _Count = 0
    """Seconds, sent as Retry-After with an error code."""
    reset: _Count = 0
    """Seconds from now to the time that 1308 and 1310 name as that of the reset."""

    @property
    def thinking_tokens(self) -> int:
        """``reasoning``, or its default, for a model that thinks."""
        return _DEFAULT_REASONING if self.reasoning is None else self.reasoning


def read_plan(model: str, options: Options) -> tuple[str, Plan]:
    """The model's own name and the plan. Raises ApiError for a setting that does not exist or has no such value."""
    name, *settings = model.split(":")
    values: dict[str, object] = {
        "ttft": options.ttft_ms,
        "itl": options.itl_ms,
        "tokens": options.tokens,
        "epw": options.events_per_write,
    }
    for setting in settings:
        key, _, value = setting.partition("=")
        values[key] = value
    if unknown := values.keys() - set(Plan.__struct_fields__):
        raise ApiError(f"the simulator knows no setting {', '.join(sorted(unknown))}", param="model")
    try:
        plan = msgspec.convert(values, Plan, strict=False)
    except msgspec.ValidationError as error:
        raise ApiError(f"a setting of the simulated model is not valid: {error}", param="model") from error
    if plan.fault and plan.fault not in FAULTS:
        raise ApiError(f"the simulator knows no fault {plan.fault}", param="model")
    return name, plan
