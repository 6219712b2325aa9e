"""What was this Hearth told? One frozen dataclass, read once; rooms get plain values.

A flag beats the environment (`HEARTH_…`), which beats the default. `OPTIONS` is all there is: the
flags of `hearth up` and their help are made from it. Nothing else reads the environment.
"""

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

LISTEN_DEFAULT: Final = "127.0.0.1:4566"

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)")
_UNIT_S: Final = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}
_REGION = re.compile(r"[a-z]{2,4}(-[a-z]+)+-\d")
_IPV6 = re.compile(r"[0-9a-f:.]*:[0-9a-f:.]*", re.IGNORECASE)
_HOST_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")


class StartRefused(Exception):
    """Hearth cannot start like this. The text is for the user: what is wrong, and what to do."""


class Auth(StrEnum):
    OPEN = "open"
    SIGV4 = "sigv4"


class SandboxChoice(StrEnum):
    AUTO = "auto"
    BUBBLEWRAP = "bubblewrap"
    PROCESS = "process"


@dataclass(frozen=True, slots=True)
class StatePaths:
    """What lies where in a state directory that the CLI and the platform share."""

    state: Path

    @property
    def run(self) -> Path:
        """What belongs to one run only."""
        return self.state / "run"

    @property
    def lock(self) -> Path:
        return self.run / "hearth.lock"

    @property
    def run_file(self) -> Path:
        return self.run / "hearth.json"

    @property
    def log_file(self) -> Path:
        return self.run / "hearth.log"

    @property
    def admin_socket(self) -> Path:
        return self.run / "admin.sock"

    @property
    def keys(self) -> Path:
        return self.state / "keys.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    host: str
    port: int
    """0: any free one."""
    state: Path
    """Absolute."""
    auth: Auth
    sandbox: SandboxChoice
    account_concurrency: int
    keepalive_s: float
    drain_s: float
    memory_fraction: float
    """Of the machine's memory, for all sandboxes together."""
    log_group_mb: int
    log_level: str
    region: str
    nats_server: Path | None
    """None: the one that was installed with Hearth."""

    @property
    def paths(self) -> StatePaths:
        return StatePaths(self.state)


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One setting. `read` turns its text into the field's value; its ValueError says what the
    text must be."""

    field: str
    flag: str
    default: str | None
    """As text; None: worked out, or absent."""
    read: Callable[[str], Any]
    metavar: str
    help: str

    @property
    def variable(self) -> str:
        return "HEARTH_" + self.flag.removeprefix("--").replace("-", "_").upper()


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientSettings:
    """What the AWS client of `deploy` and `invoke` finds in the environment."""

    endpoint: str | None
    region: str | None
    access_key: str | None
    secret_key: str | None
    session_token: str | None
    profile: str | None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where this machine's user keeps programs: what interpreters are looked for in."""

    search_path: tuple[str, ...]
    home: Path
    cache: Path
    """What can be made again, for all state directories of this user."""


def read_surroundings(environment: Mapping[str, str] | None = None) -> Surroundings:
    environment = os.environ if environment is None else environment
    folders = environment.get("PATH", os.defpath).split(os.pathsep)
    home = Path(environment.get("HOME") or Path.home())
    cache = Path("/var/cache") if os.geteuid() == 0 else _cache_home(environment, home)
    return Surroundings(tuple(folder for folder in folders if folder), home, cache / "hearth")


def _cache_home(environment: Mapping[str, str], home: Path) -> Path:
    given = Path(environment.get("XDG_CACHE_HOME", ""))
    return given if given.is_absolute() else home / ".cache"


def read_settings(
    flags: Mapping[str, str | None], environment: Mapping[str, str] | None = None
) -> Settings:
    """`flags` by field name, None where not given. Raises StartRefused, naming the flag."""
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {"nats_server": None}
    for option in OPTIONS:
        text, source = flags.get(option.field), option.flag
        if text is None and (found := environment.get(option.variable)):
            text, source = found, f"{option.flag} (from {option.variable})"
        text = option.default if text is None else text
        if text is None:
            continue
        try:
            values[option.field] = option.read(text)
        except ValueError as error:
            raise StartRefused(f"{source} must be {error}, not {text!r}.") from error
    host, port = values.pop("listen")
    values.setdefault("state", state_default(environment))
    settings = Settings(host=host, port=port, **values)
    _refuse_open_door(settings)
    return settings


def read_state(flag: str | None, environment: Mapping[str, str] | None = None) -> StatePaths:
    """For commands that need to know only where Hearth keeps its state."""
    environment = os.environ if environment is None else environment
    text = flag or environment.get("HEARTH_STATE")
    return StatePaths(_path(text) if text else state_default(environment))


def read_client_settings(environment: Mapping[str, str] | None = None) -> ClientSettings:
    environment = os.environ if environment is None else environment

    def first(*names: str) -> str | None:
        return next((environment[name] for name in names if environment.get(name)), None)

    return ClientSettings(
        endpoint=first("AWS_ENDPOINT_URL_LAMBDA", "AWS_ENDPOINT_URL"),
        region=first("AWS_REGION", "AWS_DEFAULT_REGION"),
        access_key=first("AWS_ACCESS_KEY_ID"),
        secret_key=first("AWS_SECRET_ACCESS_KEY"),
        session_token=first("AWS_SESSION_TOKEN"),
        profile=first("AWS_PROFILE", "AWS_DEFAULT_PROFILE"),
    )


