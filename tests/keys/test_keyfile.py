"""The key file: its valid contents, the messages for invalid ones, and the commands that change it."""

import datetime
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.keys.files import FAR_AWAY, add, problems, read
from tests.support.waiting import WAIT_SECONDS
from ztoapi.config.keyfile import add_key, read_key_file, revoke_key
from ztoapi.config.model import TrafficLimits
from ztoapi.config.sources import Problems
from ztoapi.errors import ConfigError

ENTRY = f'id = "{"0" * 12}"\nhash = "blake2b:{"0" * 32}:{"0" * 64}"\n'
MAKER = """
import sys
from pathlib import Path
from tests.keys.files import add
for number in range(20):
    add(Path(sys.argv[1]), f"{sys.argv[2]}-{number}")
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


def test_every_field_is_read_back(path: Path) -> None:
    limits = {name: number for number, name in enumerate(TrafficLimits.__struct_fields__, 1)}
    add(path, "alice", models=["GLM-4.6", "glm-4.5*"], expires=FAR_AWAY, **limits)
    key = read(path)["alice"]
    assert (key.models, key.expires, key.limits) == (("glm-4.6", "glm-4.5*"), FAR_AWAY, TrafficLimits(**limits))
    assert not key.revoked


def test_without_fields_a_key_is_for_everything(path: Path) -> None:
    add(path, "alice")
    key = read(path)["alice"]
    assert key.allows("anything")
    assert not key.expired(FAR_AWAY.timestamp())
    assert key.limits == TrafficLimits()


@pytest.mark.parametrize(
    ("pattern", "allowed", "refused"),
    [
        ("glm-4.6", ["glm-4.6", "GLM-4.6"], ["glm-4.6-air", "glm-4.", "xglm-4.6", "glm-4x6", "glm-4.6\n"]),
        ("GLM-4.5*", ["glm-4.5", "GLM-4.5-air"], ["glm-4.6", "x-glm-4.5"]),
        ("*/glm-*-air", ["z.ai/glm-4.5-air"], ["glm-4.5-air", "z.ai/glm-4.5-air2"]),
    ],
)
def test_models_are_patterns(path: Path, pattern: str, allowed: list[str], refused: list[str]) -> None:
    add(path, "alice", models=[pattern, "other"])
    key = read(path)["alice"]
    assert [model for model in [*allowed, *refused] if key.allows(model)] == allowed


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2027-01-31", datetime.datetime(2027, 1, 31, tzinfo=datetime.UTC)),
        ("'2027-01-31'", datetime.datetime(2027, 1, 31, tzinfo=datetime.UTC)),
        ("2027-01-31T10:00:00+02:00", datetime.datetime(2027, 1, 31, 8, tzinfo=datetime.UTC)),
    ],
)
def test_an_expiry_is_the_first_moment_of_refusal(path: Path, written: str, moment: datetime.datetime) -> None:
    path.write_text(f"[a]\n{ENTRY}expires = {written}\n")
    key = read(path)["a"]
    assert key.expires == moment
    assert key.expired(moment.timestamp())
    assert not key.expired(moment.timestamp() - 0.001)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("alice = 3\n", "alice (FILE line 1): must be a table"),
        ("\n[alice]\n", "alice.id (FILE line 2): required: create the key with `ztoapi keys create`"),
        (f"[a]\n{ENTRY}model = ['x']\n", "a.model (FILE line 4): unknown field; did you mean models?"),
        (f"[a]\n{ENTRY}models = []\n", "a.models (FILE line 4): must name at least one model"),
        (f"[a]\n{ENTRY}models = ['glm-[45]']\n", "a.models (FILE line 4): must be names of models, with *"),
        (f"[a]\n{ENTRY}models = 4\n", "a.models (FILE line 4): must be a list of strings"),
        (f"[a]\n{ENTRY}expires = 'soon'\n", "a.expires (FILE line 4): must be a date, or a time"),
        (f"[a]\n{ENTRY}expires = 4\n", "a.expires (FILE line 4): must be a date, or a time"),
        (f"[a]\n{ENTRY}expires = 2027-01-31T00:00:00\n", "a.expires (FILE line 4): must have an offset from UTC"),
        (f"[a]\n{ENTRY}revoked = 'no'\n", "a.revoked (FILE line 4): must be true or false"),
        (f"[a]\n{ENTRY}max_concurrency = 0\n", "a.max_concurrency (FILE line 4): must be a whole number from 1"),
        (f"[a]\n{ENTRY}tokens_per_minute = 1.5\n", "a.tokens_per_minute (FILE line 4): must be a whole number"),
        (f"[a]\n{ENTRY}burst = 5\n", "a.burst (FILE line 4): requires requests_per_second or requests_per_minute"),
        (f"[a]\n{ENTRY}[b]\n{ENTRY}", "b.id (FILE line 5): duplicate of the id of a"),
        (f"[default]\n{ENTRY}", "the name of a key (FILE line 1): default is reserved for DEFAULT_KEY"),
        (f"[api-key-3]\n{ENTRY}", "the name of a key (FILE line 1): api-key-3 is reserved for DEFAULT_KEY"),
        (f"[a.b]\n{ENTRY}", 'a.b (FILE line 1): unknown field; quote a name with a dot'),
        ('[a]\nid = "0"\n', "a.id (FILE line 2): invalid: create the key"),
        (f"[a]\n{ENTRY}[a]\n", "FILE: not valid TOML"),
        ("[a]\nid = \n", "FILE: not valid TOML: Invalid value (at line 2, column 6), in the value of id: "),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_field_and_line(path: Path, text: str, expected: str) -> None:
    path.write_text(text)
    assert problems(path)[0].startswith(expected)


def test_all_that_is_wrong_comes_at_once(path: Path) -> None:
    path.write_text(f"[a]\n{ENTRY}burst = 1\nexpires = 1\n[b]\nrevoked = 1\n")
    assert [line.split(" ")[0] for line in problems(path)] == ["a.expires", "a.burst", "b.id", "b.hash", "b.revoked"]


@pytest.mark.parametrize("name", ["sk-zto-" + "a" * 61, "sk-zto-short", "", "a b", "-a", "a/b", "a" * 65])
def test_what_cannot_be_a_name_may_be_a_key_and_is_not_repeated(path: Path, name: str) -> None:
    path.write_text(f'["{name}"]\n{ENTRY}')
    (problem,) = problems(path)
    assert problem.startswith("the name of a key (FILE line 1): must be 1 to 64 letters")
    assert name == "" or name not in problem


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (Path.touch, None),
        (Path.mkdir, "is a directory: name a file"),
        (lambda path: path.write_bytes(b"\xff"), "is not valid UTF-8 (byte 0)"),
        (Path.exists, "file not found: create it with `ztoapi keys create NAME --key-file FILE`"),
    ],
)
def test_files_that_cannot_be_read_are_named(path: Path, spoil: object, expected: str | None) -> None:
    assert callable(spoil)
    spoil(path)
    assert problems(path) == [] if expected is None else problems(path)[0].startswith("key file: FILE")
    assert expected is None or expected in problems(path)[0]


@pytest.mark.parametrize(
    "value", ["0x" + "f" * 5000, "9" * 5000, "[" * 5000, "1e999", "nan", "{a.b.c = 1}", "2027-99-99"]
)
@pytest.mark.parametrize("field", ["id", "hash", "models", "expires", "revoked", "burst"])
def test_no_value_gets_through_the_reading(path: Path, field: str, value: str) -> None:
    path.write_text(f"[a]\n{field} = {value}\n")
    assert problems(path)


@given(st.text(alphabet="[]a.=\"'\n\\#{}, 1-:Tx", max_size=60), st.integers(0, 130))
def test_no_text_gets_through_the_reading(tmp_path_factory: pytest.TempPathFactory, text: str, place: int) -> None:
    path = tmp_path_factory.getbasetemp() / "spoilt.toml"
    whole = f"[a]\n{ENTRY}"
    path.write_text(whole[:place] + text + whole[place:], newline="")
    found = Problems()
    keys = read_key_file(path, found, [])
    assert found.lines or all(key.id is not None and key.hash is not None for key in keys)


def test_a_file_that_others_may_write_is_warned_of(path: Path) -> None:
    add(path, "alice")
    for mode, warned in ((0o600, False), (0o644, False), (0o660, True), (0o602, True)):
        path.chmod(mode)
        warnings: list[str] = []
        read_key_file(path, Problems(), warnings)
        assert any("chmod 600" in warning for warning in warnings) is warned


def test_comments_and_order_stay(path: Path) -> None:
    path.write_text(f"# whose keys these are\n\n['bob.b']  # left\n# why\n{ENTRY}models = [ 'a',\n 'b' ] # two\n# end")
    before = path.read_text()
    add(path, "alice")
    assert path.read_text().startswith(before + "\n\n[alice]\nid = ")
    assert revoke_key(path, "bob.b")
    assert path.read_text().startswith(before.replace("# left\n", "# left\nrevoked = true\n"))
    assert {name: key.revoked for name, key in read(path).items()} == {"bob.b": True, "alice": False}
    assert not revoke_key(path, "bob.b")


def test_the_file_is_for_its_owner_and_keeps_whose_it_is(path: Path) -> None:
    add(path, "alice")
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o646)
    if os.geteuid() == 0:
        os.chown(path, 1234, 1235)
    owner = path.stat()
    add(path, "bob")
    assert path.stat().st_mode & 0o777 == 0o640
    assert (path.stat().st_uid, path.stat().st_gid) == (owner.st_uid, owner.st_gid)
    assert [found.name for found in path.parent.iterdir()] == ["keys.toml"]


def test_a_link_to_the_file_stays_one(path: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    path.symlink_to(tmp_path / "real" / "keys.toml")
    add(path, "alice")
    revoke_key(path, "alice")
    assert path.is_symlink()
    assert read(path)["alice"].revoked


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        (f"[a]\n{ENTRY}", "b", "no key of this name"),
        (f"[a]\n{ENTRY}burst = 1\n", "a", "a.burst"),
        (f"[a]\n{ENTRY}revoked = false\n", "a", "edit it by hand"),
        ("a = { id = '000000000000', hash = 'blake2b:" + "0" * 32 + ":" + "0" * 64 + "' }\n", "a", "edit it by hand"),
    ],
)
def test_what_cannot_be_revoked_leaves_the_file_as_it_was(path: Path, text: str, name: str, expected: str) -> None:
    path.write_text(text)
    with pytest.raises(ConfigError, match=expected):
        revoke_key(path, name)
    assert path.read_text() == text


def test_a_name_is_given_once(path: Path) -> None:
    add(path, "alice")
    with pytest.raises(ConfigError, match="name of an active key"):
        add(path, "alice")
    revoke_key(path, "alice")
    with pytest.raises(ConfigError, match=re.escape("(" + str(path) + " line 1): choose another, or delete its table")):
        add_key(path, "alice", {})


def test_nothing_is_lost_when_many_change_the_file_at_once(path: Path) -> None:
    makers = [subprocess.Popen([sys.executable, "-c", MAKER, str(path), name]) for name in "abcd"]
    assert [maker.wait(WAIT_SECONDS) for maker in makers] == [0] * 4
    assert len(read(path)) == 80


def test_a_reader_never_sees_half_a_file(path: Path) -> None:
    add(path, "first")
    maker = subprocess.Popen([sys.executable, "-c", MAKER, str(path), "a"])
    seen = set()
    while maker.poll() is None:
        seen.add(len(read(path)))
    assert maker.returncode == 0
    assert max(seen) <= 21


def test_a_process_killed_while_changing_the_file_leaves_no_lock(path: Path) -> None:
    script = "import sys, signal, ztoapi.config.keyfile as f\nfrom pathlib import Path\n"
    script += "with f._locked(Path(sys.argv[1])):\n    print('in', flush=True)\n    signal.pause()\n"
    holder = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert holder.stdout.readline() == b"in\n"
    holder.send_signal(signal.SIGKILL)
    holder.wait(WAIT_SECONDS)
    holder.stdout.close()
    add(path, "alice")
    assert list(read(path)) == ["alice"]
