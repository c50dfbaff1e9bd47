"""Coding agents and other programs for the terminal."""

import json
from typing import Final

from ztoapi.clients.settings import PROVIDER, GatewayAccess, Model, Settings, SettingsFile, json_file, without_none

__all__ = [
    "aider",
    "aider_in",
    "claude",
    "cline",
    "cline_in",
    "continue_cli",
    "continue_in",
    "kilo",
    "kilo_in",
    "llm",
    "llm_in",
    "opencode",
    "opencode_in",
    "pi",
    "pi_in",
    "qwen_code",
]

_AI_SDK_PACKAGES: Final = {
    "chat": "@ai-sdk/openai-compatible",
    "messages": "@ai-sdk/anthropic",
    "responses": "@ai-sdk/openai",
}
_PI_APIS: Final = {"chat": "openai-completions", "messages": "anthropic-messages", "responses": "openai-responses"}
_CONTINUE_PROVIDERS: Final = {"chat": "openai", "messages": "anthropic", "responses": "openai"}
_TOKENS_OF_PRICES: Final = 1_000_000
"""Prices of the catalogue are per million tokens."""
_PRICE_DIGITS: Final = 12
"""Digits of a price per token after the point; the rest is an error of the division."""


def claude(access: GatewayAccess) -> Settings:
    """Claude Code takes an unknown model for one with 200,000 tokens of context and 32,000 of output."""
    facts = access.facts
    limits = {
        "CLAUDE_CODE_MAX_CONTEXT_TOKENS": facts.context_tokens,
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS": facts.max_output_tokens,
    }
    environment = {
        "ANTHROPIC_BASE_URL": access.url,
        "ANTHROPIC_AUTH_TOKEN": access.key,
        "ANTHROPIC_MODEL": access.model,
        "ANTHROPIC_DEFAULT_OPUS_MODEL": access.model,
        "ANTHROPIC_DEFAULT_SONNET_MODEL": access.model,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": access.small,
        "ANTHROPIC_SMALL_FAST_MODEL": access.small,
        "CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY": "1",
        **{name: str(value) for name, value in without_none(limits).items()},
    }
    return Settings(environment=environment, commands=(("claude",),))


def opencode(access: GatewayAccess) -> Settings:
    """The provider in opencode's configuration."""
    return Settings(
        files=(_opencode_file("~/.config/opencode/opencode.json", access),),
        commands=(("opencode",),),
    )


def opencode_in(access: GatewayAccess, directory: str) -> Settings:
    """opencode reads the file that OPENCODE_CONFIG names, in addition to its own."""
    path = f"{directory}/opencode.json"
    return Settings(
        environment={"OPENCODE_CONFIG": path},
        files=(_opencode_file(path, access),),
        commands=(("opencode",),),
    )


def kilo(access: GatewayAccess) -> Settings:
    """Kilo is built on opencode."""
    return Settings(
        files=(_opencode_file("~/.config/kilo/kilo.json", access),),
        commands=(("kilo",),),
    )


def kilo_in(access: GatewayAccess, directory: str) -> Settings:
    """Kilo reads the file that KILO_CONFIG names, in addition to its own."""
    path = f"{directory}/kilo.json"
    return Settings(
        environment={"KILO_CONFIG": path},
        files=(_opencode_file(path, access),),
        commands=(("kilo",),),
    )


def _opencode_file(path: str, access: GatewayAccess) -> SettingsFile:
    provider = {
        "npm": _AI_SDK_PACKAGES[access.api],
        "name": "ztoapi",
        "options": {"baseURL": access.base_url, "apiKey": access.key},
        "models": {model.name: _opencode_model(model) for model in access.models},
    }
    return json_file(
        path,
        {
            "provider": {PROVIDER: provider},
            "model": f"{PROVIDER}/{access.model}",
            "small_model": f"{PROVIDER}/{access.small}",
        },
    )


def _opencode_model(model: Model) -> dict[str, object]:
    facts = model.facts
    described: dict[str, object] = {"name": model.name, "tool_call": True, "reasoning": facts.thinking != "none"}
    if "image" in (facts.inputs or ()):
        described["attachment"] = True
        described["modalities"] = {"input": ["text", "image"], "output": ["text"]}
    if facts.context_tokens is not None and facts.max_output_tokens is not None:
        described["limit"] = {"context": facts.context_tokens, "output": facts.max_output_tokens}
    return described


def cline(access: GatewayAccess) -> Settings:
    """A command stores the provider; Cline has no file that is made by hand."""
    return Settings(commands=(_cline_login(access), ("cline",)))


def cline_in(access: GatewayAccess, directory: str) -> Settings:
    """Cline keeps its state in ``directory``."""
    options = ("--config", directory)
    return Settings(commands=((*_cline_login(access), *options), ("cline", *options)))


def _cline_login(access: GatewayAccess) -> tuple[str, ...]:
    options = ("-p", "openai", "-k", access.key, "-m", access.model, "-b", access.base_url)
    return ("cline", "auth", *options)


def qwen_code(access: GatewayAccess) -> Settings:
    """The variables of OpenAI's SDK."""
    environment = {
        "OPENAI_BASE_URL": access.base_url,
        "OPENAI_API_KEY": access.key,
        "OPENAI_MODEL": access.model,
    }
    return Settings(environment=environment, commands=(("qwen", "--auth-type", "openai"),))


def pi(access: GatewayAccess) -> Settings:
    """The provider in pi's list of models."""
    return Settings(files=(_pi_file("~/.pi/agent", access),), commands=(_pi_command(access),))


