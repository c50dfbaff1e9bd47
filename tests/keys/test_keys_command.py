"""``ztoapi keys``: what it prints, what it writes, what it refuses."""

import json
import os
from pathlib import Path

import pytest

from tests.keys.files import read
from ztoapi.cli.main import main
from ztoapi.config.keys import KeyRing
from ztoapi.config.load import load
from ztoapi.config.model import TrafficLimits
from ztoapi.server.context import ServerContext

NOW = 1_795_435_200.0
"""2026-11-23T12:00:00Z"""


@pytest.fixture(autouse=True)
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "keys.toml"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", {"ZTOAPI_KEY_FILE": "keys.toml"})
    monkeypatch.setattr(ServerContext, "wall_clock", staticmethod(lambda: NOW))
    return path


def test_a_key_is_printed_once_alone_and_works(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "create", "--name", "alice", "--models", "glm-4.6,GLM-4.5*", "--burst", "3",
                 "--requests-per-minute", "60"]) == 0  # fmt: skip
    shown = capsys.readouterr()
    (text,) = shown.out.splitlines()
    assert text not in shown.err
    assert f"A gateway with the key file {path} loads it within 2 seconds." in shown.err
    assert text not in path.read_text()
    assert text[20:] not in path.read_text()
    key = KeyRing(load({}, environ=os.environ, directory=Path.cwd()).config).find(text.encode())
    assert key is not None
    assert (key.name, key.models) == ("alice", ("glm-4.6", "glm-4.5*"))
    assert key.limits == TrafficLimits(requests_per_minute=60, burst=3)


def test_every_limit_has_an_option(path: Path) -> None:
    options = [f"--{name.replace('_', '-')}={number}" for number, name in enumerate(TrafficLimits.__struct_fields__, 1)]
    assert main(["keys", "create", "--name", "alice", *options]) == 0
    assert list(vars_of(read(path)["alice"].limits)) == list(range(1, len(options) + 1))


def vars_of(limits: TrafficLimits) -> list[object]:
    return [getattr(limits, name) for name in TrafficLimits.__struct_fields__]


@pytest.mark.parametrize(
    ("expires", "written"),
    [
        ("90d", "2027-02-21T12:00:00+00:00"),
        ("12h", "2026-11-24T00:00:00+00:00"),
        ("4w", "2026-12-21T12:00:00+00:00"),
        ("2027-01-31", "2027-01-31T00:00:00+00:00"),
        ("2027-01-31T10:00:00+02:00", "2027-01-31T10:00:00+02:00"),
    ],
)
def test_an_expiry_is_a_time_from_now_or_a_date(path: Path, expires: str, written: str) -> None:
    assert main(["keys", "create", "--name", "alice", "--expires", expires]) == 0
    key = read(path)["alice"]
    assert key.expires is not None
    assert key.expires.isoformat() == written


def test_all_that_is_wrong_comes_at_once_and_nothing_is_written(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "create", "--name", "a b", "--models", ",", "--expires", "soon", "--burst", "x"]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert [line.removeprefix("ztoapi keys: ").partition(":")[0] for line in shown.err.splitlines()] == [
        "--name (command line)",
        "--models (command line)",
        "--expires (command line)",
        "--burst (command line)",
        "--burst (command line)",
    ]
    assert not path.exists()


@pytest.mark.parametrize("expires", ["2026-11-23", "0d", "2026-11-23T12:00:00Z"])
def test_an_expiry_lies_ahead(expires: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "create", "--name", "alice", "--expires", expires]) == 2
    assert "--expires (command line): is in the past" in capsys.readouterr().err


@pytest.mark.parametrize("expires", ["", "90", "d", "99999d", "-1d", "2027-13-01", "2027-01-31T00:00:00", "9999-99-99"])
def test_an_expiry_that_is_no_time_is_refused(path: Path, expires: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "create", "--name", "alice", f"--expires={expires}"]) == 2
    assert "--expires (command line): must" in capsys.readouterr().err
    assert not path.exists()


