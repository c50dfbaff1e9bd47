"""The command line of locust that ``ztoapi load`` starts."""

import importlib.util
import itertools
import os

import pytest

from ztoapi.cli.main import main


@pytest.mark.parametrize(("more", "address"), [([], "127.0.0.1"), (["--", "--web-host", "0.0.0.0"], "0.0.0.0")])
def test_the_web_page_is_local_unless_the_user_sets_its_address(
    monkeypatch: pytest.MonkeyPatch, more: list[str], address: str
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(os, "execv", lambda _, command: commands.append(command))
    main(["load", "all", "--web", *more])
    [command] = commands
    values = [value for name, value in itertools.pairwise(command) if name == "--web-host"]
    assert values[-1] == address  # locust uses the last of several values
