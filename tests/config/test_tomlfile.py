"""``ztoapi.toml``: options and their lines."""

from tests.support.table import table
from ztoapi.config.tomlfile import Value, parse


@table(
    ("text", "options"),
    [
        ("", {}),
        ("a = 1\n\n[server]\n# x = 1\nport = 2", {"a": Value(1, 1), "server.port": Value(2, 5)}),
        ("server.port = 2", {"server.port": Value(2, 1)}),
        ("\nserver = { port = 2 }", {"server.port": Value(2, 2)}),
        ("[ 'server' ]\n\"port\" = 2", {"server.port": Value(2, 2)}),
        ("server = 3", {"server": Value(3, 1)}),
        ("[map]\na = 'b'\n[map.c]\nd = 'e'", {"map": Value({"a": "b", "c": {"d": "e"}}, 1)}),
        ("[map.c]\nd = 'e'", {"map": Value({"c": {"d": "e"}}, 1)}),
        ("a = [\n  'b',\n]\nc = 1", {"a": Value(["b"], 1), "c": Value(1, 4)}),
    ],
)
def test_options_know_their_lines(text: str, options: dict[str, Value]) -> None:
    assert parse(text, ("server", "limits")) == options
