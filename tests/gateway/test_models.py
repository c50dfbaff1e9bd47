"""GET /v1/models with the facts of the catalogue."""

import datetime
from collections.abc import Callable
from typing import Any

import anthropic
import httpx
import openai
import pytest

from tests.stack import Stack

Clients = Callable[[Stack], anthropic.Anthropic]
OWN = '[models."glm-4.6"]\ncontext_tokens = 4096\n'


def models(stack: Stack) -> dict[str, dict[str, Any]]:
    return {model["id"]: model for model in httpx.get(f"{stack.base_url}/models").json()["data"]}


def seconds(*day: int) -> int:
    return int(datetime.datetime(*day, tzinfo=datetime.UTC).timestamp())  # type: ignore[misc,arg-type]  # a day


def test_a_model_of_zai_has_its_facts() -> None:
    with Stack(MODEL_PLATFORM_MAP='{"eyes": {"platform": "zai", "upstream": "GLM-4.6V"}, "other": "zai"}') as stack:
        found = models(stack)
        one = httpx.get(f"{stack.base_url}/models/GLM-5.3").json()
    assert next(iter(found)) == "glm-5.3"
    assert found["glm-5.3"] == one
    assert one == {
        "id": "glm-5.3",
        "object": "model",
        "created": seconds(2026, 8, 14),
        "owned_by": "zai",
        "context_length": 1000000,
        "max_output_tokens": 131072,
        "architecture": {"input_modalities": ["text"], "output_modalities": ["text"]},
        "thinking": "always",
        "reasoning_efforts": ["low", "high", "max"],
        "structured_output": True,
        "pricing": {"prompt": "0.0000014", "completion": "0.0000044", "input_cache_read": "0.00000026"},
    }
    eyes = found["eyes"]
    assert (eyes["created"], eyes["owned_by"]) == (seconds(2025, 12, 1), "zai")
    assert eyes["architecture"]["input_modalities"] == ["text", "image", "video", "file"]
    assert eyes["pricing"] == {"prompt": "0.0000003", "completion": "0.0000009"}
    # Listed by the upstream alone, with its own time.
    assert (found["glm-4.5-air"]["created"], found["glm-4.5-air"]["owned_by"]) == (1767225600, "z-ai")
    assert found["glm-4.5-flash"]["pricing"] == {"prompt": "0", "completion": "0", "input_cache_read": "0"}
    assert "pricing" not in found["glm-5.3-highspeed"]
    assert found["other"] == {"id": "other", "object": "model", "created": 0, "owned_by": "zai"}


@pytest.mark.parametrize("platform", ["openai", "zai_web", "zread"])
def test_a_model_of_another_platform_has_none(platform: str) -> None:
    with Stack(platform) as stack:
        assert all(model.keys() == {"id", "object", "created", "owned_by"} for model in models(stack).values())


def test_configured_facts_are_listed_on_a_plain_server_too() -> None:
    with Stack("openai", toml=OWN) as stack:
        found = models(stack)
    assert found["glm-4.6"]["context_length"] == 4096
    assert "max_output_tokens" not in found["glm-4.6"]
    assert "context_length" not in found["glm-4.7"]


def test_a_client_finds_the_facts_beside_its_own_fields(openai_sdk: Callable[[Stack], openai.OpenAI]) -> None:
    with Stack() as stack:
        client = openai_sdk(stack)
        model = client.models.retrieve("glm-5.3")
    assert model.owned_by == "zai"
    assert model.model_extra is not None
    assert model.model_extra["context_length"] == 1000000


def test_clients_of_anthropic_get_its_list(shared: Stack, anthropic_sdk: Clients) -> None:
    found = {model.id: model for model in anthropic_sdk(shared).models.list()}
    model = found["glm-5.3"]
    assert (model.max_input_tokens, model.max_tokens) == (1000000, 131072)
    assert (model.created_at.year, model.lifecycle, model.display_name) == (2026, "active", "glm-5.3")
    assert model.capabilities is not None
    assert model.capabilities.effort.max.supported
    assert not model.capabilities.image_input.supported
    assert model.capabilities.thinking.types.adaptive.supported
    assert found["claude-glm-5.3"].max_tokens == 131072


def test_one_model_in_the_format_of_anthropic(shared: Stack, anthropic_sdk: Clients) -> None:
    model = anthropic_sdk(shared).models.retrieve("claude-glm-5.3")
    assert (model.id, model.max_tokens) == ("claude-glm-5.3", 131072)


def test_names_of_claude_are_found(shared: Stack, anthropic_sdk: Clients) -> None:
    client = anthropic_sdk(shared)
    assert client.models.retrieve("claude-opus-4-1").max_tokens == 131072
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.models.retrieve("unknown")
    assert caught.value.body == {
        "type": "error",
        "error": {"type": "not_found_error", "message": caught.value.body["error"]["message"]},  # type: ignore[index]
        "request_id": caught.value.request_id,
    }


def test_only_aliases_that_are_served_are_listed(anthropic_sdk: Clients) -> None:
    with Stack("openai", MODEL_PLATFORM_MAP='{"Qwen3": "openai", "zai-org/GLM-4.6": "openai"}') as stack:
        listed = [model.id for model in anthropic_sdk(stack).models.list()]
    assert {"claude-Qwen3", "claude-zai-org/GLM-4.6"} <= {*listed}
