"""A Hearth of a benchmark's own, with clients of it."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import botocore.auth
import botocore.awsrequest
import botocore.config
import botocore.credentials
import botocore.session

from loads import PAYLOAD, http, load

HERE = Path(__file__).parent
HEARTH = Path(sys.executable).parent / "hearth"
PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
HANDLER = 'def handler(event, context):\n    return {"ok": True, "n": event["n"]}\n'
MEMORY_MB = 3538  # two CPUs' worth: the limit must not be what is measured
Pair = tuple[str, str]
"""An access key and its secret."""


class Hearth:
    def __init__(self, process: "subprocess.Popen[str]", endpoint: str, pair: Pair | None) -> None:
        self.pid = process.pid
        self._pair = pair or ("test", "test")
        self.port = urlsplit(endpoint).port or 0
        self._client: Any = botocore.session.get_session().create_client(
            "lambda",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id=self._pair[0],
            aws_secret_access_key=self._pair[1],
            config=botocore.config.Config(retries={"total_max_attempts": 1}, read_timeout=60),
        )

    def create(self, name: str, code: str) -> None:
        sys.path.insert(0, str(HERE.parent / "tests"))
        from compat.platform import ROLE, package

        self._client.create_function(
            FunctionName=name,
            Runtime=PYTHON,
            Role=ROLE,
            Handler="app.handler",
            MemorySize=MEMORY_MB,
            Timeout=30,
            Code={"ZipFile": package({"app.py": code})},
        )
        while self._client.get_function(FunctionName=name)["Configuration"]["State"] == "Pending":
            time.sleep(0.01)

    def invoke(self, name: str) -> float:
        """Milliseconds of one invoke, the client included."""
        began = time.perf_counter()
        answer = self._client.invoke(FunctionName=name, Payload=PAYLOAD)
        answer["Payload"].read()
        took = (time.perf_counter() - began) * 1000
        if "FunctionError" in answer:
            sys.exit(f"{name} failed")
        return took

    def delete(self, name: str) -> None:
        self._client.delete_function(FunctionName=name)

    def prepare(self, name: str, sandboxes: int) -> None:
        """Have so many warm ones: concurrent load until they are there."""
        self.invoke(name)
        load(self.port, self.request(), sandboxes, 3.0, self.pid, [])

    def request(self) -> bytes:
        """The same bytes again and again: a signature is good for minutes, and verified each
        time."""
        url = f"http://127.0.0.1:{self.port}/2015-03-31/functions/warm/invocations"
        request = botocore.awsrequest.AWSRequest("POST", url, data=PAYLOAD)
        credentials = botocore.credentials.Credentials(*self._pair)
        botocore.auth.SigV4Auth(credentials, "lambda", "us-east-1").add_auth(request)
        return http(self.port, "warm", dict(request.headers.items()))

    def kits(self) -> Iterator[Path]:
        cache = Path("/var/cache") if os.geteuid() == 0 else Path.home() / ".cache"
        cache = Path(os.environ.get("XDG_CACHE_HOME", cache)) if os.geteuid() else cache
        return iter(sorted((cache / "hearth" / "runtimes").glob(f"{PYTHON}-*"), reverse=True))

    def processes(self) -> dict[str, int]:
        names = {"hearth": self.pid}
        for pid in children(self.pid):
            command = Path(f"/proc/{pid}/cmdline").read_bytes().decode()
            names["nats-server" if "nats" in command else "launcher"] = pid
        return names

    def runtimes(self) -> list[int]:
        """The processes that run functions: those below the launcher without children."""
        found, look = [], [pid for name, pid in self.processes().items() if name == "launcher"]
        while look:
            pid = look.pop()
            below = children(pid)
            look += below
            if not below:
                found.append(pid)
        return found


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


@contextmanager
def hearth(state: Path, auth: str, pair: Pair | None = None, *options: str) -> Iterator[Hearth]:
    log = state.parent / f"{state.name}.log"
    with log.open("a") as stderr:
        process = subprocess.Popen(
            [HEARTH, "up", "--listen", "127.0.0.1:0", "--state", state, "--auth", auth, *options],
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=as_installed(state.parent),
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line.startswith("hearth ready "):
        sys.exit(f"hearth up: {line}{log.read_text()}")
    try:
        yield Hearth(process, line.split()[-1], pair)
    finally:
        process.terminate()
        process.wait(30)


def as_installed(folder: Path) -> dict[str, str]:
    """The environment, in which Hearth's modules are compiled once, as an installed package's are.
    Without that, which is how many a container runs tests, compiling them is half of a start."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return {**environment, "PYTHONPYCACHEPREFIX": str(folder / "compiled")}


def key(state: Path) -> Pair:
    done = subprocess.run(
        [HEARTH, "keys", "add", "bench", "--state", state, "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    made = json.loads(done.stdout)
    return made["access_key"], made["secret_key"]


def machine() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return f"{line.partition(':')[2].strip()}, Python {sys.version.split()[0]}"
    return f"Python {sys.version.split()[0]}"
