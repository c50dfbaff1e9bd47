"""``ztoapi.toml``: options and their lines."""

import pytest

from ztoapi.config.tomlfile import Option, parse


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("", {}),
        ("a = 1\n\n[server]\n# x = 1\nport = 2", {"a": Option(1, 1), "server.port": Option(2, 5)}),
        ("server.port = 2", {"server.port": Option(2, 1)}),
        ("\nserver = { port = 2 }", {"server.port": Option(2, 2)}),
        ("[ 'server' ]\n\"port\" = 2", {"server.port": Option(2, 2)}),
        ("server = 3", {"server": Option(3, 1)}),
        ("[map]\na = 'b'\n[map.c]\nd = 'e'", {"map": Option({"a": "b", "c": {"d": "e"}}, 1)}),
        ("[map.c]\nd = 'e'", {"map": Option({"c": {"d": "e"}}, 1)}),
        ("a = [\n  'b',\n]\nc = 1", {"a": Option(["b"], 1), "c": Option(1, 4)}),
    ],
)
def test_options_know_their_lines(text: str, options: dict[str, Option]) -> None:
    assert parse(text) == options
