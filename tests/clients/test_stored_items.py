"""The AI SDK refers to stored items unless ``store`` is false."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.clients.installing import install
from tests.clients.isolation import loopback_only
from tests.clients.recipes import ADD, PROGRAMS, task
from tests.stack import Stack

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]

STORES_NOTHING = ", providerOptions"


@pytest.mark.parametrize(("store", "statuses"), [("memory", [200, 200]), ("none", [200, 400])])
def test_ai_sdk_refers_to_stored_items(store: str, statuses: list[int], tmp_path: Path) -> None:
    program = (PROGRAMS / "ai-sdk-responses.mjs").read_text()
    assert program.count(STORES_NOTHING) == 1
    (tmp_path / "program.mjs").write_text(program.replace(STORES_NOTHING, ""))
    (tmp_path / "node_modules").symlink_to(install("node").modules)
    with loopback_only(), Stack(options=None, ZTOAPI_RESPONSES_STORE=store) as stack:
        environment = {
            "PATH": os.environ["PATH"],
            "OPENAI_BASE_URL": stack.base_url,
            "OPENAI_API_KEY": "any",
            "MODEL": "glm-5.3",
            "PROMPT": task(ADD),
        }
        command = ["node", str(tmp_path / "program.mjs")]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=True)
        records = stack.records()
    assert [record.status for record in records] == statuses
    # Without a store the message has the remedy.
    assert ("The result: 5" if store == "memory" else "if store is false") in done.stdout + done.stderr
