"""Codex: its profile, and its catalogue of the gateway's models."""

import json
from typing import Final

from ztoapi.clients.settings import PROVIDER, GatewayAccess, Model, Settings, SettingsFile, json_file

__all__ = ["codex", "codex_in"]

_KEY: Final = "ZTO_API_KEY"
_CATALOGUE: Final = "zto-models.json"
_PROGRAM: Final = "codex"
_EFFORTS: Final = ("low", "medium", "high", "xhigh")
"""Efforts that Codex offers; the gateway maps them to those of the model."""
_DESCRIPTIONS: Final = {
    "low": "Short reasoning",
    "medium": "Balanced reasoning",
    "high": "Deep reasoning",
    "xhigh": "The deepest reasoning",
}
_CONTEXT_TOKENS: Final = 128_000
"""Context of a model whose own is unknown; Codex requires a number. Every current GLM model has at least this."""
_OLDEST_CLIENT: Final = (0, 99, 0)
_TOOL_OUTPUT_BYTES: Final = 10_000
"""Longest output of a command that Codex sends to the model, as for OpenAI's models."""
_INSTRUCTIONS: Final = """\
You are a coding agent that works in a terminal, in the directory of a user's project. You receive the user's prompts,
you read and edit the project's files and run commands with the tools that you are given, and you report briefly on the
result.

- Read the files that matter before you change them. Follow the instructions of AGENTS.md files in the directories that
  you touch.
- Solve the cause of a problem with the smallest change that fits the style of the code. Leave unrelated code alone.
- Edit files with apply_patch. Search with rg where it exists.
- Run the project's tests or its build after a change where you can, and say so where you could not.
- Do not commit, create branches, or discard changes that are not yours, unless the user asks for it.
- Work until the task is done. Ask only if you cannot continue without an answer.
"""


def codex(access: GatewayAccess) -> Settings:
    """A profile next to the user's own configuration, which stays as it is."""
    lines = (f"{name} = {value}" for name, value in _options(access, _CATALOGUE).items())
    return Settings(
        environment={_KEY: access.key},
        files=(
            SettingsFile(f"~/.codex/{PROVIDER}.config.toml", "\n".join(lines) + "\n"),
            _catalogue(access, f"~/.codex/{_CATALOGUE}"),
        ),
        commands=((_PROGRAM, "--profile", PROVIDER),),
    )


def codex_in(access: GatewayAccess, directory: str) -> Settings:
    """The profile as arguments, with the catalogue in ``directory``."""
    path = f"{directory}/{_CATALOGUE}"
    arguments = [word for name, value in _options(access, path).items() for word in ("-c", f"{name}={value}")]
    return Settings(
        environment={_KEY: access.key},
        files=(_catalogue(access, path),),
        commands=((_PROGRAM, *arguments),),
    )


def _options(access: GatewayAccess, catalogue: str) -> dict[str, str]:
    """Returns the options of Codex as TOML; JSON's strings are TOML's too."""
    provider = {"name": PROVIDER, "base_url": access.base_url, "env_key": _KEY, "wire_api": "responses"}
    table = ", ".join(f"{name} = {json.dumps(value)}" for name, value in provider.items())
    return {
        "model": json.dumps(access.model),
        "model_provider": json.dumps(PROVIDER),
        "model_catalog_json": json.dumps(catalogue),
        f"model_providers.{PROVIDER}": f"{{ {table} }}",
    }


def _catalogue(access: GatewayAccess, path: str) -> SettingsFile:
    return json_file(path, {"models": [_entry(model, number) for number, model in enumerate(access.models)]})


def _entry(model: Model, priority: int) -> dict[str, object]:
    thinks = model.facts.thinking != "none"
    return {
        "slug": model.name,
        "display_name": model.name,
        "description": f"{model.name} through ztoapi",
        "default_reasoning_level": "high" if thinks else None,
        "supported_reasoning_levels": [
            {"effort": effort, "description": _DESCRIPTIONS[effort]} for effort in _EFFORTS if thinks
        ],
        "shell_type": "shell_command",
        "visibility": "list",
        "minimal_client_version": list(_OLDEST_CLIENT),
        "supported_in_api": True,
        "priority": priority,
        "upgrade": None,
        "base_instructions": _INSTRUCTIONS,
        "supports_reasoning_summaries": thinks,
        "support_verbosity": False,
        "default_verbosity": None,
        "apply_patch_tool_type": "freeform",
        "truncation_policy": {"mode": "bytes", "limit": _TOOL_OUTPUT_BYTES},
        "supports_parallel_tool_calls": True,
        "context_window": model.facts.context_tokens or _CONTEXT_TOKENS,
        "experimental_supported_tools": [],
    }
