"""What does the embedded server have on disk, and how is it protected?

    <state>/engine-credentials.json   made once per install, mode 0600
    <state>/js-standalone/            the store, with the marker that says what kind it is
    <state>/run/                      configuration, ports, lock; made anew at each start
    <state>/log/nats-server.log       rotated

The marker matters: a clustered server deletes what it finds in a standalone store within 30 s
(https://github.com/nats-io/nats-server/issues/5467).
"""

import fcntl
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

import msgspec

STORE_KIND = "standalone"
MARKER = "hearth-store.json"

PAYLOAD_BYTES_MAX = 8 * 1024 * 1024
CONNECTIONS_MAX = 2000
STORE_BYTES_MAX = 20 * 1024**3
MEMORY_STORE_BYTES_MAX = 256 * 1024**2
LOG_BYTES_MAX = 8 * 1024**2
LOG_FILES_MAX = 3

ACCOUNT = "HEARTH"
SYSTEM_ACCOUNT = "SYS"
TAIL_BYTES, TAIL_LINES = 4000, 10


class StoreRefused(Exception):
    """The store is of another kind, or not ours: a server started on it could delete it."""


class Credentials(msgspec.Struct, frozen=True):
    user: str
    password: str
    system_user: str
    system_password: str


class _Marker(msgspec.Struct, frozen=True):
    kind: str
    version: int = 1


@dataclass(frozen=True, slots=True)
class ServerFiles:
    """The paths below one state directory."""

    state: Path

    @property
    def store(self) -> Path:
        return self.state / f"js-{STORE_KIND}"

    @property
    def run(self) -> Path:
        return self.state / "run"

    @property
    def configuration(self) -> Path:
        return self.run / "nats-server.json"

    @property
    def lock(self) -> Path:
        return self.run / "nats-server.lock"

    @property
    def errors(self) -> Path:
        return self.run / "nats-server.stderr"

    @property
    def log(self) -> Path:
        return self.state / "log" / "nats-server.log"

    def prepare(self) -> None:
        """Make the directories."""
        for directory in (self.store, self.run, self.log.parent):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def claim_store(self) -> None:
        """Mark an empty store as ours. Raises StoreRefused if it is anything but ours."""
        marker = self.store / MARKER
        try:
            found = msgspec.json.decode(marker.read_bytes(), type=_Marker)
        except FileNotFoundError:
            if any(child.name != f"{MARKER}.new" for child in self.store.iterdir()):
                raise StoreRefused(f"{self.store} is in use by something unknown") from None
            write_durably(marker, msgspec.json.encode(_Marker(STORE_KIND)))
        except msgspec.MsgspecError as error:
            raise StoreRefused(f"{marker} cannot be read") from error
        else:
            if found != _Marker(STORE_KIND):
                raise StoreRefused(f"{self.store} is a {found.kind} store, not {STORE_KIND}")

    def credentials(self) -> Credentials:
        """This install's, made at the first call."""
        path = self.state / "engine-credentials.json"
        try:
            return msgspec.json.decode(path.read_bytes(), type=Credentials)
        except FileNotFoundError:
            made = Credentials(
                user="hearth",
                password=secrets.token_urlsafe(32),
                system_user="system",
                system_password=secrets.token_urlsafe(32),
            )
            write_durably(path, msgspec.json.encode(made))
            return made

    def lock_descriptor(self) -> int:
        """The open lock file, to be locked, handed to the server and closed."""
        return os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def clear_ports(self) -> None:
        """Forget the ports of earlier servers: one may have had the pid of the next."""
        for path in self.run.glob("*.ports"):
            path.unlink()

    def write_configuration(self, credentials: Credentials, port: int | None) -> None:
        """Write it anew, in JSON, which NATS reads as its own format."""
        text = msgspec.json.format(
            msgspec.json.encode(self._configuration(credentials, port)), indent=2
        )
        write_durably(self.configuration, text)

    def _configuration(self, credentials: Credentials, port: int | None) -> dict[str, object]:
        return {
            "server_name": f"hearth-{STORE_KIND}",
            "listen": f"127.0.0.1:{-1 if port is None else port}",
            "ports_file_dir": str(self.run),
            "max_payload": PAYLOAD_BYTES_MAX,
            "max_connections": CONNECTIONS_MAX,
            "write_deadline": "2s",
            "log_file": str(self.log),
            "logfile_size_limit": LOG_BYTES_MAX,
            "logfile_max_num": LOG_FILES_MAX,
            "system_account": SYSTEM_ACCOUNT,
            "accounts": {
                ACCOUNT: {
                    "jetstream": "enabled",
                    "users": [{"user": credentials.user, "password": credentials.password}],
                },
                SYSTEM_ACCOUNT: {
                    "users": [
                        {
                            "user": credentials.system_user,
                            "password": credentials.system_password,
                        }
                    ],
                },
            },
            "jetstream": {
                "store_dir": str(self.store),
                "sync_interval": "always",
                "max_mem": MEMORY_STORE_BYTES_MAX,
                "max_file": STORE_BYTES_MAX,
            },
        }

    def read_client_port(self, pid: int) -> int | None:
        """Where the server of that pid listens; None while it has not said so."""
        for path in self.run.glob(f"*_{pid}.ports"):
            try:
                ports = msgspec.json.decode(path.read_bytes(), type=_Ports)
            except msgspec.DecodeError:
                return None  # being written
            if ports.nats:
                return int(ports.nats[0].rpartition(":")[2])
        return None

    def last_words(self) -> str:
        """The ends of the server's error output and log, for whoever has to find out why."""
        return "\n".join(tail for path in (self.errors, self.log) if (tail := _tail(path)))


class _Ports(msgspec.Struct):
    nats: list[str]


def try_lock(descriptor: int) -> bool:
    """Lock it for everyone who inherits this very descriptor, unless somebody else has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def write_durably(path: Path, content: bytes) -> None:
    """Replace `path` as a whole, readable by its owner only, on disk when this returns."""
    new = path.with_name(f"{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """Make what was created or renamed in it survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return "\n".join(lines[-TAIL_LINES:])