def pi_in(access: GatewayAccess, directory: str) -> Settings:
    """pi keeps all of its state in the directory that PI_CODING_AGENT_DIR names."""
    return Settings(
        environment={"PI_CODING_AGENT_DIR": directory},
        files=(_pi_file(directory, access),),
        commands=(_pi_command(access),),
    )


def _pi_command(access: GatewayAccess) -> tuple[str, ...]:
    return ("pi", "--provider", PROVIDER, "--model", access.model)


def _pi_file(directory: str, access: GatewayAccess) -> SettingsFile:
    models = [
        without_none(
            {
                "id": model.name,
                "reasoning": model.facts.thinking != "none",
                "input": ["text", "image"] if "image" in (model.facts.inputs or ()) else ["text"],
                "contextWindow": model.facts.context_tokens,
                "maxTokens": model.facts.max_output_tokens,
            }
        )
        for model in access.models
    ]
    provider = {
        "baseUrl": access.url if access.api == "messages" else access.base_url,
        "api": _PI_APIS[access.api],
        "apiKey": access.key,
        "models": models,
    }
    return json_file(f"{directory}/models.json", {"providers": {PROVIDER: provider}})


def continue_cli(access: GatewayAccess) -> Settings:
    """The configuration of Continue, in the editors and in the terminal."""
    path = "~/.continue/config.yaml"
    return Settings(files=(_continue_file(path, access),), commands=(("cn", "--config", path),))


def continue_in(access: GatewayAccess, directory: str) -> Settings:
    """The configuration in ``directory``."""
    path = f"{directory}/config.yaml"
    return Settings(files=(_continue_file(path, access),), commands=(("cn", "--config", path),))


def _continue_file(path: str, access: GatewayAccess) -> SettingsFile:
    lines = ["name: ztoapi", "version: 1.0.0", "schema: v1", "models:"]
    for model in access.models:
        lines += [
            f"  - name: {json.dumps(model.name)}",
            f"    provider: {_CONTINUE_PROVIDERS[access.api]}",
            f"    model: {json.dumps(model.name)}",
            f"    apiBase: {json.dumps(access.base_url)}",
            f"    apiKey: {json.dumps(access.key)}",
            "    roles: [chat, edit, apply]",
            "    capabilities: [tool_use]",
        ]
        options = without_none(
            {"contextLength": model.facts.context_tokens, "maxTokens": model.facts.max_output_tokens}
        )
        if options:
            lines += ["    defaultCompletionOptions:", *(f"      {name}: {value}" for name, value in options.items())]
    return SettingsFile(path, "\n".join(lines) + "\n")


def aider(access: GatewayAccess) -> Settings:
    """Aider's model file has the limits and the prices, which it lacks for OpenAI-compatible servers."""
    return _aider("~/.aider.model.metadata.json", access, ())


def aider_in(access: GatewayAccess, directory: str) -> Settings:
    """The model file in ``directory``."""
    path = f"{directory}/aider.model.metadata.json"
    return _aider(path, access, ("--model-metadata-file", path))


def _aider(path: str, access: GatewayAccess, options: tuple[str, ...]) -> Settings:
    return Settings(
        environment={"OPENAI_API_BASE": access.base_url, "OPENAI_API_KEY": access.key},
        files=(json_file(path, {f"openai/{model.name}": _litellm_facts(model) for model in access.models}),),
        commands=(("aider", "--model", f"openai/{access.model}", "--weak-model", f"openai/{access.small}", *options),),
    )


def _litellm_facts(model: Model) -> dict[str, object]:
    """Returns the entry of a model in the format of LiteLLM's price list."""
    facts = model.facts
    prices = {
        "input_cost_per_token": facts.input_price,
        "output_cost_per_token": facts.output_price,
        "cache_read_input_token_cost": facts.cached_input_price,
    }
    return {
        **without_none({"max_input_tokens": facts.context_tokens, "max_output_tokens": facts.max_output_tokens}),
        **{
            name: round(price / _TOKENS_OF_PRICES, _PRICE_DIGITS) for name, price in prices.items() if price is not None
        },
        "litellm_provider": "openai",
        "mode": "chat",
    }


def llm(access: GatewayAccess) -> Settings:
    """The models in llm's directory, which is another one on macOS; ``llm logs path`` prints it."""
    directory = "~/.config/io.datasette.llm"
    return Settings(
        files=(_llm_file(directory, access),),
        commands=(
            ("llm", "keys", "set", PROVIDER, "--value", access.key),
            ("llm", "-m", f"{PROVIDER}/{access.model}"),
        ),
    )


def llm_in(access: GatewayAccess, directory: str) -> Settings:
    """llm keeps all of its state in the directory that LLM_USER_PATH names."""
    return Settings(
        environment={"LLM_USER_PATH": directory},
        files=(
            _llm_file(directory, access),
            json_file(f"{directory}/keys.json", {PROVIDER: access.key}),
        ),
        commands=(("llm", "-m", f"{PROVIDER}/{access.model}"),),
    )


def _llm_file(directory: str, access: GatewayAccess) -> SettingsFile:
    lines: list[str] = []
    for model in access.models:
        lines += [
            f"- model_id: {json.dumps(f'{PROVIDER}/{model.name}')}",
            f"  model_name: {json.dumps(model.name)}",
            f"  api_base: {json.dumps(access.base_url)}",
            f"  api_key_name: {PROVIDER}",
            "  can_stream: true",
            "  supports_tools: true",
            "  supports_schema: true",
        ]
        if "image" in (model.facts.inputs or ()):
            lines.append("  vision: true")
    return SettingsFile(f"{directory}/extra-openai-models.yaml", "\n".join(lines) + "\n")