def test_keys_are_listed_with_their_state(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["keys", "create", "--name", "alice", "--models", "glm-4.6", "--max-concurrency", "2", "--expires", "1d"])
    main(["keys", "create", "--name", "bob"])
    main(["keys", "revoke", "bob"])
    path.write_text(path.read_text() + path.read_text().replace("alice", "carol").replace("bob", "dave"))
    text = path.read_text().replace("2026-11-24", "2026-11-22")
    ids = iter("abcdef")
    path.write_text("".join(f'id = "{next(ids) * 12}"\n' if line.startswith("id") else line
                            for line in text.splitlines(keepends=True)))  # fmt: skip
    capsys.readouterr()
    assert main(["keys", "list"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["NAME", "ID", "STATE", "MODELS", "EXPIRES", "LIMITS"]
    assert [row[:3] for row in rows[1:]] == [
        ["alice", "a" * 12, "expired"], ["bob", "b" * 12, "revoked"],
        ["carol", "c" * 12, "expired"], ["dave", "d" * 12, "revoked"],
    ]  # fmt: skip
    assert rows[1][3:] == ["glm-4.6", "2026-11-22T12:00:00+00:00", "max_concurrency=2"]
    assert rows[2][3:] == ["all", "never", "none"]


@pytest.mark.parametrize(
    ("upstream", "options", "models"),
    [
        ("http://127.0.0.1:8000/v1", (), "glm-5.3."),
        ("http://127.0.0.1:8000/v1", ("--models", "a,b,c,d,glm-4*"), "a, b, c and 1 more."),
        (None, ("--models", "glm-5.3,GLM-5.3-Highspeed"), "glm-5.3-highspeed."),
        (None, (), None),
    ],
)
def test_a_budget_in_dollars_needs_prices(
    path: Path,
    upstream: str | None,
    options: tuple[str, ...],
    models: str | None,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(path.parent)
    monkeypatch.setattr(os, "environ", {} if upstream is None else {"UPSTREAM_URL": upstream})
    assert main(["keys", "create", "alice", "--key-file", str(path), "--usd-per-day", "5", *options]) == 0
    said = capsys.readouterr().err
    if models is None:
        assert "warning" not in said
    else:
        assert "warning: alice: with a budget in US dollars, requests for models without a price" in said
        assert f"(403 model_not_priced): {models} Set input_price" in said
    assert main(["keys", "create", "bob", "--key-file", str(path), "--tokens-per-day", "5"]) == 0
    assert "bob: with" not in capsys.readouterr().err


def test_the_list_gives_json_without_hashes(capsys: pytest.CaptureFixture[str]) -> None:
    main(["keys", "create", "--name", "alice", "--requests-per-second", "5"])
    key = capsys.readouterr().out.strip()
    assert main(["keys", "list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [
        {
            "name": "alice",
            "id": key[7:19],
            "state": "active",
            "models": None,
            "expires": None,
            "limits": {"requests_per_second": 5},
        }
    ]


def test_a_key_is_created_by_its_name(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "create", "alice", "--tokens-per-minute", "1.5M"]) == 0
    assert main(["keys", "create", "--priority", "high", "bob"]) == 0
    assert list(read(path)) == ["alice", "bob"]
    assert read(path)["alice"].limits == TrafficLimits(tokens_per_minute=1_500_000)
    capsys.readouterr()
    assert main(["keys", "create", "a b"]) == 2
    assert "NAME (command line): must be 1 to 64 letters" in capsys.readouterr().err
    assert main(["keys", "create", "alice"]) == 2
    assert "ztoapi keys: alice is the name of an active key" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["keys", "create", "carol", "--name", "dave"])
    assert list(read(path)) == ["alice", "bob"]


def test_a_key_is_rotated_in_place(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = "alice@example.com"
    main(["keys", "create", "first"])
    main(
        ["keys", "create", name, "--models", "glm-4.6", "--expires", "1d", "--burst", "2", "--requests-per-minute", "9"]
    )
    main(["keys", "create", "last"])
    first, old, last = capsys.readouterr().out.splitlines()
    path.write_text(path.read_text().replace(f'["{name}"]', f'# the owner\n["{name}"]  # a comment'))
    before = path.read_text().splitlines()
    assert main(["keys", "rotate", name]) == 0
    shown = capsys.readouterr()
    (new,) = shown.out.splitlines()
    assert new not in shown.err + path.read_text()
    assert "loads it within 2 seconds; the old secret stops working then." in shown.err
    changed = [line for line in path.read_text().splitlines() if line not in before]
    assert [line.partition(" ")[0] for line in changed] == ["id", "hash"]
    assert len(path.read_text().splitlines()) == len(before)
    keys = KeyRing(load({}, environ=os.environ, directory=Path.cwd()).config)
    assert [key and key.name for key in (keys.find(text.encode()) for text in (first, old, new, last))] == [
        "first", None, name, "last",
    ]  # fmt: skip
    assert read(path)[name].models == ("glm-4.6",)


@pytest.mark.parametrize("action", ["rotate", "show", "revoke"])
def test_a_key_that_does_not_exist(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["keys", "create", "alice"])
    assert main(["keys", action, "alcie"]) == 2
    assert "ztoapi keys: no key of this name" in (message := capsys.readouterr().err)
    assert "did you mean alice?" in message


def test_a_revoked_key_is_not_rotated(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["keys", "create", "alice"])
    main(["keys", "revoke", "alice"])
    text = path.read_text()
    assert main(["keys", "rotate", "alice"]) == 2
    assert "ztoapi keys: alice is revoked: create a key of another name" in capsys.readouterr().err
    assert path.read_text() == text


def test_a_table_of_another_form_is_not_rotated(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["keys", "create", "alice"])
    _, id, hash = path.read_text().splitlines()
    path.write_text(f"alice = {{ {id}, {hash} }}\n")
    text = path.read_text()
    assert main(["keys", "rotate", "alice"]) == 2
    assert "edit it by hand" in capsys.readouterr().err
    assert path.read_text() == text


def test_one_key_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    main(["keys", "create", "alice", "--tokens-per-minute", "5k", "--priority", "high", "--expires", "1d"])
    main(["keys", "create", "bob"])
    id = capsys.readouterr().out[7:19]
    assert main(["keys", "show", "alice"]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["FIELD", "VALUE"], ["NAME", "alice"], ["ID", id], ["STATE", "active"], ["MODELS", "all"],
        ["EXPIRES", "2026-11-24T12:00:00+00:00"], ["PRIORITY", "high"], ["tokens_per_minute", "5000"],
    ]  # fmt: skip
    main(["keys", "list", "--json"])
    first, _ = json.loads(capsys.readouterr().out)
    assert main(["keys", "show", "alice", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {**first, "priority": "high"}


def test_a_key_is_revoked_by_its_name(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["keys", "create", "--name", "alice"])
    assert main(["keys", "revoke", "alice"]) == 0
    assert read(path)["alice"].revoked
    assert main(["keys", "revoke", "alice"]) == 0
    assert "was already revoked" in capsys.readouterr().err
    assert main(["keys", "revoke", "alcie"]) == 2
    assert "ztoapi keys: no key of this name" in (message := capsys.readouterr().err)
    assert "did you mean alice?" in message
    assert main(["keys", "revoke", "zebra"]) == 2
    assert "ztoapi keys list" in capsys.readouterr().err


def test_a_key_given_for_its_name_is_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    main(["keys", "create", "--name", "alice"])
    text = capsys.readouterr().out.strip()
    assert main(["keys", "revoke", text]) == 2
    assert main(["keys", "create", "--name", text]) == 2
    assert text not in capsys.readouterr().err


def test_the_file_is_the_configured_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", {})
    (tmp_path / "ztoapi.toml").write_text("key_file = 'a.toml'\n[server]\nhost = '0.0.0.0'\n")
    (tmp_path / "other.toml").write_text("key_file = 'b.toml'\n")
    assert main(["keys", "create", "--name", "alice"]) == 0
    assert main(["keys", "create", "--name", "alice", "--config", "other.toml"]) == 0
    assert main(["keys", "create", "--name", "alice", "--key-file", "c.toml"]) == 0
    assert sorted(path.name for path in tmp_path.glob("?.toml")) == ["a.toml", "b.toml", "c.toml"]


def test_without_a_file_the_error_has_the_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "environ", {})
    assert main(["keys", "list"]) == 2
    assert "key_file (not set): name the key file: --key-file FILE, ZTOAPI_KEY_FILE" in capsys.readouterr().err
    assert main(["keys", "create", "--name", "alice", "--key-file", "none/keys.toml"]) == 2
    assert "none: No such file or directory: name a file in a directory that you may write" in capsys.readouterr().err


@pytest.mark.parametrize("action", [["list"], ["create", "--name", "bob"], ["revoke", "alice"]])
def test_a_broken_file_is_reported_and_left_alone(
    path: Path, action: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path.write_text("[alice]\nexpires = 1\n")
    assert main(["keys", *action]) == 2
    assert f"alice.expires ({path} line 2): must be a date" in capsys.readouterr().err
    assert path.read_text() == "[alice]\nexpires = 1\n"


def test_check_covers_the_key_file(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["keys", "create", "--name", "alice", "--models", "glm-4.6"])
    capsys.readouterr()
    assert main(["check", "--all"]) == 0
    shown = capsys.readouterr().out
    assert f'key_file = "{path}"  # ZTOAPI_KEY_FILE (environment)' in shown
    assert f'keys.alice.models = ["glm-4.6"]  # alice ({path})' in shown
    assert "blake2b" not in shown
    path.write_text("[alice]\nexpires = 1\n")
    assert main(["check", "--port", "x"]) == 2
    shown = capsys.readouterr().err
    assert "--port (command line)" in shown
    assert f"alice.expires ({path} line 2)" in shown


def test_an_action_is_needed() -> None:
    with pytest.raises(SystemExit) as caught:
        main(["keys"])
    assert caught.value.code == 2
