"""What was this Hearth told? One frozen dataclass, read once; rooms get plain values.

A flag beats the environment (`HEARTH_…`), which beats the default. `OPTIONS` is all there is: the
flags of `hearth up` and their help are made from it. Nothing else reads the environment.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from hearth import options
from hearth.model.endpoints import Endpoints
from hearth.model.isolation import Network
from hearth.options import StartRefused as StartRefused
from hearth.options import is_loopback as is_loopback
from hearth.options import read_duration_s as read_duration_s

LISTEN_DEFAULT: Final = "127.0.0.1:4566"


class Auth(StrEnum):
    OPEN = "open"
    SIGV4 = "sigv4"


class SandboxChoice(StrEnum):
    AUTO = "auto"
    BUBBLEWRAP = "bubblewrap"
    ZYGOTE = "zygote"
    RUNC = "runc"
    CRUN = "crun"
    RUNSC = "runsc"
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
    nats_server: Path | None
    """None: the one that was installed with Hearth."""
    endpoints: Endpoints
    """Where other AWS services are."""
    otlp: options.Otlp | None = None
    """Where traces go; None: nowhere."""

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
    is_repeatable: bool = False
    """The flag may be given more than once, and its variables have one more part in their names."""

    @property
    def variable(self) -> str:
        name = "HEARTH_" + self.flag.removeprefix("--").replace("-", "_").upper()
        return f"{name}_SERVICE" if self.is_repeatable else name


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


def read_surroundings(environment: Mapping[str, str] | None = None) -> Surroundings:
    environment = os.environ if environment is None else environment
    folders = environment.get("PATH", os.defpath).split(os.pathsep)
    home = Path(environment.get("HOME") or Path.home())
    cache = Path("/var/cache") if os.geteuid() == 0 else _cache_home(environment, home)
    return Surroundings(tuple(folder for folder in folders if folder), home, cache / "hearth")


def _cache_home(environment: Mapping[str, str], home: Path) -> Path:
    given = Path(environment.get("XDG_CACHE_HOME", ""))
    return given if given.is_absolute() else home / ".cache"


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
    values.setdefault("state", state_default(environment))
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


def state_default(environment: Mapping[str, str]) -> Path:
    """Of the XDG base directory specification; for root, where services keep theirs."""
    if os.geteuid() == 0:
        return Path("/var/lib/hearth")
    home = Path(environment.get("XDG_DATA_HOME", ""))
    if not home.is_absolute():  # also when it is not set: the specification says to ignore it
        home = Path(environment.get("HOME") or Path.home()) / ".local" / "share"
    return home / "hearth"


def _refuse_open_door(settings: Settings) -> None:
    if settings.auth is Auth.SIGV4 or is_loopback(settings.host):
        return
    raise StartRefused(
        f"--listen {settings.host}:{settings.port} can be reached from other machines, and with "
        "--auth open anybody there could run code here. Make a key with `hearth keys add` and "
        "start with --auth sigv4, or listen on 127.0.0.1."
    )


OPTIONS: Final = (
    Option(
        field="listen",
        flag="--listen",
        default=LISTEN_DEFAULT,
        read=options.listen,
        metavar="HOST:PORT",
        help="Where AWS clients reach Hearth; port 0 picks a free one.",
    ),
    Option(
        field="state",
        flag="--state",
        default=None,
        read=options.path,
        metavar="DIR",
        help="Where everything is kept.  [default: the user's data home; /var/lib/hearth for root]",
    ),
    Option(
        field="auth",
        flag="--auth",
        default=Auth.OPEN,
        read=options.one_of(Auth),
        metavar="[open|sigv4]",
        help="open: any credentials. sigv4: only keys made with `hearth keys add`.",
    ),
    Option(
        field="sandbox",
        flag="--sandbox",
        default=SandboxChoice.AUTO,
        read=options.one_of(SandboxChoice),
        metavar="[auto|zygote|bubblewrap|runc|crun|runsc|process]",
        help="How functions are isolated, where no tag hearth:sandbox says more. zygote: Python is "
        "forked, what cannot be is executed in bubblewrap; auto is that. runc, crun: containers. "
        "runsc: gVisor. process: NOT isolated.",
    ),
    Option(
        field="network",
        flag="--network",
        default=Network.NONE,
        read=options.one_of(Network),
        metavar="[none|nat|host]",
        help="What functions reach, where no tag hearth:network says otherwise. nat: the outside, "
        "but nothing near. host: all that this machine does.",
    ),
    Option(
        field="nat_allow",
        flag="--nat-allow",
        default="",
        read=options.networks,
        metavar="CIDR,...",
        help="Private networks that functions with nat may reach all the same.",
    ),
    Option(
        field="stems_min",
        flag="--stems-min",
        default="2",
        read=options.whole(0, 1_000),
        metavar="N",
        help="Sandboxes that are kept launched for each account and runtime in use.",
    ),
    Option(
        field="stems_mb",
        flag="--stems-mb",
        default="256",
        read=options.whole(0, 1_048_576),
        metavar="N",
        help="Memory that sandboxes may hold that only wait for a function; 0: none wait.",
    ),
    Option(
        field="account_concurrency",
        flag="--account-concurrency",
        default="1000",
        read=options.whole(1, 1_000_000),
        metavar="N",
        help="Invokes that may run at once, in all functions of an account and region.",
    ),
    Option(
        field="keepalive_s",
        flag="--keepalive",
        default="600",
        read=options.seconds(86_400.0),
        metavar="TIME",
        help="How long an idle sandbox is kept.",
    ),
    Option(
        field="freeze_after_s",
        flag="--freeze-after",
        default="500ms",
        read=options.seconds(86_400.0),
        metavar="TIME",
        help="How long a sandbox is idle before its processes are frozen.",
    ),
    Option(
        field="drain_s",
        flag="--drain",
        default="10",
        read=options.seconds(900.0),
        metavar="TIME",
        help="How long running invokes may take to end when Hearth stops.",
    ),
    Option(
        field="memory_fraction",
        flag="--memory-fraction",
        default="0.8",
        read=options.fraction,
        metavar="F",
        help="The part of this machine's memory that sandboxes may use.",
    ),
    Option(
        field="log_group_mb",
        flag="--log-mb",
        default="64",
        read=options.whole(1, 1_048_576),
        metavar="N",
        help="How many MB of log are kept for each function.",
    ),
    Option(
        field="stream_mb_per_s",
        flag="--stream-rate",
        default="2",
        read=options.rate,
        metavar="MB/S",
        help="How fast a streamed response may go after its first 6 MB; 0: as fast as it can.",
    ),
    Option(
        field="async_queue_mb",
        flag="--async-queue-mb",
        default="8192",
        read=options.whole(1, 16_384),
        metavar="N",
        help="How many MB of asynchronous events may wait; more are refused.",
    ),
    Option(
        field="url_domain",
        flag="--url-domain",
        default="localhost",
        read=options.domain,
        metavar="DOMAIN",
        help="Function URLs are http://ID.lambda-url.REGION.DOMAIN:PORT/.",
    ),
    Option(
        field="keep_dead_s",
        flag="--keep-dead",
        default="14d",
        read=options.seconds(366 * 86_400),
        metavar="TIME",
        help="How long failed events are kept that nobody could be told of; 0: for ever.",
    ),
    Option(
        field="metrics",
        flag="--metrics",
        default=None,
        read=options.listen,
        metavar="HOST:PORT",
        help="Where Prometheus may scrape /metrics, without credentials.  [default: nowhere]",
    ),
    Option(
        field="otlp",
        flag="--otlp",
        default=None,
        read=options.collector,
        metavar="URL",
        help="Where traces go, by OTLP over HTTP (http://127.0.0.1:4318); headers, sampling and "
        "all else by OTEL_… variables.  [default: OTEL_EXPORTER_OTLP_ENDPOINT, else nowhere]",
    ),
    Option(
        field="log_level",
        flag="--log-level",
        default="info",
        read=options.level,
        metavar="LEVEL",
        help="What Hearth says about itself: debug, info, warning or error.",
    ),
    Option(
        field="region",
        flag="--region",
        default="us-east-1",
        read=options.region,
        metavar="REGION",
        help="The region of callers who name none.",
    ),
    Option(
        field="nats_server",
        flag="--nats-server",
        default=None,
        read=options.path,
        metavar="FILE",
        help="Another nats-server than the one that was installed with Hearth.",
    ),
    Option(
        field="endpoints",
        flag="--endpoint",
        default=None,
        read=options.endpoint,
        metavar="SERVICE=URL|aws",
        help="Where another AWS service is (s3: for code in buckets); repeatable.",
        is_repeatable=True,
    ),
)
