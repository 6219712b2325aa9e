"""The commands of README, and the AWS CLI, against a running Hearth."""

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
from pathlib import Path
from typing import Any

import botocore.exceptions
import pytest

from compat.platform import AWS, PYTHON, Platform, create, running, wait_until

pytestmark = pytest.mark.compat

EXAMPLE = Path(__file__).parents[2] / "examples" / "hello"


def test_deploy_invoke_logs_and_status(platform: Platform) -> None:
    deployed = platform.command(
        "deploy", str(EXAMPLE), "--handler", "app.handler", "--runtime", PYTHON
    )
    assert deployed.returncode == 0, deployed.stderr
    assert deployed.stdout.strip().endswith(":function:hello")
    invoked = platform.command("invoke", "hello", "-p", '{"name": "you"}', "--log")
    assert json.loads(invoked.stdout)["message"] == "Hello, you!"
    assert re.search(r"REPORT RequestId: .*Init Duration", invoked.stderr)
    wait_until(
        lambda: "REPORT RequestId" in platform.command("logs", "hello").stdout,
        "the log is readable",
    )
    assert "hello" in platform.command("ps").stdout
    status = platform.command("status")
    assert (status.returncode, platform.endpoint in status.stdout) == (0, True)


def test_a_function_error_is_an_exit_status(platform: Platform) -> None:
    create(platform.client(), "fails", "def handler(e, c): raise ValueError('no')")
    invoked = platform.command("invoke", "fails", "-p", "{}")
    assert invoked.returncode == 1
    assert json.loads(invoked.stdout)["errorType"] == "ValueError"


def test_ctrl_c_of_an_invoke_says_that_the_function_may_run_on(platform: Platform) -> None:
    create(platform.client(), "long", "import time\ndef handler(e, c): time.sleep(20)", Timeout=60)
    with platform.command_running("invoke", "long", "-p", "{}") as invoke:
        wait_until(lambda: " busy " in platform.command("ps").stdout, "it runs")
        assert invoke.interrupt() == 130
        assert invoke.said() == "Not waiting any more; the function may run on to its end.\n"


def test_an_unknown_function_is_told_in_a_sentence(platform: Platform) -> None:
    for command in (["invoke", "nobody", "-p", "{}"], ["logs", "nobody"]):
        told = platform.command(*command)
        assert told.returncode == 1
        assert "nobody" in told.stderr
        assert "Traceback" not in told.stderr


def test_the_aws_cli_works_unmodified(platform: Platform, tmp_path: Path) -> None:
    create(platform.client(), "cli", "def handler(e, c): return {'got': e}")

    def aws(*arguments: str) -> Any:
        done = subprocess.run(
            [AWS, "lambda", *arguments, "--output", "json"],
            env={
                **os.environ,
                "AWS_ENDPOINT_URL": platform.endpoint,
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_CONFIG_FILE": str(tmp_path / "none"),
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    listed = aws("list-functions")
    assert "cli" in [function["FunctionName"] for function in listed["Functions"]]
    out = tmp_path / "out.json"
    arguments = ("--function-name", "cli", "--payload", '{"n": 1}')
    answer = aws("invoke", *arguments, str(out))
    assert answer["StatusCode"] == 200
    assert json.loads(out.read_text()) == {"got": {"n": 1}}


def test_detach_runs_on_and_down_ends_it(tmp_path: Path) -> None:
    offline = Platform(tmp_path / "state")
    up = offline.command("up", "--detach", "--listen", "127.0.0.1:0")
    assert up.returncode == 0, up.stderr
    offline.endpoint = up.stdout.split()[-1]
    try:
        assert offline.client().list_functions()["Functions"] == []
        assert offline.command("status").returncode == 0
    finally:
        down = offline.command("down")
    assert down.returncode == 0
    assert offline.command("down").returncode == 0, "nothing to stop is no error"
    assert offline.command("status").returncode == 1


BEGINS_AND_SLEEPS = """import time
def handler(event, context):
    print("begun")
    time.sleep(3)
    return "done"
"""


def has_begun(platform: Platform, name: str) -> None:
    """Wait until the function says so: a command takes longer to start than some functions run."""
    logs = platform.service("logs")

    def has_said() -> bool:
        try:
            found = logs.filter_log_events(logGroupName=f"/aws/lambda/{name}")
        except logs.exceptions.ResourceNotFoundException:
            return False
        return any("begun" in event["message"] for event in found["events"])

    wait_until(has_said, "the function runs")


def test_sigterm_lets_a_running_invoke_end_and_exits_0(tmp_path: Path) -> None:
    with running(tmp_path / "state") as platform:
        client = platform.client()
        create(client, "slow", BEGINS_AND_SLEEPS, Timeout=30)
        outcome: list[Any] = []
        invoke = threading.Thread(
            target=lambda: outcome.append(
                json.loads(client.invoke(FunctionName="slow")["Payload"].read())
            )
        )
        invoke.start()
        has_begun(platform, "slow")
        assert platform.stop() == 0
        invoke.join(30)
        assert outcome == ["done"]


def test_a_second_ctrl_c_ends_at_once(tmp_path: Path) -> None:
    with running(tmp_path / "state", "--drain", "60") as platform:
        client = platform.client()
        create(client, "slow", "import time\ndef handler(e, c): time.sleep(60)", Timeout=90)
        invoke = threading.Thread(target=invoke_until_gone, args=(client,), daemon=True)
        invoke.start()
        wait_until(lambda: "busy" in platform.command("ps").stdout, "the function runs")
        os.kill(platform.pid, signal.SIGINT)
        wait_until(lambda: "Once more to end at once" in platform.said(), "it drains")
        os.kill(platform.pid, signal.SIGINT)
        assert platform.wait(20) != 0
        invoke.join(30)


def invoke_until_gone(client: Any) -> None:
    with contextlib.suppress(botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
        client.invoke(FunctionName="slow")


def test_a_saved_file_is_live_on_the_next_invoke(platform: Platform, tmp_path: Path) -> None:
    module = tmp_path / "watched" / "app.py"
    module.parent.mkdir()
    module.write_text("def handler(event, context): return 1\n")

    def answer() -> Any:
        return json.loads(platform.command("invoke", "watched").stdout)

    with platform.command_running(
        "deploy", str(module.parent), "--handler", "app.handler", "--runtime", PYTHON, "--watch"
    ) as watching:
        wait_until(lambda: "Watching" in watching.said(), "it watches")
        assert answer() == 1
        module.write_text("def handler(event, context): return 'changed'\n")
        wait_until(lambda: answer() == "changed", "the new code answers")
        (module.parent / "link").symlink_to("/etc/passwd")
        wait_until(lambda: "Not deployed" in watching.said(), "the link is refused")
        assert answer() == "changed"
        assert watching.interrupt() == 0
        assert "Not watching any more" in watching.said()


def test_a_sample_event_invokes_a_function(platform: Platform) -> None:
    create(platform.client(), "worker", "def handler(e, c): return e['Records'][0]['body']")
    sample = platform.command("event", "sqs", "--body", "seven").stdout
    invoked = platform.command("invoke", "worker", "-p", sample)
    assert json.loads(invoked.stdout) == "seven"
