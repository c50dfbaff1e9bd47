"""An independent conformance suite: llm-comply, with the schemas of OpenAI, Anthropic and Open Responses."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stack import Stack

ANTHROPIC = ["--auth-header", "x-api-key", "--no-bearer", "-H", "anthropic-version:2023-06-01"]


@pytest.mark.parametrize(("api", "options"), [("openai-chat", []), ("open-responses", []), ("anthropic", ANTHROPIC)])
def test_llm_comply_finds_nothing_against_z_ai(api: str, options: list[str]) -> None:
    # A model that accepts images: the suite sends one.
    with Stack() as stack:
        command = [str(Path(sys.executable).parent / "llm-comply"), "-u", stack.base_url, "-k", "any", "-m", "glm-4.6v"]
        result = subprocess.run(
            [*command, "--format", api, *options, "--json"], capture_output=True, text=True, check=False
        )
        report = json.loads(result.stdout)
        failed = [one for one in report["results"] if one["status"] not in ("passed", "skipped")]
        assert failed == []
        assert result.returncode == 0
        # One check is for models with certain names.
        assert sum(one["status"] == "passed" for one in report["results"]) >= len(report["results"]) - 1 > 0
