"""The settings of a simulated response: the server's options, which a request can override in its model name.

A model name may contain settings, ``name(:key=value)*``: ``glm-5.3:tokens=500:itl=2:fault=1302:fault_times=1``. The
part before the first colon is the model; the keys are the fields of :class:`ResponsePlan`. A token may contain settings
too, so that one of several credentials can fail and is counted separately.
"""

from typing import Annotated, Final

import msgspec

from ztoapi.errors import ApiError
from ztoapi.simulator.codes import REFUSALS

__all__ = ["FAULTS", "FINISH_FAULTS", "MID_FAULTS", "Options", "ResponsePlan", "read_plan"]

MID_FAULTS: Final = frozenset(
    ("truncate", "reset_mid", "hang_mid", "garbage_mid", "bad_chunk", "error_mid", "huge", "drip", "no_done")
)
"""Faults of a response that has begun."""
FINISH_FAULTS: Final = frozenset(("network_error", "sensitive", "model_context_window_exceeded"))
"""Abnormal endings that GLM reports in the finish reason."""
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
    """The defaults of a simulator. Times are in milliseconds."""

    ttft_ms: float = 0.0
    itl_ms: float = 0.0
    tokens: int = 32
    events_per_write: int = 1
    api_key: str | None = None


class ResponsePlan(msgspec.Struct, kw_only=True):
    """The settings of one response."""

    ttft: _Milliseconds = 0.0
    """Milliseconds to the first token."""
    itl: _Milliseconds = 0.0
    """Milliseconds between two tokens, on a schedule that does not drift; 0 sends as fast as the client reads."""
    tokens: _Count = 32
    reasoning: _Count | None = None
    """Reasoning tokens before the content, if the request enables thinking. Unset: 4, or none on a plain server."""
    epw: Annotated[int, msgspec.Meta(ge=1)] = 1
    """Events per write."""
    size: _Count = 0
    """Bytes of text per delta; 0 sends words."""
    stamp: _Count = 0
    """1: each delta is ``t=<nanoseconds of the monotonic clock>;``, padded to ``size``."""
    fault: str = ""
    """One of :data:`FAULTS`."""
    fault_times: _Count = 0
    """Number of requests for this model string that have the fault; 0 means all."""
    retry_after: _Count = 0
    """Seconds, sent as Retry-After with an error code."""
    calls: Annotated[int, msgspec.Meta(ge=1, le=128)] = 1
    """Parallel tool calls, of the first function, the second and so on."""
    refuse: str = ""
    """Fields of a request, separated by ``+``, that are refused as unknown."""
    reset: _Count = 0
    """Seconds until the reset time in the messages of 1308 and 1310."""

    @property
    def thinking_tokens(self) -> int:
        """``reasoning``, or its default for a model that thinks."""
        return _DEFAULT_REASONING if self.reasoning is None else self.reasoning


def read_plan(model: str, options: Options) -> tuple[str, ResponsePlan]:
    """Returns the model's name without settings, and the plan. Raises ApiError for unknown settings or invalid
    values."""
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
    if unknown := values.keys() - set(ResponsePlan.__struct_fields__):
        raise ApiError(
            f"unknown setting of the simulator: {', '.join(sorted(unknown))}", code="invalid_value", param="model"
        )
    try:
        plan = msgspec.convert(values, ResponsePlan, strict=False)
    except msgspec.ValidationError as error:
        raise ApiError(
            f"invalid setting of the simulated model: {error}", code="invalid_value", param="model"
        ) from error
    if plan.fault and plan.fault not in FAULTS:
        raise ApiError(f"unknown fault of the simulator: {plan.fault}", code="invalid_value", param="model")
    return name, plan
