"""What was this Hearth told? One frozen dataclass, read once; rooms get plain values.

A flag beats the environment (`HEARTH_…`), which beats the default. `OPTIONS` of flags.py is all
there is. Nothing else reads the environment.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hearth import options
from hearth.flags import LISTEN_DEFAULT as LISTEN_DEFAULT
from hearth.flags import OPTIONS as OPTIONS
from hearth.flags import Auth as Auth
from hearth.flags import NodeSdk as NodeSdk
from hearth.flags import Option as Option
from hearth.flags import SandboxChoice as SandboxChoice
from hearth.model.endpoints import Endpoints
from hearth.model.isolation import Network
from hearth.options import StartRefused as StartRefused
from hearth.options import is_loopback as is_loopback
from hearth.options import read_duration_s as read_duration_s


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
    def credentials(self) -> Path:
        """Of the engine; made once."""
        return self.state / "engine-credentials.json"

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
    network: Network
    """Of functions that have no tag that names another."""
    nat_allow: tuple[str, ...]
    """Networks that are open to functions with nat, and would be closed otherwise."""
    stems_min: int
    """Sandboxes that wait, launched, for each account and runtime in use."""
    stems_mb: int
    """Of memory, at most, for all that wait; 0: none do."""
    account_concurrency: int
    keepalive_s: float
    freeze_after_s: float
    drain_s: float
    memory_fraction: float
    """Of the machine's memory, for all sandboxes together."""
    log_group_mb: int
    stream_mb_per_s: float
    """0: no limit."""
    async_queue_mb: int
    """For asynchronous events that wait, on disk."""
    url_domain: str
    """Of function URLs: what stands behind the region."""
    keep_dead_s: float
    """Events that failed and that nobody was told of; 0: for ever."""
    metrics: tuple[str, int] | None
    """Where else than on the admin socket they may be scraped."""
    log_level: str
    region: str
    node_sdk: NodeSdk
    nats_server: Path | None
    """None: the one that was installed with Hearth."""
    endpoints: Endpoints
    """Where other AWS services are."""
    otlp: options.Otlp | None = None
    """Where traces go; None: nowhere."""

    @property
    def paths(self) -> StatePaths:
        return StatePaths(self.state)


Flags = Mapping[str, str | tuple[str, ...] | None]
"""Texts by field name, None or empty where not given; a tuple for a repeatable flag."""


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


def read_surroundings(
    environment: Mapping[str, str] | None = None, *, state: Path | None = None
) -> Surroundings:
    """`state` takes the place of a home that there is not, or whose cache cannot be written to:
    containers run as users without either. Raises StartRefused if it would have to and is None."""
    environment = os.environ if environment is None else environment
    folders = environment.get("PATH", os.defpath).split(os.pathsep)
    home = _home(environment) or state
    if home is None:
        raise _homeless("HOME to a directory that Hearth may write to")
    cache = Path("/var/cache") if os.geteuid() == 0 else _cache_home(environment, home)
    cache /= "hearth"
    if state is not None and not _is_writable(cache):
        cache = state / "cache"
    return Surroundings(tuple(folder for folder in folders if folder), home, cache)


def _cache_home(environment: Mapping[str, str], home: Path) -> Path:
    given = Path(environment.get("XDG_CACHE_HOME", ""))
    return given if given.is_absolute() else home / ".cache"


def _is_writable(path: Path) -> bool:
    """Or may be made."""
    there = next(place for place in (path, *path.parents) if os.access(place, os.F_OK))
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def read_settings(flags: Flags, environment: Mapping[str, str] | None = None) -> Settings:
    """Raises StartRefused, naming the flag."""
    environment = os.environ if environment is None else environment
    values: dict[str, Any] = {"nats_server": None, "metrics": None, "otlp": None}
    for option in OPTIONS:
        if option.is_repeatable:
            continue
        text, source = flags.get(option.field), option.flag
        if text is None and (found := environment.get(option.variable)):
            text, source = found, f"{option.flag} (from {option.variable})"
        text = option.default if text is None else text
        if text is not None:
            assert isinstance(text, str)
            values[option.field] = options.read_as(source, text, option.read)
    host, port = listen_at = values.pop("listen")
    values["otlp"] = options.otlp(values["otlp"], environment)
    if "state" not in values:
        values["state"] = state_default(environment)
    texts = flags.get("endpoints") or ()
    endpoints = options.endpoints(texts, environment, listen_at)
    settings = Settings(host=host, port=port, endpoints=endpoints, **values)
    _refuse_open_door(settings)
    return settings


def read_state(flag: str | None, environment: Mapping[str, str] | None = None) -> StatePaths:
    """For commands that need to know only where Hearth keeps its state. Raises StartRefused."""
    environment = os.environ if environment is None else environment
    text = (environment.get("HEARTH_STATE") or None) if flag is None else flag
    if text is None:
        return StatePaths(state_default(environment))
    return StatePaths(options.read_as("--state", text, options.path))


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


def read_colour(environment: Mapping[str, str] | None = None) -> bool | None:
    """False: the user wants none (https://no-color.org); None: whatever the terminal can."""
    environment = os.environ if environment is None else environment
    refused = environment.get("NO_COLOR") or environment.get("TERM") == "dumb"
    return False if refused else None


def state_default(environment: Mapping[str, str]) -> Path:
    """Of the XDG base directory specification; for root, where services keep theirs."""
    if os.geteuid() == 0:
        return Path("/var/lib/hearth")
    home = Path(environment.get("XDG_DATA_HOME", ""))
    if not home.is_absolute():  # also when it is not set: the specification says to ignore it
        found = _home(environment)
        if found is None:
            raise _homeless("HOME, or say where with --state DIR")
        home = found / ".local" / "share"
    return home / "hearth"


def _home(environment: Mapping[str, str]) -> Path | None:
    if given := environment.get("HOME"):
        return Path(given)
    try:
        return Path.home()
    except RuntimeError:  # a user id without an account, as containers have them
        return None


def _homeless(remedy: str) -> StartRefused:
    return StartRefused(
        f"HOME is not set, and user {os.geteuid()} has no home directory. Set {remedy}."
    )


def _refuse_open_door(settings: Settings) -> None:
    if settings.auth is Auth.SIGV4 or is_loopback(settings.host):
        return
    raise StartRefused(
        f"--listen {settings.host}:{settings.port} can be reached from other machines, and with "
        "--auth open anybody there could run code here. Make a key with `hearth keys add` and "
        "start with --auth sigv4, or listen on 127.0.0.1."
    )
