"""Which settings are there? The flags of `hearth up` and their help are made from `OPTIONS`."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from hearth import options
from hearth.model.isolation import Network

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


class NodeSdk(StrEnum):
    BUNDLED = "bundled"
    NONE = "none"


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
        field="node_sdk",
        flag="--node-sdk",
        default=NodeSdk.BUNDLED,
        read=options.one_of(NodeSdk),
        metavar="[bundled|none]",
        help="Whether Node.js functions find the AWS SDK for JavaScript in /var/runtime, as on "
        "Lambda; npm fetches it once.",
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
