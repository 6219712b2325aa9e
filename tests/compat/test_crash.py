"""kill -9 of everything, at any moment: what was acknowledged is there, nothing is left over."""

import contextlib
import hashlib
import os
import random
import threading
from base64 import b64encode
from pathlib import Path
from typing import TYPE_CHECKING, Any

import botocore.exceptions
import pytest

from compat.platform import (
    PYTHON,
    ROLE,
    Platform,
    create,
    package,
    running,
    wait_active,
    wait_until,
)
from contract.sandbox_scene import groups_of
from hearth.app.choices import instance_of

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

pytestmark = [pytest.mark.compat, pytest.mark.timeout(300)]

ROUNDS = 10
CALLS = 100
WRITERS = 4


class Writer(threading.Thread):
    """Creates and updates functions until its Hearth is gone; remembers what was acknowledged."""

    def __init__(self, platform: Platform, number: int, calls: int) -> None:
        super().__init__()
        self.acknowledged: dict[str, tuple[str, str]] = {}
        """Per function: the code's sha256, the description."""
        self.uncertain: dict[str, list[tuple[str, str]]] = {}
        """What a call that got no answer may have made of it."""
        self._client = platform.client()
        self._number = number
        self._calls = calls
        self.done = 0

    def run(self) -> None:
        for call in range(self._calls):
            name = f"w{self._number}-{call // 3}"
            code = package({"app.py": f"def handler(e, c): return '{self._number}-{call}'"})
            sha = b64encode(hashlib.sha256(code).digest()).decode()
            before = self.acknowledged.get(name)
            try:
                after = self._change(call, name, code, sha, before)
            except self._client.exceptions.ResourceConflictException:
                continue  # another update was in progress: refused, nothing changed
            except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
                maybe = (sha if call % 3 != 1 else (before or ("", ""))[0], f"d{call}")
                self.uncertain.setdefault(name, []).extend([maybe, (sha, (before or ("", ""))[1])])
                return
            self.acknowledged[name] = after
            self.done += 1

    def _change(
        self, call: int, name: str, code: bytes, sha: str, before: tuple[str, str] | None
    ) -> tuple[str, str]:
        if before is None:
            members: dict[str, Any] = {
                "FunctionName": name,
                "Runtime": PYTHON,
                "Role": ROLE,
                "Handler": "app.handler",
                "Description": f"d{call}",
                "Code": {"ZipFile": code},
            }
            self._client.create_function(**members)
            return sha, f"d{call}"
        wait_until(lambda: self._settled(name), f"{name} is settled")
        if call % 3 == 1:
            self._client.update_function_configuration(FunctionName=name, Description=f"d{call}")
            return before[0], f"d{call}"
        self._client.update_function_code(FunctionName=name, ZipFile=code)
        return sha, before[1]

    def _settled(self, name: str) -> bool:
        got = self._client.get_function_configuration(FunctionName=name)
        return got["State"] != "Pending" and got["LastUpdateStatus"] != "InProgress"


def test_nothing_acknowledged_is_lost_in_ten_kills(tmp_path: Path) -> None:
    chance = random.Random(20261123)
    state = tmp_path / "state"
    known: dict[str, tuple[str, str]] = {}
    for round_ in range(ROUNDS):
        platform = Platform(state)
        platform.start()
        try:
            writers = [
                Writer(platform, round_ * WRITERS + n, CALLS // WRITERS) for n in range(WRITERS)
            ]
            for writer in writers:
                writer.start()
            kill_after = chance.randrange(1, CALLS)
            wait_until(
                lambda writers=writers, kill_after=kill_after: (
                    sum(w.done for w in writers) >= kill_after
                    or not any(w.is_alive() for w in writers)
                ),
                "enough calls were made",
                60,
            )
        finally:
            platform.kill_group()
        for writer in writers:
            writer.join(30)
        check_after_restart(state, known, writers)


def check_after_restart(
    state: Path, known: dict[str, tuple[str, str]], writers: list[Writer]
) -> None:
    for writer in writers:
        known.update(writer.acknowledged)
    uncertain: dict[str, list[tuple[str, str]]] = {}
    for writer in writers:
        for name, maybe in writer.uncertain.items():
            uncertain.setdefault(name, []).extend(maybe)
    platform = Platform(state)
    platform.start()
    try:
        client = platform.client()
        found = {}
        for page in client.get_paginator("list_functions").paginate():
            for function in page["Functions"]:
                name = function["FunctionName"]
                found[name] = function["CodeSha256"], function["Description"]
        for name, expected in known.items():
            allowed = [expected, *uncertain.get(name, [])]
            assert found.get(name) in allowed, f"{name}: {found.get(name)} is none of {allowed}"
        for name in found.keys() - known.keys():
            assert name in uncertain, f"{name} was never created"
        for name in list(known)[-3:]:
            wait_active(client, name)
            answer = client.invoke(FunctionName=name)
            assert not answer.get("FunctionError"), answer["Payload"].read()
        known.update(found)
    finally:
        assert platform.stop() == 0


def processes_of(state: Path) -> list[str]:
    """Command lines of every process that has to do with this state directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue  # it has just ended
            if str(state) in command:
                found.append(command)
    return found


def descendants(pid: int) -> set[int]:
    found: set[int] = set()
    look = [pid]
    while look:
        try:
            text = Path(f"/proc/{look[-1]}/task/{look.pop()}/children").read_text()
        except OSError:
            continue
        new = {int(child) for child in text.split()} - found
        found |= new
        look += new
    return found


def test_a_kill_leaves_no_process_and_the_next_start_no_leftovers(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with running(state) as platform:
        client = platform.client()
        create(client, "sleeps", "import time\ndef handler(e, c): time.sleep(60)", Timeout=90)
        invoke = threading.Thread(target=invoke_until_killed, args=(client,), daemon=True)
        invoke.start()
        wait_until(lambda: len(descendants(platform.pid)) >= 4, "the sandbox runs")
        family = descendants(platform.pid)
        platform.kill_group()
        wait_until(lambda: not any(Path(f"/proc/{p}").exists() for p in family), "all are gone")
        invoke.join(30)
    with running(state) as again:
        assert again.command("status").returncode == 0
        assert again.stop() == 0
    wait_until(lambda: not processes_of(state), "no process knows this state")
    assert not cgroups_of(state), "cgroups are left over"


def invoke_until_killed(client: "LambdaClient") -> None:
    with contextlib.suppress(botocore.exceptions.BotoCoreError):
        client.invoke(FunctionName="sleeps")


def cgroups_of(state: Path) -> list[Path]:
    """Cgroups that a Hearth on this state directory made."""
    return groups_of(instance_of(state))


def test_a_second_start_on_the_same_state_is_refused_in_plain_words(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with running(state) as platform:
        second = platform.command("up", "--listen", "127.0.0.1:0", "--state", str(state))
        assert second.returncode == 1
        assert "already running" in second.stderr
        assert f"pid {platform.pid}" in second.stderr
        assert platform.stop() == 0
