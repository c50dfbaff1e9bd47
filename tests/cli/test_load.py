"""The command line of locust that ``ztoapi load`` starts."""

import importlib.util
import itertools
import os
from pathlib import Path

import pytest

from ztoapi.cli.main import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would replace the process."""
    commands: list[list[str]] = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(os, "execv", lambda _, command: commands.append(command))
    return commands


@pytest.mark.parametrize(("more", "address"), [([], "127.0.0.1"), (["--", "--web-host", "0.0.0.0"], "0.0.0.0")])
def test_the_web_page_is_local_unless_the_user_sets_its_address(
    commands: list[list[str]], more: list[str], address: str
) -> None:
    main(["load", "all", "--web", *more])
    [command] = commands
    values = [value for name, value in itertools.pairwise(command) if name == "--web-host"]
    assert values[-1] == address  # locust uses the last of several values


@pytest.mark.parametrize(
    ("arguments", "warning"),
    [
        (["slow_readers"], "warning: slow_readers: ordinary responses fit into the buffers; add --simulated if"),
        (["slow_readers", "--simulated"], ""),
        (["tenants"], "warning: tenants: each key is a tenant; pass several, as in --key green,amber,red"),
        (["tenants", "--key", "a,b"], ""),
        (["steady"], ""),
    ],
)
def test_a_scenario_without_its_effect_gets_a_warning(
    arguments: list[str],
    warning: str,
    commands: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(os, "environ", {})
    main(["load", *arguments])
    assert commands
    written = capsys.readouterr().err
    assert written.startswith(warning) if warning else written == ""


def test_several_keys_may_be_in_the_environment(
    commands: list[list[str]], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "environ", {"ZTOAPI_LOAD_KEY": "a,b"})
    main(["load", "tenants"])
    assert commands
    assert capsys.readouterr().err == ""


def test_the_manual_states_the_arguments_of_locust(
    commands: list[list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    main(["load", "--path"])
    folder = capsys.readouterr().out.strip()
    main(["load", "steady"])
    line = " ".join(["locust", *commands[0][3:]]).replace(folder, "$(ztoapi load --path)")
    assert f"\n{line}\n" in (ROOT / "docs/load-tests.md").read_text("utf-8")
