"""Each client against gateway and simulator: it streams, its tools run, and it survives faults."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.clients.installing import install, pinned_version
from tests.clients.isolation import loopback_only
from tests.clients.recipes import ENDS, HELLO, RECIPES, Recipe, task
from tests.clients.running import Finished, run_client
from tests.stack import Stack

pytestmark = [pytest.mark.clients, pytest.mark.timeout(600)]

MOST_REQUESTS = 30
"""Codex makes that many after a lasting error, the most of all clients."""
ERROR = re.compile(r"error|fail|limit|closed|exception|interrupted|terminated|lost|try again", re.IGNORECASE)


class Run(NamedTuple):
    """A client that has ended, and the statuses of its requests with the main model."""

    finished: Finished
    statuses: list[int]

    @property
    def whole(self) -> bool:
        """Whether the output has the end of the response."""
        output = " ".join(self.finished.output.split())
        return any(end in output for end in ENDS)

    @property
    def reported(self) -> bool:
        """Whether the client has reported a failure."""
        return self.finished.code not in (0, None) or bool(ERROR.search(self.finished.output))


Runner = Callable[..., Run]


@pytest.fixture(params=RECIPES, ids=lambda recipe: recipe.id)
def recipe(request: pytest.FixtureRequest) -> Recipe:
    found: Recipe = request.param
    return found


@pytest.fixture
def run(recipe: Recipe, tmp_path: Path) -> Runner:
    """Runs the client; its main model has ``fault`` in the simulator."""
    installation = install(recipe.packages)

    def run(prompt: str, *, fault: str = "", with_tools: bool = False) -> Run:
        model = "glm-4.6" if fault else "glm-5.3"
        routes: Mapping[str, object] = {model: {"upstream": f"{model}:{fault}"}} if fault else {}
        with (
            loopback_only(),
            # The gateway leaves every retry to the client.
            Stack(toml="[upstream]\nmax_tries = 1\n", MODEL_PLATFORM_MAP=json.dumps(routes)) as stack,
        ):
            finished = run_client(recipe, installation, stack.url, tmp_path, prompt, model, task=with_tools)
            records = [record for record in stack.records() if record.model == model]
        assert finished.code is not None, f"it did not end: {finished.output}"
        return Run(finished, [record.status for record in records])

    return run


@pytest.fixture
def result(
    recipe: Recipe, record_property: Callable[[str, object], None], request: pytest.FixtureRequest
) -> Iterator[list[str]]:
    """The outcome of the check, for the table of clients."""
    outcome: list[str] = []
    yield outcome
    if outcome:
        check = request.node.originalname.removeprefix("test_")
        version = pinned_version(recipe.packages, recipe.package)
        record_property("client", [recipe.client, recipe.api, version, check, outcome[0]])


def test_stream(run: Runner, result: list[str]) -> None:
    seen = run(HELLO)
    assert seen.finished.code == 0, seen.finished.output
    assert seen.whole, seen.finished.output
    assert set(seen.statuses) == {200}
    result.append("yes")


def test_tools(recipe: Recipe, run: Runner, tmp_path: Path, result: list[str]) -> None:
    if not recipe.calls:
        pytest.skip("the client has no tools of its own")
    notes = tmp_path / "notes.txt"
    notes.write_text("The old text.\n")
    seen = run(task(recipe.calls).replace("$dir", str(tmp_path)), with_tools=True)
    assert seen.finished.code == 0, seen.finished.output
    assert ("The new text." if recipe.edits else "The result: 5") in seen.finished.output
    assert notes.read_text() == ("The new text.\n" if recipe.edits else "The old text.\n")
    assert seen.statuses[: len(recipe.calls) + 1] == [200] * (len(recipe.calls) + 1)
    result.append("yes")


def test_error(run: Runner, result: list[str]) -> None:
    seen = run(HELLO, fault="fault=1210")
    assert seen.reported and not seen.whole, seen.finished.output
    assert set(seen.statuses) == {400}
    assert len(seen.statuses) <= MOST_REQUESTS
    result.append(f"reported after {len(seen.statuses)}")


def test_rate_limit(run: Runner, result: list[str]) -> None:
    seen = run(HELLO, fault="fault=1302:fault_times=1:retry_after=1")
    assert seen.statuses[0] == 429
    assert seen.whole or seen.reported, seen.finished.output
    result.append("retried" if seen.whole else "reported")


def test_cut_stream(run: Runner, result: list[str]) -> None:
    seen = run(HELLO, fault="itl=1:fault=truncate:fault_times=1")
    assert seen.whole or seen.reported, seen.finished.output
    result.append("retried" if seen.whole else "reported")
