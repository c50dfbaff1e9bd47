"""Claude Code and Codex complete a task of several turns, and each request continues the one before it.

The upstream's prompt cache depends on it: the messages of request n + 1 begin with those of request n, byte for byte.
"""

import itertools
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.clients.installing import install
from tests.clients.isolation import loopback_only
from tests.clients.recipes import RECIPES, Recipe, task
from tests.clients.running import run_client
from tests.processes.gateway_process import gateway
from tests.stack import Stack
from ztoapi.server.exchange import Exchange

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]

AGENTS = [recipe for recipe in RECIPES if recipe.client in ("claude", "codex")]
MODEL = "glm-5.3"


@pytest.fixture(params=AGENTS, ids=lambda recipe: recipe.id)
def recipe(request: pytest.FixtureRequest) -> Recipe:
    found: Recipe = request.param
    return found


def record_requests(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, msgspec.Raw]]:
    """Return a list that gets the fields of each request to the simulator, undecoded."""
    requests: list[dict[str, msgspec.Raw]] = []
    begin = stack.simulator.stats.begin

    def record(exchange: Exchange, model: str, **settings: bool) -> Any:  # noqa: ANN401 - the simulator's own
        requests.append(msgspec.json.decode(bytes(exchange.request_body), type=dict[str, msgspec.Raw]))
        return begin(exchange, model, **settings)

    monkeypatch.setattr(stack.simulator.stats, "begin", record)
    return requests


@pytest.mark.parametrize("workers", [1, 2])
def test_each_request_begins_with_the_one_before(
    recipe: Recipe, workers: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation = install(recipe.packages)
    notes = tmp_path / "notes.txt"
    notes.write_text("The old text.\n")
    prompt = task(recipe.calls).replace("$dir", str(tmp_path))
    with loopback_only(), Stack() as stack, gateway(stack, WORKERS=str(workers)) as process:
        requests = record_requests(stack, monkeypatch)
        finished = run_client(recipe, installation, process.url, tmp_path, prompt, MODEL, task=True)
    assert finished.code == 0, finished.output
    assert "The new text." in finished.output
    assert notes.read_text() == "The new text.\n"
    requests = [request for request in requests if bytes(request["model"]) == f'"{MODEL}"'.encode()]
    assert len(requests) == len(recipe.calls) + 1
    conversations = [
        [bytes(message) for message in msgspec.json.decode(request["messages"], type=list[msgspec.Raw])]
        for request in requests
    ]
    for before, after in itertools.pairwise(conversations):
        assert after[: len(before)] == before
        assert len(after) > len(before)
    assert len({bytes(request["tools"]) for request in requests}) == 1
