"""The list of models in the format of Anthropic's API.

https://platform.claude.com/docs/en/api/models-list
"""

import datetime
from collections.abc import Sequence

import msgspec

__all__ = ["ModelInfo", "model_list"]


class _Support(msgspec.Struct, frozen=True):
    supported: bool


class _Effort(msgspec.Struct, frozen=True):
    supported: bool
    low: _Support
    medium: _Support
    high: _Support
    xhigh: _Support
    max: _Support


class _ThinkingTypes(msgspec.Struct, frozen=True):
    """The types are translated for every model, so none is refused."""

    enabled: _Support
    adaptive: _Support
    between_tools: _Support
    disabled: _Support = _Support(True)


class _ThinkingSupport(msgspec.Struct, frozen=True):
    supported: bool
    types: _ThinkingTypes


class _ServerTools(msgspec.Struct, frozen=True):
    supported: bool = False
    web_search: _Support = _Support(False)
    code_execution: _Support = _Support(False)


class _Capabilities(msgspec.Struct, frozen=True):
    effort: _Effort
    image_input: _Support
    pdf_input: _Support
    structured_outputs: _Support
    thinking: _ThinkingSupport
    batch: _Support = _Support(False)
    citations: _Support = _Support(False)
    code_execution: _Support = _Support(False)
    context_management: _Support = _Support(False)
    server_tools: _ServerTools = _ServerTools()


class ModelInfo(msgspec.Struct):
    """One model. ``inputs``, ``efforts`` and ``thinking`` are those of the catalogue, None if unknown; ``created`` is
    in Unix seconds, 0 if unknown. Without ``inputs`` the capabilities are unknown."""

    id: str
    created: int
    context_tokens: int | None
    max_output_tokens: int | None
    inputs: Sequence[str] | None
    efforts: Sequence[str]
    thinking: str | None
    structured_output: bool

    @property
    def capabilities(self) -> _Capabilities | None:
        if self.inputs is None:
            return None
        thinks = _Support(self.thinking != "none")
        levels = [_Support(level in self.efforts) for level in ("low", "medium", "high", "xhigh", "max")]
        return _Capabilities(
            _Effort(bool(self.efforts), *levels),
            image_input=_Support("image" in self.inputs),
            pdf_input=_Support("file" in self.inputs),
            structured_outputs=_Support(self.structured_output),
            thinking=_ThinkingSupport(thinks.supported, _ThinkingTypes(thinks, thinks, thinks)),
        )

    def encoded(self) -> dict[str, object]:
        """Returns the object of the API, for a JSON encoder."""
        created = datetime.datetime.fromtimestamp(self.created, datetime.UTC)
        return {
            "type": "model",
            "id": self.id,
            "display_name": self.id,
            "created_at": f"{created:%Y-%m-%dT%H:%M:%SZ}",
            "max_input_tokens": self.context_tokens,
            "max_tokens": self.max_output_tokens,
            "capabilities": self.capabilities,
            "lifecycle": "active",
            "deprecated_at": None,
            "line": None,
        }


def model_list(models: Sequence[ModelInfo]) -> bytes:
    """Returns the body of the list: all models on one page."""
    return msgspec.json.encode(
        {
            "data": [model.encoded() for model in models],
            "has_more": False,
            "first_id": models[0].id if models else None,
            "last_id": models[-1].id if models else None,
        }
    )
