"""The Node SDK, unmodified, against gateway and simulator. ``npm install --prefix tests/node`` comes first."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.stack import Stack
from ztoapi.errors import Ending

HERE = Path(__file__).parent

pytestmark = [
    pytest.mark.node,
    pytest.mark.skipif(
        not (HERE / "node_modules" / "openai").is_dir(), reason="run npm install --prefix tests/node first"
    ),
]


def test_openai_node() -> None:
    with Stack() as stack:
        result = subprocess.run(
            ["node", "client.mjs"],
            cwd=HERE,
            env={**os.environ, "BASE_URL": stack.base_url},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        seen = json.loads(result.stdout)
        assert seen["streamed"] == seen["whole"]
        assert seen["whole"].startswith("Gateways that stream well")
        assert (seen["usage"], seen["finish"]) == (36, "stop")
        assert seen["tool"]["name"] == "add"
        assert json.loads(seen["tool"]["arguments"]) == {"a": 2}
        assert "glm-4.6" in seen["models"]
        assert (seen["limited"], seen["invalid"]) == ("RateLimitError", "BadRequestError")
        assert seen["cut"] != "no error"
        stack.wait_for(lambda: stack.simulator.stats.cancels == 1)
        assert stack.records()[-1].ending is Ending.CLIENT_DISCONNECT
