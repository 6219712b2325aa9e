"""Does the key file keep keys, keep them secret, and tell the server of changes?"""

import re
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from hearth.api.keys import LOOK_S, KeyFile, KeyFileBroken
from hearth.model.ids import AccountId

ACCOUNT = AccountId("123456789012")


class StoppedClock:
    """Moves only when a test says so."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic_s(self) -> float:
        return self.now_s

    def utc(self) -> datetime:
        return datetime.fromtimestamp(self.now_s, UTC)

    def epoch_ms(self) -> int:
        return int(self.now_s * 1000)


def test_a_key_looks_like_one_of_awss(tmp_path: Path) -> None:
    key = KeyFile(tmp_path / "keys.json", StoppedClock()).add(ACCOUNT, "ann")
    assert re.fullmatch("AKIA[A-Z2-7]{16}", key.access_key)
    assert re.fullmatch("[A-Za-z0-9+/]{40}", key.secret)
    assert key.user_arn == "arn:aws:iam::123456789012:user/ann"
    assert key.secret not in repr(key)


def test_keys_outlive_the_process_that_made_them(tmp_path: Path) -> None:
    path = tmp_path / "new" / "keys.json"
    first = KeyFile(path, StoppedClock())
    keys = [first.add(ACCOUNT, user) for user in ("ann", "bob")]
    second = KeyFile(path, StoppedClock())
    assert second.list() == keys
    assert second.find(keys[1].access_key) == keys[1]
    assert second.find("AKIANOSUCHKEY") is None


def test_only_the_owner_may_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    KeyFile(path, StoppedClock()).add(ACCOUNT, "ann")
    path.chmod(0o644)
    KeyFile(path, StoppedClock()).add(ACCOUNT, "bob")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert sorted(file.name for file in tmp_path.iterdir()) == ["keys.json", "keys.json.lock"]


def test_a_removed_key_is_gone_and_removing_it_again_says_so(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys.json", StoppedClock())
    key = keys.add(ACCOUNT, "ann")
    assert keys.remove(key.access_key)
    assert not keys.remove(key.access_key)
    assert keys.list() == []


def test_no_file_is_no_keys(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys.json", StoppedClock())
    assert keys.list() == []
    assert keys.find("AKIA") is None


def test_a_server_notices_changes_and_looks_once_a_second_at_most(tmp_path: Path) -> None:
    path, clock = tmp_path / "keys.json", StoppedClock()
    server, other = KeyFile(path, clock), KeyFile(path, clock)
    assert server.find("AKIA") is None
    key = other.add(ACCOUNT, "ann")
    clock.now_s += LOOK_S * 0.9
    assert server.find(key.access_key) is None
    clock.now_s += LOOK_S * 0.2
    assert server.find(key.access_key) == key
    other.remove(key.access_key)
    assert server.find(key.access_key) == key
    clock.now_s += LOOK_S
    assert server.find(key.access_key) is None


def test_an_unchanged_file_gives_the_same_objects(tmp_path: Path) -> None:
    path, clock = tmp_path / "keys.json", StoppedClock()
    keys = KeyFile(path, clock)
    key = keys.add(ACCOUNT, "ann")
    found = keys.find(key.access_key)
    clock.now_s += LOOK_S
    assert keys.find(key.access_key) is found


@pytest.mark.parametrize("text", ["", "{", "[]", '{"keys": [{}]}', '{"keys": [{"a": 1}]}'])
def test_a_broken_file_locks_nobody_out_and_is_not_overwritten(tmp_path: Path, text: str) -> None:
    path, clock = tmp_path / "keys.json", StoppedClock()
    keys = KeyFile(path, clock)
    key = keys.add(ACCOUNT, "ann")
    assert keys.find(key.access_key) == key
    path.write_text(text)
    clock.now_s += LOOK_S
    assert keys.find(key.access_key) == key
    with pytest.raises(KeyFileBroken):
        keys.list()
    with pytest.raises(KeyFileBroken):
        keys.add(ACCOUNT, "bob")
    assert path.read_text() == text


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    with ThreadPoolExecutor(8) as threads:
        added = list(
            threads.map(
                lambda number: KeyFile(path, StoppedClock()).add(ACCOUNT, f"user{number}"),
                range(24),
            )
        )
    listed = KeyFile(path, StoppedClock()).list()
    assert {key.access_key for key in listed} == {key.access_key for key in added}


@pytest.mark.parametrize(
    ("account", "user"),
    [
        ("12345678901", "ann"),
        ("12345678901a", "ann"),
        ("\u0661" * 12, "ann"),
        (ACCOUNT, ""),
        (ACCOUNT, "a/b"),
        (ACCOUNT, "a" * 65),
        (ACCOUNT, "\xe4nn"),
    ],
)
def test_names_that_iam_would_not_take_are_refused(tmp_path: Path, account: str, user: str) -> None:
    path = tmp_path / "keys.json"
    with pytest.raises(ValueError, match=r"account id|user name"):
        KeyFile(path, StoppedClock()).add(AccountId(account), user)
    assert not path.exists()
