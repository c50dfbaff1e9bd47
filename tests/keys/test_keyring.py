"""Which key a client has sent: found by what it sends and by nothing less."""

from pathlib import Path

import pytest

from tests.keys.files import add, read, remove
from ztoapi.config.keyfile import revoke_key
from ztoapi.config.keys import KeyRing, new_key
from ztoapi.config.model import Config, Secret


def ring(path: Path | None = None, **config: object) -> KeyRing:
    filed = {} if path is None else {"key_file": str(path), "keys": tuple(read(path).values())}
    return KeyRing(Config(**config, **filed))  # type: ignore[arg-type]  # fields by name


def name(keys: KeyRing, given: str) -> str | None:
    key = keys.find(given.encode())
    return None if key is None else key.name


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


def test_a_key_is_random_and_marked_as_ours() -> None:
    keys = [new_key() for _ in range(200)]
    for key in keys:
        prefix, zto, id, secret = key.text.split("-")
        assert (prefix, zto, id) == ("sk", "zto", key.id)
        assert len(bytes.fromhex(secret)) * 8 >= 160
        assert secret not in key.hash
    assert len({key.text for key in keys}) == len({key.id for key in keys}) == len({key.hash for key in keys}) == 200


def test_a_key_of_the_file_is_found_by_all_of_it(path: Path) -> None:
    texts = {name: add(path, name) for name in ("alice", "bob")}
    keys = ring(path)
    assert {who: name(keys, text) for who, text in texts.items()} == {"alice": "alice", "bob": "bob"}
    alice, bob = texts.values()
    for place in range(len(alice)):
        assert name(keys, alice[:place] + "x" + alice[place + 1 :]) is None
    for wrong in (alice[:-1], alice + "0", alice.upper(), "", "sk-zto-", alice[:19], alice[:20] + bob[20:]):
        assert name(keys, wrong) is None


def test_the_hash_of_a_key_is_of_no_use_as_a_key(path: Path) -> None:
    text = add(path, "alice")
    hash = read(path)["alice"].hash
    assert hash is not None
    keys = ring(path)
    for part in (hash.reveal(), *hash.reveal().split(":")):
        assert name(keys, part) is None
        assert name(keys, text[:20] + part) is None


def test_an_entry_in_another_file_is_the_same_key(path: Path, tmp_path: Path) -> None:
    text = add(path, "alice")
    other = tmp_path / "other.toml"
    other.write_text(path.read_text().replace("[alice]", "[guest]"))
    assert name(ring(other), text) == "guest"


def test_keys_of_the_environment_have_names_that_reveal_nothing() -> None:
    keys = ring(default_key=Secret("one"), api_keys=(Secret("two"), Secret("one"), Secret("three")))
    assert [name(keys, text) for text in ("one", "two", "three", "on", "ones", "", "two|three")] == [
        "default", "api-key-1", "api-key-3", None, None, None, None,
    ]  # fmt: skip


def test_numbers_do_not_depend_on_the_default_key() -> None:
    assert name(ring(api_keys=(Secret("two"),)), "two") == "api-key-1"


def test_a_key_of_the_environment_may_look_like_one_of_the_file(path: Path) -> None:
    text = add(path, "alice")
    chosen = new_key().text
    keys = ring(path, api_keys=(Secret(chosen),))
    assert (name(keys, chosen), name(keys, text)) == ("api-key-1", "alice")


def test_a_key_is_required_if_one_is_configured(path: Path) -> None:
    assert not ring().required
    assert ring(default_key=Secret("a")).required
    assert ring(api_keys=(Secret("a"),)).required
    path.touch()
    assert ring(path).required


def test_a_reload_reads_the_file(path: Path) -> None:
    alice, bob = add(path, "alice"), add(path, "bob")
    keys = ring(path, default_key=Secret("one"))
    remove(path, "alice")
    revoke_key(path, "bob")
    carol = add(path, "carol")
    assert (name(keys, alice), name(keys, carol)) == ("alice", None)
    assert keys.reload()
    assert (name(keys, alice), name(keys, carol), name(keys, "one")) == (None, "carol", "default")
    revoked = keys.find(bob.encode())
    assert revoked is not None and revoked.revoked
    assert keys.by_name.get("alice") is None
    assert keys.by_name.get("carol") == keys.find(carol.encode())


