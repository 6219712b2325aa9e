"""Which access keys are there? A JSON file that the CLI writes and the server reads.

The file is replaced as a whole, under a lock, so that a reader sees the old or the new keys and
a power cut leaves one of them. It holds secrets: only its owner may read it.
"""

import fcntl
import json
import os
import secrets
import string
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from hearth.base.clock import Clock
from hearth.base.log import Log
from hearth.model.ids import PARTITION, AccountId

log = Log("keys")

LOOK_S: Final = 1.0
"""How long a server may go on with keys that another process has changed."""

_VERSION: Final = 1
_ID_ALPHABET: Final = string.ascii_uppercase + "234567"
_BASE64_ALPHABET: Final = string.ascii_letters + string.digits + "+/"


@dataclass(frozen=True, slots=True)
class AccessKey:
    """A key pair and whose it is."""

    access_key: str
    secret: str = field(repr=False)
    account: AccountId
    user_arn: str
    session_token: str | None = field(default=None, repr=False)
    """Only of temporary credentials; then a request must carry it."""


class KeyFileBroken(Exception):
    """The file is there, and is not what `KeyFile` writes. Its owner has to look at it."""


class KeyFile:
    """The access keys of one Hearth. Writes are for the CLI, `find` is for the server."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._keys: dict[str, AccessKey] = {}
        self._seen: _Stamp | None = None
        self._look_at_s = float("-inf")

    def add(self, account: AccountId, user: str) -> AccessKey:
        """A new key for IAM user `user` of `account`. Its secret is shown by this call only.

        Raises ValueError for a name that IAM would not take, KeyFileBroken, OSError.
        """
        _check_owner(account, user)
        key = AccessKey(
            access_key="AKIA" + _draw(_ID_ALPHABET, 16),
            secret=_draw(_BASE64_ALPHABET, 40),
            account=account,
            user_arn=f"arn:{PARTITION}:iam::{account}:user/{user}",
        )
        with self._changing() as keys:
            keys[key.access_key] = key
        return key

    def remove(self, access_key: str) -> bool:
        """Whether there was such a key. Servers refuse it within a second."""
        with self._changing() as keys:
            return keys.pop(access_key, None) is not None

    def list(self) -> list[AccessKey]:
        """All keys, as the file has them now. Raises KeyFileBroken, OSError."""
        return list(_read(self._path).values())

    def find(self, access_key: str) -> AccessKey | None:
        """The key of that id. Looks at the file once a second at most.

        A file that cannot be read any more leaves the last known keys in force, and is logged:
        one bad edit must not lock everybody out.
        """
        now_s = self._clock.monotonic_s()
        if now_s >= self._look_at_s:
            self._look_at_s = now_s + LOOK_S
            self._look()
        return self._keys.get(access_key)

    def _look(self) -> None:
        try:
            stamp = _stamp(self._path)
            if stamp == self._seen:
                return
            self._keys = _read(self._path)
        except (OSError, KeyFileBroken) as error:
            log.error("access keys could not be read", path=self._path, error=error)
            return
        self._seen = stamp
        log.info("access keys read", count=len(self._keys))

    @contextmanager
    def _changing(self) -> Iterator[dict[str, AccessKey]]:
        """The keys, to be changed in place; written when the body ends well."""
        with _locked(self._path.with_name(self._path.name + ".lock")):
            keys = _read(self._path)
            yield keys
            _write(self._path, keys)


_Stamp = tuple[int, int, int]


def _stamp(path: Path) -> _Stamp | None:
    """Changes with every write, because every write makes a new file. None: there is no file."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _read(path: Path) -> dict[str, AccessKey]:
    """By id. No file is no keys. Raises KeyFileBroken, OSError."""
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return {}
    try:
        rows = json.loads(text)["keys"]
        return {row["access_key"]: AccessKey(**row) for row in rows}
    except (ValueError, KeyError, TypeError) as error:
        raise KeyFileBroken(f"{path} is no key file of Hearth") from error


def _write(path: Path, keys: dict[str, AccessKey]) -> None:
    """Durable when it returns: the contents and the name."""
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(8)}.tmp")
    text = json.dumps({"version": _VERSION, "keys": [_row(k) for k in keys.values()]}, indent=2)
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _row(key: AccessKey) -> dict[str, Any]:
    row = {name: getattr(key, name) for name in AccessKey.__slots__}
    return {name: value for name, value in row.items() if value is not None}


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One writer at a time, across processes. The lock file stays: removing it would race."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _check_owner(account: str, user: str) -> None:
    if not (len(account) == 12 and account.isascii() and account.isdecimal()):
        raise ValueError(f"an account id has 12 digits: {account!r}")
    allowed = all(c.isascii() and (c.isalnum() or c in "+=,.@_-") for c in user)
    if not (1 <= len(user) <= 64 and allowed):
        raise ValueError(f"a user name has 1 to 64 of A-Z a-z 0-9 + = , . @ _ -: {user!r}")


def _draw(alphabet: str, length: int) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(length))
