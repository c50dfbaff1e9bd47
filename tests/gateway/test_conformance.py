"""An independent conformance suite: llm-comply, with OpenAI's own schema."""

import json
import subprocess
import sys
from pathlib import Path

from tests.stack import Stack


def test_llm_comply_finds_nothing_against_z_ai() -> None:
    # A model that accepts images: the suite sends one.
    with Stack() as stack:
        command = [str(Path(sys.executable).parent / "llm-comply"), "-u", stack.base_url, "-k", "any", "-m", "glm-4.6v"]
        result = subprocess.run(
            [*command, "--format", "openai-chat", "--json"], capture_output=True, text=True, check=False
        )
        report = json.loads(result.stdout)
        failed = [one for one in report["results"] if one["status"] not in ("passed", "skipped")]
        assert failed == []
        assert result.returncode == 0