@pytest.mark.parametrize("text", ["[alice\n", "[alice]\nburst = 1\n", None])
def test_a_broken_file_changes_nothing(path: Path, text: str | None, caplog: pytest.LogCaptureFixture) -> None:
    alice = add(path, "alice")
    keys = ring(path)
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    assert not keys.reload()
    assert name(keys, alice) == "alice"
    assert str(path) in caplog.text
    assert "invalid key file; keeping the current keys" in caplog.text


def test_a_change_is_read_at_the_second_look(path: Path) -> None:
    alice = add(path, "alice")
    keys = ring(path)
    assert [keys.watch() for _ in range(3)] == [False, False, False]
    bob = add(path, "bob")
    revoke_key(path, "alice")
    assert (keys.watch(), name(keys, bob)) == (False, None)
    assert (keys.watch(), name(keys, bob)) == (True, "bob")
    revoked = keys.find(alice.encode())
    assert revoked is not None and revoked.revoked
    assert not keys.watch()


def test_a_change_between_the_start_and_the_first_look_counts(path: Path) -> None:
    add(path, "alice")
    keys = ring(path)
    bob = add(path, "bob")
    assert [keys.watch(), keys.watch()] == [False, True]
    assert name(keys, bob) == "bob"


def test_a_file_is_not_read_while_it_is_written(path: Path) -> None:
    alice = add(path, "alice")
    keys = ring(path)
    keys.watch(), keys.watch()
    whole = path.read_text()
    for part in ("", whole[:20], whole[:60]):
        path.write_text(part)
        assert not keys.watch()
        assert name(keys, alice) == "alice"
    path.write_text(whole + "# the end\n")
    assert [keys.watch(), keys.watch()] == [False, False], "the keys are the same"


@pytest.mark.parametrize("text", ["[alice\n", "[alice]\nburst = 1\n", None])
def test_a_broken_file_is_reported_once_and_read_when_it_is_good_again(
    path: Path, text: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    alice = add(path, "alice")
    good = path.read_text()
    keys = ring(path)
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    assert [keys.watch() for _ in range(5)] == [False] * 5
    assert name(keys, alice) == "alice"
    (message,) = caplog.messages
    assert message.startswith("invalid key file; keeping the current keys: ") and str(path) in message
    path.write_text(good)
    bob = add(path, "bob")
    assert [keys.watch(), keys.watch()] == [False, True]
    assert (name(keys, alice), name(keys, bob)) == ("alice", "bob")


def test_workers_read_the_file_again_after_a_broken_one(path: Path) -> None:
    """A worker reads the file later than its supervisor, and may have found the broken one in place of a revocation."""
    alice = add(path, "alice")
    supervisor, worker = ring(path), ring(path)
    revoke_key(path, "alice")
    assert [supervisor.watch(), supervisor.watch()] == [False, True]
    revoked = path.read_text()
    path.write_text("[alice\n")
    assert not worker.reload()
    assert [supervisor.watch(), supervisor.watch()] == [False, False]
    path.write_text(revoked)
    assert [supervisor.watch(), supervisor.watch()] == [False, True]
    assert worker.reload()
    key = worker.find(alice.encode())
    assert key is not None and key.revoked


def test_a_file_behind_a_link_is_watched(path: Path, tmp_path: Path) -> None:
    """As Kubernetes mounts secrets: a link changes its target."""
    for directory in ("first", "second"):
        (tmp_path / directory).mkdir()
    alice, bob = add(tmp_path / "first" / "keys", "alice"), add(tmp_path / "second" / "keys", "bob")
    link = tmp_path / "current"
    link.symlink_to("first")
    keys = KeyRing(Config(key_file=str(link / "keys"), keys=tuple(read(link / "keys").values())))
    keys.watch(), keys.watch()
    link.unlink()
    link.symlink_to("second")
    assert [keys.watch(), keys.watch()] == [False, True]
    assert (name(keys, alice), name(keys, bob)) == (None, "bob")


def test_the_last_key_gone_opens_nothing(path: Path) -> None:
    alice = add(path, "alice")
    keys = ring(path)
    path.write_text("")
    assert keys.reload()
    assert keys.required
    assert name(keys, alice) is None


def test_it_shows_names_only(path: Path) -> None:
    add(path, "alice")
    assert repr(ring(path, default_key=Secret("one"))) == "<KeyRing default, alice>"
    assert "blake2b" not in repr(read(path)["alice"])
