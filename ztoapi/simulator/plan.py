"""What a simulated answer is like: the server's options, changed for one request by its model name.

A model name may carry settings: ``glm-4.6:tokens=500:itl=2:fault=1302:fault_times=1``. The name before the first
colon is the model; the keys are the fields of :class:`Plan`.
"""

from typing import Final

import msgspec

from ztoapi.errors import ApiError

__all__ = ["FAULTS", "Options", "Plan", "read_plan"]

FAULTS: Final = frozenset(
    (
        # error answers: Z.ai's codes
        "1113", "1210", "1211", "1302", "1305", "1308", "500", "529",
        # before the first byte
        "refuse", "reset", "hang", "garbage", "html", "empty", "bad_head",
        # in the middle of a stream
        "truncate", "reset_mid", "hang_mid", "garbage_mid", "bad_chunk", "error_mid", "huge", "drip", "no_done",
        # finish reasons
        "network_error", "sensitive", "model_context_window_exceeded",
        # of the web chat
        "426", "captcha",
    )
)  # fmt: skip


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """Defaults of a simulator. Times in milliseconds."""

    ttft_ms: float = 0.0
    itl_ms: float = 0.0
    tokens: int = 32
    events_per_write: int = 1
    api_key: str | None = None


class Plan(msgspec.Struct, kw_only=True):
    """One answer."""

    ttft: float = 0.0
    """Milliseconds to the first token."""
    itl: float = 0.0
    """Milliseconds between two tokens, on a schedule that does not drift; 0 is as fast as the client reads."""
    tokens: int = 32
    reasoning: int = 4
    """Tokens of reasoning before the answer's, where the request wants thinking."""
    epw: int = 1
    """Events a write."""
    size: int = 0
    """Octets of each delta's text; 0 gives words."""
    stamp: int = 0
    """1: each delta is ``t=<nanoseconds of the monotonic clock>;``."""
    fault: str = ""
    """One of :data:`FAULTS`."""
    fault_times: int = 0
    """How many requests for this model string have the fault; 0 is all of them."""
    retry_after: int = 0
    """Seconds, sent as Retry-After with an error code."""


def read_plan(model: str, options: Options) -> tuple[str, Plan]:
    """The model's own name and the plan. Raises ApiError for a setting that does not exist."""
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
