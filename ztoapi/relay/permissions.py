"""The models that a client key may use."""

from collections.abc import Collection
from typing import Final

from ztoapi.config.model import ClientKey
from ztoapi.errors import ApiError

__all__ = ["check_models"]

_ALSO_NAME_MODELS: Final = frozenset(("model", "models", "fallbacks"))
"""Fields that name a model for some upstream: Go's JSON decoder reads ``Model`` as ``model``, OpenRouter has
``models``, LiteLLM ``fallbacks``."""


def check_models(key: ClientKey, model: str, public: str, names: Collection[str]) -> None:
    """Checks a request with a key that has a list of models. ``public`` is the name of the route of ``model``, and
    ``names`` are the fields of the request.

    Raises ApiError: 403 as OpenAI for a project without access to a model; 400 for other fields that name models.
    """
    if not key.allows(model) and not key.allows(public):
        raise ApiError(
            f"the API key {key.name} does not have access to the model {model!r}; "
            "GET /v1/models lists those that it has",
            status=403,
            code="model_not_found",
            param="model",
        )
    for name in names:
        if name != "model" and name.lower() in _ALSO_NAME_MODELS:
            raise ApiError(
                f"{name} is not open to an API key that is for certain models: name the model in model",
                code="unsupported_parameter",
                param=name,
            )
