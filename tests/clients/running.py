"""Runs a client without a terminal, in an empty home directory, with the settings that ``ztoapi connect`` prints."""

import contextlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from tests.clients.installing import Installation
from tests.clients.recipes import ONE_WORD, PROMPT, Recipe
from ztoapi.clients.settings import GatewayAccess, Model
from ztoapi.clients.table import settings
from ztoapi.config.catalogue import zai_models

__all__ = ["Finished", "run_client"]

SECONDS = 150.0
"""A client that takes longer hangs; none takes a tenth of it on an idle machine."""
KEY = "any-key"
SMALL_MODEL = "glm-4.5-air"
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Finished(NamedTuple):
    """The exit code and the output of a client; None if it had to be stopped."""

    code: int | None
    output: str


def run_client(
    recipe: Recipe,
    installation: Installation,
    url: str,
    directory: Path,
    prompt: str,
    model: str,
    *,
    task: bool = False,
) -> Finished:
    """Run the client in ``directory``, which is its home too; ``task``: its tools run the task of the prompt."""
    models = tuple(Model(name, zai_models()[name]) for name in (model, SMALL_MODEL))
    made = settings(recipe.client, GatewayAccess(recipe.api, url, KEY, models, SMALL_MODEL))
    for file in made.files:
        path = directory / file.path.replace("~/", "", 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = recipe.program.read_text() if task and recipe.program else file.text
        path.write_text(text.replace('"Say hello."', json.dumps(prompt)))
    if installation.modules.exists() and not (directory / "node_modules").exists():
        (directory / "node_modules").symlink_to(installation.modules)
    temporary = directory / "tmp"
    temporary.mkdir(exist_ok=True)
    environment = {
        "PATH": f"{installation.programs}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(directory),
        "TMPDIR": str(temporary),
        "LANG": "C.UTF-8",
        "PROMPT": prompt,
        "MODEL": model,
        **made.environment,
        **recipe.environment,
    }
    for command in made.commands[:-1]:
        finished = _run([_expanded(word, directory) for word in command], environment, directory)
        assert finished.code == 0, finished.output
    arguments = (recipe.task_arguments if task else ()) or recipe.arguments
    command = (*made.commands[-1], *arguments)
    prompts = {PROMPT: prompt, ONE_WORD: prompt.replace(" ", "_")}
    return _run([prompts.get(word) or _expanded(word, directory) for word in command], environment, directory)


def _expanded(word: str, home: Path) -> str:
    return f"{home}/{word[2:]}" if word.startswith("~/") else word


def _run(command: list[str], environment: dict[str, str], directory: Path) -> Finished:
    with subprocess.Popen(
        command,
        env=environment,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        code: int | None
        try:
            output, _ = process.communicate(timeout=SECONDS)
            code = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
            code = None
    _end_daemons(environment)
    return Finished(code, _ESCAPES.sub("", output))


def _end_daemons(environment: Mapping[str, str]) -> None:
    """Ends the processes that a client has left in sessions of their own, such as Cline's hub: those with its home."""
    home = f"HOME={environment['HOME']}".encode()
    for entry in Path("/proc").glob("[0-9]*/environ"):
        # Of other users, or ended meanwhile.
        with contextlib.suppress(OSError):
            if home in entry.read_bytes().split(b"\0"):
                os.kill(int(entry.parent.name), signal.SIGKILL)
