"""Editors, and chat applications with a web page."""

import json
from typing import Final

from ztoapi.clients.settings import PROVIDER, GatewayAccess, Settings, SettingsFile, json_file, without_none

__all__ = ["cursor", "librechat", "openwebui", "zed"]

_CONTEXT_TOKENS: Final = 128_000
"""Context of a model whose own is unknown; Zed requires a number."""


def openwebui(access: GatewayAccess) -> Settings:
    """Open WebUI reads the variables at its first start; later its admin settings apply."""
    environment = {
        "OPENAI_API_BASE_URL": access.base_url,
        "OPENAI_API_KEY": access.key,
        "ENABLE_OLLAMA_API": "false",
        "DEFAULT_MODELS": access.model,
        "TASK_MODEL_EXTERNAL": access.small,
    }
    return Settings(environment=environment, commands=(("open-webui", "serve"),))


def librechat(access: GatewayAccess) -> Settings:
    """A custom endpoint; its key stays in the environment."""
    lines = [
        "version: 1.2.8",
        "endpoints:",
        "  custom:",
        "    - name: ztoapi",
        '      apiKey: "${ZTO_API_KEY}"',
        f"      baseURL: {json.dumps(access.base_url)}",
        "      models:",
        f"        default: {json.dumps([model.name for model in access.models])}",
        "        fetch: true",
        "      titleConvo: true",
        f"      titleModel: {json.dumps(access.small)}",
    ]
    return Settings(
        environment={"ZTO_API_KEY": access.key}, files=(SettingsFile("librechat.yaml", "\n".join(lines) + "\n"),)
    )


def cursor(access: GatewayAccess) -> Settings:
    """Cursor has only a settings window."""
    return Settings(
        form={
            "OpenAI API Key": access.key,
            "Override OpenAI Base URL": access.base_url,
            "Add Custom Model": access.model,
        }
    )


def zed(access: GatewayAccess) -> Settings:
    """Zed reads the key from the variable named after the provider."""
    models = [
        without_none(
            {
                "name": model.name,
                "display_name": model.name,
                "max_tokens": model.facts.context_tokens or _CONTEXT_TOKENS,
                "max_output_tokens": model.facts.max_output_tokens,
                "capabilities": {
                    "tools": True,
                    "images": "image" in (model.facts.inputs or ()),
                    "parallel_tool_calls": True,
                    "prompt_cache_key": False,
                },
            }
        )
        for model in access.models
    ]
    settings = {
        "language_models": {"openai_compatible": {PROVIDER: {"api_url": access.base_url, "available_models": models}}},
        "agent": {"default_model": {"provider": PROVIDER, "model": access.model}},
    }
    return Settings(
        environment={"ZTO_API_KEY": access.key},
        files=(json_file("~/.config/zed/settings.json", settings),),
        commands=(("zed",),),
    )
