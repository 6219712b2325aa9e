"""A whole Hearth as its users run it: `hearth up` in a process group of its own."""

import io
import os
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import boto3
import botocore.config
import botocore.exceptions
import pytest

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

HEARTH = Path(sys.executable).parent / "hearth"
AWS = Path(sys.executable).parent / "aws"
READY = "hearth ready "
START_S = 60.0
STOP_S = 60.0
ROLE = "arn:aws:iam::000000000000:role/lambda"
PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
"""The runtime that every machine with these tests has: the Python that runs them."""


def as_installed() -> dict[str, str]:
    """The environment, but Hearth's modules are compiled once, as an installed package's are: with
    PYTHONDONTWRITEBYTECODE, as containers often have it, that is a third of each start."""
    return {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


class Platform:
    """One running Hearth."""

    def __init__(self, state: Path, *options: str) -> None:
        self._state = state
        self._options = options
        self._process: subprocess.Popen[str] | None = None
        self._log: IO[str] | None = None
        self.endpoint = ""

    def start(self) -> None:
        """Run `hearth up` and wait for its ready line."""
        log_path = self._state.parent / f"{self._state.name}.log"
        self._log = log_path.open("a")
        self._process = subprocess.Popen(
            [HEARTH, "up", "--listen", "127.0.0.1:0", "--state", self._state, *self._options],
            stdout=subprocess.PIPE,
            stderr=self._log,
            stdin=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            env=as_installed(),
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.startswith(READY):
            status = self._process.wait(STOP_S)
            said = log_path.read_text()[-4000:]
            self.close()
            pytest.fail(f"hearth up did not become ready: {line!r}, status {status}\n{said}")
        self.endpoint = line.removeprefix(READY).strip()

    @property
    def state(self) -> Path:
        return self._state

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def stop(self) -> int:
        """SIGTERM; returns the exit status."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(STOP_S)
        self.close()
        return status

    def wait(self, within_s: float) -> int:
        """Its exit status, once it has ended by itself."""
        assert self._process is not None
        status = self._process.wait(within_s)
        self.close()
        return status

    def said(self) -> str:
        """What it wrote to stderr so far."""
        return (self._state.parent / f"{self._state.name}.log").read_text()

    def kill_group(self) -> None:
        """kill -9 of the whole process group, as a power button would."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(STOP_S)
        self.close()

    def close(self) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait(STOP_S)
            if self._process.stdout is not None:
                self._process.stdout.close()
        if self._log is not None:
            self._log.close()
            self._log = None

    def client(self, **more: Any) -> "LambdaClient":
        """An unmodified boto3 client, pointed here."""
        client: LambdaClient = self.service("lambda", **more)
        return client

    def service(self, name: str, **more: Any) -> Any:
        """The same of any service."""
        config = botocore.config.Config(
            retries={"total_max_attempts": 1}, read_timeout=60, max_pool_connections=64
        )
        options: dict[str, Any] = {
            "endpoint_url": self.endpoint,
            "region_name": "us-east-1",
            "aws_access_key_id": "test",
            "aws_secret_access_key": "test",
            "config": config,
        }
        return boto3.client(name, **(options | more))  # type: ignore[call-overload]

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A hearth command of a user, against this platform."""
        return self.run(HEARTH, *arguments)

    @contextmanager
    def command_running(self, *arguments: str, program: Path = HEARTH) -> Iterator["Command"]:
        """A command that goes on until it is interrupted."""
        with tempfile.TemporaryFile() as said:
            # A test run in the background of a shell ignores interrupts; its children would too.
            hearing = ["env", "--default-signal=INT", str(program)]
            process = subprocess.Popen(
                [*hearing, *arguments], stdout=said, stderr=said, env=self._environment()
            )
            try:
                yield Command(process, said)
            finally:
                process.kill()
                process.wait()

    def aws(self, *arguments: str) -> str:
        """What AWS's command line prints; it must succeed."""
        done = self.run(AWS, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(self, *command: str | Path) -> subprocess.CompletedProcess[str]:
        """Any program, with an AWS client's environment that leads here."""
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=self._environment(),
        )

    def _environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_DEFAULT_REGION": "us-east-1",
            "HEARTH_STATE": str(self._state),
        }


class Command:
    """A command that is running."""

    def __init__(self, process: subprocess.Popen[bytes], said: IO[bytes]) -> None:
        self._process = process
        self._said = said

    def said(self) -> str:
        """On stdout and stderr, so far."""
        size = os.fstat(self._said.fileno()).st_size
        return os.pread(self._said.fileno(), size, 0).decode()

    def interrupt(self) -> int:
        """Ctrl-C; returns its exit status."""
        self._process.send_signal(signal.SIGINT)
        return self._process.wait(STOP_S)


@contextmanager
def running(state: Path, *options: str) -> Iterator[Platform]:
    platform = Platform(state, *options)
    platform.start()
    try:
        yield platform
    finally:
        platform.close()


def package(files: Mapping[str, str], executable: tuple[str, ...] = ()) -> bytes:
    """A zip with these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            info = zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0))
            info.external_attr = (0o755 if name in executable else 0o644) << 16
            archive.writestr(info, text)
    return buffer.getvalue()


def create(client: "LambdaClient", name: str, code: str, **settings: Any) -> str:
    """Create a Python function of one module, wait until it is active; returns its ARN."""
    members: dict[str, Any] = {
        "FunctionName": name,
        "Runtime": PYTHON,
        "Role": ROLE,
        "Handler": "app.handler",
        "Code": {"ZipFile": package({"app.py": code})},
    }
    arn = client.create_function(**(members | settings))["FunctionArn"]
    wait_active(client, name)
    return arn


def wait_active(client: "LambdaClient", name: str) -> None:
    """As boto3's waiter does, which looks once a second."""
    _wait_while(client, name, "State", "Pending")


def wait_updated(client: "LambdaClient", name: str) -> None:
    _wait_while(client, name, "LastUpdateStatus", "InProgress")


def _wait_while(client: "LambdaClient", name: str, member: str, under_way: str) -> None:
    last: Any = {}

    def is_over() -> bool:
        last.update(client.get_function_configuration(FunctionName=name))
        return bool(last[member] != under_way)

    wait_until(is_over, f"{name} is no longer {under_way}")
    if last[member] == "Failed":
        reason = last.get("StateReason") or last.get("LastUpdateStatusReason")
        raise botocore.exceptions.WaiterError(name, f"{member}: Failed, {reason}", last)


def wait_until(condition: Any, what: str, within_s: float = 60.0) -> None:
    """Wait for a condition, never for a time."""
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"not within {within_s} s: {what}")
        time.sleep(0.02)
