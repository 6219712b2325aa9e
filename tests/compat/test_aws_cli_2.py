"""AWS's command line, version 2, as README tells a new user to use it.

It is not on PyPI: where none is installed (Debian: awscli) these are skipped. Versions before 2.13
do not know AWS_ENDPOINT_URL, so that each call is told by --endpoint-url, which all know.
"""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from compat.platform import PYTHON, ROLE, Platform, create, package, wait_until

SHORT: Final = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d said \{'n': 1\}"
DETAILED: Final = r"\S+\+00:00 \d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32} said \{'n': 1\}"
STOPPED: Final = {0, 130}
"""What Ctrl-C leads to, in older and newer versions."""


def _is_version_2(program: Path) -> bool:
    asked = subprocess.run(
        [program, "--version"], capture_output=True, text=True, timeout=60, check=False
    )
    return (asked.stdout + asked.stderr).startswith("aws-cli/2.")


@pytest.fixture(scope="module")
def aws() -> Path:
    places = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/local/bin", "/usr/bin"]
    programs = [shutil.which("aws", path=place) for place in dict.fromkeys(places) if place]
    for program in filter(None, programs):
        if _is_version_2(Path(program)):
            return Path(program)
    pytest.skip("the AWS CLI is not here in version 2 (Debian: apt-get install awscli)")


def call(platform: Platform, program: Path, *arguments: str) -> str:
    done = platform.run(program, "--endpoint-url", platform.endpoint, "--no-cli-pager", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_logs_tail_prints_and_filters(platform: Platform, aws: Path) -> None:
    client = platform.client()
    create(client, "tailed", "def handler(event, context):\n    print('said', event)")
    client.invoke(FunctionName="tailed", Payload=b'{"n": 1}')

    def tail(*more: str) -> list[str]:
        return call(platform, aws, "logs", "tail", "/aws/lambda/tailed", *more).splitlines()

    lines = tail("--since", "1h", "--format", "short")
    assert [line for line in lines if re.fullmatch(SHORT, line)], lines
    assert any(" REPORT RequestId: " in line for line in lines)
    filtered = tail("--filter-pattern", "said")  # of the last ten minutes
    assert [line for line in filtered if re.fullmatch(DETAILED, line)] == filtered != []


def test_logs_tail_follows_until_ctrl_c(platform: Platform, aws: Path) -> None:
    client = platform.client()
    create(client, "followed", "def handler(event, context):\n    print('said', event)")
    client.invoke(FunctionName="followed", Payload=b"1")
    following = ("--endpoint-url", platform.endpoint, "logs", "tail", "/aws/lambda/followed")
    with platform.command_running(*following, "--follow", program=aws) as tail:
        wait_until(lambda: "said 1" in tail.said(), "what was said is shown")
        client.invoke(FunctionName="followed", Payload=b"2")
        wait_until(lambda: "said 2" in tail.said(), "what is said then is shown")
        assert tail.interrupt() in STOPPED
        assert tail.said().count("said 1") == 1
        assert "Traceback" not in tail.said()


def test_a_function_is_made_waited_for_invoked_and_listed(
    platform: Platform, aws: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "f.zip"
    archive.write_bytes(package({"app.py": "def handler(event, context): return {'got': event}"}))
    settings = ("--runtime", PYTHON, "--handler", "app.handler", "--role", ROLE)
    code = ("--zip-file", f"fileb://{archive}")
    named = ("--function-name", "by-cli-2")
    made = call(platform, aws, "lambda", "create-function", *named, *settings, *code)
    assert json.loads(made)["State"] in {"Pending", "Active"}
    call(platform, aws, "lambda", "wait", "function-active-v2", *named)
    out = tmp_path / "out.json"
    payload = ("--cli-binary-format", "raw-in-base64-out", "--payload", '{"n": "\u00fc"}')
    answer = call(platform, aws, "lambda", "invoke", *named, *payload, str(out))
    assert json.loads(answer)["StatusCode"] == 200
    assert json.loads(out.read_text()) == {"got": {"n": "\u00fc"}}
    create(platform.client(), "by-cli-2-too", "def handler(event, context): pass")
    query = "Functions[?starts_with(FunctionName, 'by-cli-2')].FunctionName"
    paged = ("list-functions", "--page-size", "1", "--query", query, "--output", "json")
    assert sorted(json.loads(call(platform, aws, "lambda", *paged))) == ["by-cli-2", "by-cli-2-too"]
