"""make demo: a whole life of Hearth in a few seconds, in a state directory that is thrown away.

Starts Hearth on a free port, deploys examples/hello, invokes it cold and warm, shows the log tail
and the timings, and stops it. Everything goes through the commands that a user types, and the
timings through an unmodified AWS client.
"""

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import botocore.config
import botocore.session

ROOT = Path(__file__).parent.parent
HEARTH = Path(sys.executable).parent / "hearth"
PYTHON = f"python{sys.version_info[0]}.{sys.version_info[1]}"
"""The one that is here for certain."""
WARM_INVOKES = 50


def main() -> int:
    state = Path(tempfile.mkdtemp(prefix="hearth-demo-"))
    try:
        return demo(state)
    finally:
        shutil.rmtree(state, ignore_errors=True)


def demo(state: Path) -> int:
    began = time.perf_counter()
    up = shown("up", "--listen", "127.0.0.1:0", "--state", str(state), "--detach")
    if up.returncode != 0:
        return up.returncode
    print(f"  (ready after {time.perf_counter() - began:.2f} s)")
    endpoint = up.stdout.split()[-1]
    environment = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    print(f"\n$ export AWS_ENDPOINT_URL={endpoint}")
    os.environ.update(environment)
    try:
        deploy = ("--handler", "app.handler", "--runtime", PYTHON)
        for command in (
            ("deploy", "examples/hello", *deploy),
            ("invoke", "hello", "-p", '{"name": "cold"}', "--log"),
            ("invoke", "hello", "-p", '{"name": "warm"}', "--log"),
        ):
            done = shown(*command)
            if done.returncode != 0:
                return done.returncode
        timings()
        shown("ps", "--state", str(state))
        shown("logs", "hello", "--state", str(state), lines=12)
    finally:
        stopped = shown("down", "--state", str(state))
    return stopped.returncode


def timings() -> None:
    """Cold and warm invokes as an AWS client sees them; its own share is about a millisecond."""
    quick = botocore.config.Config(retries={"total_max_attempts": 1})
    client: Any = botocore.session.get_session().create_client("lambda", config=quick)
    client.update_function_configuration(FunctionName="hello", Description="a fresh environment")
    client.get_waiter("function_updated_v2").wait(
        FunctionName="hello", WaiterConfig={"Delay": 1, "MaxAttempts": 30}
    )

    def invoke() -> float:
        began = time.perf_counter()
        client.invoke(FunctionName="hello", Payload=b'{"name": "timing"}')["Payload"].read()
        return (time.perf_counter() - began) * 1000

    cold = invoke()
    warm = [invoke() for _ in range(WARM_INVOKES)]
    print(f"\ncold start {cold:.1f} ms", end="; ")
    print(f"warm {statistics.median(warm):.2f} ms (median of {WARM_INVOKES}, client included)")


def shown(*arguments: str, lines: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run a hearth command as a user would, and show it and what it prints."""
    print(f"\n$ hearth {' '.join(map(quoted, arguments))}", flush=True)
    done = subprocess.run(
        [HEARTH, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False
    )
    output = done.stdout.splitlines()
    for line in output if lines is None else output[-lines:]:
        print(line)
    return done


def quoted(argument: str) -> str:
    return f"'{argument}'" if set(argument) & set(' {}"') else argument


if __name__ == "__main__":
    sys.exit(main())