def state_default(environment: Mapping[str, str]) -> Path:
    """Of the XDG base directory specification; for root, where services keep theirs."""
    if os.geteuid() == 0:
        return Path("/var/lib/hearth")
    home = Path(environment.get("XDG_DATA_HOME", ""))
    if not home.is_absolute():  # also when it is not set: the specification says to ignore it
        home = Path(environment.get("HOME") or Path.home()) / ".local" / "share"
    return home / "hearth"


def read_duration_s(text: str) -> float:
    """`90`, `90s`, `10m`, `1.5h`. Raises ValueError saying what it must be."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError("a time like 90, 90s, 10m or 2h")
    return float(match[1]) * _UNIT_S[match[2]]


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refuse_open_door(settings: Settings) -> None:
    if settings.auth is Auth.SIGV4 or is_loopback(settings.host):
        return
    raise StartRefused(
        f"--listen {settings.host}:{settings.port} can be reached from other machines, and with "
        "--auth open anybody there could run code here. Make a key with `hearth keys add` and "
        "start with --auth sigv4, or listen on 127.0.0.1."
    )


def _listen(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]") and _IPV6.fullmatch(host[1:-1]):
        host = host[1:-1]
    elif not colon:
        host = "127.0.0.1"
    elif _HOST_NAME.fullmatch(host) is None:
        port = ""
    if not (port.isascii() and port.isdecimal()) or int(port) > 65_535:
        raise ValueError("HOST:PORT like 127.0.0.1:4566, or [::1]:4566, with a port up to 65535")
    return host, int(port)


def _path(text: str) -> Path:
    return Path(text).expanduser().absolute()


def _one_of(choices: type[StrEnum]) -> Callable[[str], StrEnum]:
    def read(text: str) -> StrEnum:
        if text not in list(choices):
            raise ValueError(" or ".join(choices).replace(" or ", ", ", len(choices) - 2))
        return choices(text)

    return read


def _whole(low: int, high: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdecimal()) or not low <= int(text) <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return int(text)

    return read


def _seconds(high_s: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        seconds = read_duration_s(text)
        if seconds > high_s:
            raise ValueError(f"at most {high_s:g} seconds")
        return seconds

    return read


def _fraction(text: str) -> float:
    try:
        fraction = float(text)
    except ValueError:
        fraction = 0.0
    if not 0.05 <= fraction <= 1.0:
        raise ValueError("a number from 0.05 to 1")
    return fraction


def _level(text: str) -> str:
    if text.lower() not in ("debug", "info", "warning", "error"):
        raise ValueError("debug, info, warning or error")
    return text.lower()


def _region(text: str) -> str:
    if _REGION.fullmatch(text) is None:
        raise ValueError("an AWS region like us-east-1")
    return text


OPTIONS: Final = (
    Option(
        field="listen",
        flag="--listen",
        default=LISTEN_DEFAULT,
        read=_listen,
        metavar="HOST:PORT",
        help="Where AWS clients reach Hearth; port 0 picks a free one.",
    ),
    Option(
        field="state",
        flag="--state",
        default=None,
        read=_path,
        metavar="DIR",
        help="Where everything is kept.  [default: the user's data home; /var/lib/hearth for root]",
    ),
    Option(
        field="auth",
        flag="--auth",
        default=Auth.OPEN,
        read=_one_of(Auth),
        metavar="[open|sigv4]",
        help="open: any credentials. sigv4: only keys made with `hearth keys add`.",
    ),
    Option(
        field="sandbox",
        flag="--sandbox",
        default=SandboxChoice.AUTO,
        read=_one_of(SandboxChoice),
        metavar="[auto|bubblewrap|process]",
        help="How functions are isolated. process: NOT isolated.",
    ),
    Option(
        field="account_concurrency",
        flag="--account-concurrency",
        default="1000",
        read=_whole(1, 1_000_000),
        metavar="N",
        help="Invokes that may run at once, in all functions of an account and region.",
    ),
    Option(
        field="keepalive_s",
        flag="--keepalive",
        default="600",
        read=_seconds(86_400.0),
        metavar="TIME",
        help="How long an idle sandbox is kept.",
    ),
    Option(
        field="drain_s",
        flag="--drain",
        default="10",
        read=_seconds(900.0),
        metavar="TIME",
        help="How long running invokes may take to end when Hearth stops.",
    ),
    Option(
        field="memory_fraction",
        flag="--memory-fraction",
        default="0.8",
        read=_fraction,
        metavar="F",
        help="The part of this machine's memory that sandboxes may use.",
    ),
    Option(
        field="log_group_mb",
        flag="--log-mb",
        default="64",
        read=_whole(1, 1_048_576),
        metavar="N",
        help="How many MB of log are kept for each function.",
    ),
    Option(
        field="log_level",
        flag="--log-level",
        default="info",
        read=_level,
        metavar="LEVEL",
        help="What Hearth says about itself: debug, info, warning or error.",
    ),
    Option(
        field="region",
        flag="--region",
        default="us-east-1",
        read=_region,
        metavar="REGION",
        help="The region of callers who name none.",
    ),
    Option(
        field="nats_server",
        flag="--nats-server",
        default=None,
        read=_path,
        metavar="FILE",
        help="Another nats-server than the one that was installed with Hearth.",
    ),
)
