"""What is told of a function that reaches a limit, and what of one that only breaks?"""

import json
import re
from base64 import b64decode
from typing import TYPE_CHECKING, Any

import pytest

from compat.platform import Platform, create

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

pytestmark = pytest.mark.compat

CODE = """
import os, subprocess, sys, threading, time

MIB = 1 << 20
kept = []

def descriptors():
    opened = []
    try:
        while len(opened) < 5_000:
            opened.append(os.dup(0))
    except OSError as error:
        return [len(opened), error.strerror]
    finally:
        for fd in opened:
            os.close(fd)

def threads():
    end, started = threading.Event(), 0
    try:
        while started < 3_000:
            threading.Thread(target=end.wait, daemon=True).start()
            started += 1
    except RuntimeError as error:
        return [started, str(error)]
    finally:
        end.set()

def child_takes(mib):
    code = f"x = b'x' * ({mib} << 20); import time; time.sleep(60)"
    return subprocess.run([sys.executable, "-I", "-S", "-c", code]).returncode

def handler(event, context):
    do = event["do"]
    if do == "take":
        kept.append(b"x" * (event["mib"] * MIB))
        time.sleep(0.3)  # memory is looked at again after a tenth of a second
    if do == "give":
        kept.clear()
    if do == "child takes":
        return child_takes(event["mib"])
    if do == "exit":
        os._exit(event["code"])
    if do == "kill":
        os.kill(os.getpid(), 9)
    if do == "descriptors":
        return descriptors()
    if do == "threads":
        return threads()
    return "done"
"""


@pytest.fixture(scope="module")
def client(platform: Platform) -> "LambdaClient":
    made = platform.client()
    create(made, "limits", CODE, MemorySize=512, Timeout=60)
    return made


def told(client: "LambdaClient", **event: Any) -> tuple[Any, str]:
    """What the caller is told, and the REPORT line."""
    said = client.invoke(FunctionName="limits", Payload=json.dumps(event), LogType="Tail")
    payload = json.loads(said["Payload"].read())
    lines = b64decode(said["LogResult"]).decode().splitlines()
    return payload, next(line for line in reversed(lines) if line.startswith("REPORT "))


def used_mb(report: str) -> int:
    found = re.search(r"Max Memory Used: (\d+) MB", report)
    assert found is not None, report
    return int(found[1])


def test_out_of_memory_is_told_from_a_crash(client: "LambdaClient") -> None:
    for do in ("take", "child takes"):
        answer, report = told(client, do=do, mib=900)
        assert answer["errorType"] == "Runtime.ExitError"
        assert answer["errorMessage"].endswith("Error: Runtime exited with error: signal: killed")
        assert report.rstrip().endswith("Status: error\tError Type: Runtime.OutOfMemory"), do
    for do, words in (("kill", "signal: killed"), ("exit", "exit status 7")):
        answer, report = told(client, do=do, code=7)
        assert answer["errorMessage"].endswith(f"Error: Runtime exited with error: {words}")
        assert report.rstrip().endswith("Status: error\tError Type: Runtime.ExitError"), do


def test_the_memory_that_is_shown_was_used(client: "LambdaClient") -> None:
    _, before = told(client, do="nothing")
    answer, during = told(client, do="take", mib=200)
    assert answer == "done"
    assert 200 <= used_mb(during) <= 400
    assert used_mb(before) < 200
    told(client, do="give")


def test_descriptors_and_threads_are_bounded_as_in_lambda(client: "LambdaClient") -> None:
    (opened, why), _ = told(client, do="descriptors")
    assert why == "Too many open files"
    assert 900 < opened <= 1024
    (started, why), _ = told(client, do="threads")
    assert why == "can't start new thread"
    assert 900 < started <= 1028
