"""What do the rows of `make bench-cold` share? Platforms, what they tell, one invoke by hand."""

import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from hearth.api.admin import StemReport
from hearth.cli.admin_client import AdminClient
from hearth.settings import StatePaths
from loads import PAYLOAD
from platforms import HANDLER, PYTHON, Hearth, hearth

STEM_S = 60.0
TRIES = 3
ACCOUNT_ARN = "arn:aws:lambda:us-east-1:000000000000:function:"


class NotHere(Exception):
    """This machine, or this Hearth, cannot; the text says what is missing."""


@dataclass(frozen=True)
class Figures:
    samples: list[float] = field(default_factory=list)
    text: str = ""
    """Instead of p50 and p99."""
    each_ms: float | None = None
    """What one takes, where `text` says something else: for the ratio to the floor."""


class Bench:
    """Platforms, started when the first row needs them and ended at the end."""

    def __init__(self, folder: Path, stack: ExitStack, burst: int) -> None:
        self.folder = folder
        self._stack = stack
        self._platforms: dict[tuple[str, ...], Hearth] = {}
        self._states: dict[int, Path] = {}
        self.burst = burst
        self.made = 0

    def platform(self, *flags: str) -> Hearth:
        """One that has run a Python function before, with these flags of `hearth up`."""
        if flags not in self._platforms:
            state = self.folder / str(len(self._platforms))
            platform = self._stack.enter_context(hearth(state, "open", None, *flags))
            self._states[platform.pid] = state
            self._platforms[flags] = platform
            platform.create("first", HANDLER)
            invoke(platform, "first")
            wait_for(lambda: has_zygote(platform), "a zygote")
            for number in range(3):
                platform.create(f"warm-up-{number}", HANDLER)
                invoke(platform, f"warm-up-{number}")
        return self._platforms[flags]

    def stems(self, platform: Hearth) -> StemReport:
        """Asked for from here: on one core, a `hearth status` would take what a stem is made of."""
        return AdminClient(StatePaths(self._states[platform.pid])).status().stems

    def has_stem(self, platform: Hearth, runtime: str = PYTHON) -> bool:
        kinds = self.stems(platform).kinds
        return any(kind.ready for kind in kinds if kind.runtime == runtime)

    def name(self) -> str:
        self.made += 1
        return f"cold-{self.made}"


def wait_for(holds: Callable[[], object], what: str) -> None:
    gives_up_s = time.monotonic() + STEM_S
    while not holds():
        if time.monotonic() > gives_up_s:
            raise NotHere(f"{what} did not come within {STEM_S:.0f} s")
        time.sleep(0.05)


def has_zygote(platform: Hearth) -> bool:
    return any(b"/zygote_process.py" in command_line(pid) for pid in platform.runtimes())


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has just ended
        return b""


def invoke(platform: Hearth, function: str) -> float:
    """Milliseconds from the first byte out to the last byte in, on a fresh connection. By hand:
    the client has no part of them but two system calls."""
    request = (
        f"POST /2015-03-31/functions/{function}/invocations HTTP/1.1\r\n"
        f"Host: 127.0.0.1:{platform.port}\r\nContent-Length: {len(PAYLOAD)}\r\n\r\n"
    ).encode() + PAYLOAD
    with socket.create_connection(("127.0.0.1", platform.port), 120) as connection:
        began = time.perf_counter()
        connection.sendall(request)
        answer = b""
        while not is_whole(answer):
            data = connection.recv(65536)
            if not data:
                break
            answer += data
        took = (time.perf_counter() - began) * 1000
    if not answer.startswith(b"HTTP/1.1 200 ") or b'"ok"' not in answer:
        sys.exit(f"{function}: {answer!r}")
    return took


def is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    _, _, length = head.lower().partition(b"content-length:")
    return bool(end) and len(body) >= int(length.split(b"\r\n")[0] or 0)


def tag(platform: Hearth, function: str, name: str, value: str) -> None:
    platform._client.tag_resource(Resource=ACCOUNT_ARN + function, Tags={name: value})


@contextmanager
def other_hearth(*flags: str) -> Iterator[Hearth]:
    with (
        tempfile.TemporaryDirectory(prefix="hearth-cold-") as folder,
        hearth(Path(folder) / "state", "open", None, *flags) as platform,
    ):
        platform.create("first", HANDLER)
        invoke(platform, "first")
        wait_for(lambda: has_zygote(platform), "a zygote")
        yield platform


def available_kib() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1])
    raise NotHere("the kernel does not tell MemAvailable")
