"""kill -9 of any part, at any moment: the next start finds, and leaves, nothing of it.

`make kill` does it 28 times. Processes are known by their number and when they started, never by
whose children they are.
"""

import contextlib
import json
import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import botocore.exceptions
import pytest

from compat.platform import Platform, create, running, wait_until
from contract.sandbox_scene import groups_of as groups_of_instance
from hearth.app.choices import instance_of
from hearth.worker import code_cache

if TYPE_CHECKING:
    from types_boto3_lambda import LambdaClient

KILLS = int(os.environ.get("HEARTH_TEST_KILLS", "2"))
SEED = 20261128
LOAD = 4
GONE_S = 60.0

pytestmark = [pytest.mark.compat, pytest.mark.timeout(300 + 120 * KILLS)]

# Leaves a daemon behind, which is frozen with the rest when nothing is asked for.
CODE = """
import subprocess, sys, time

DAEMON = "import os, time\\nif os.fork(): os._exit(0)\\nos.setsid()\\nwhile True: time.sleep(0.01)"

subprocess.run([sys.executable, "-I", "-S", "-c", DAEMON], check=True)

def handler(event, context):
    time.sleep(event["sleep_s"])
    return "done"
"""

VICTIMS = ("platform and stub", "launcher", "platform", "stub", "zygote", "sandbox", "group")


def test_a_part_that_is_killed_leaves_nothing_after_the_next_start(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    state = tmp_path / "state"
    for number in range(KILLS):
        victim = VICTIMS[number % len(VICTIMS)]
        family = one_kill(state, victim, chance)
        with running(state) as again:
            wait_until(lambda f=family: not alive(f), f"all are gone after: {victim}", GONE_S)
            # Those of the Hearth that runs now are not left over.
            wait_until(lambda a=again: len(groups_of(state)) <= own(a), "old cgroups go", GONE_S)
            assert again.stop() == 0
        assert not groups_of(state), f"cgroups are left after: {victim}"
        assert not leftovers(state), f"files are left after: {victim}"


def one_kill(state: Path, victim: str, chance: random.Random) -> dict[int, str]:
    """Start, have functions run and stand still, kill; who was there, and when each began."""
    with running(state, "--freeze-after", "0", "--sandbox", "zygote") as platform:
        client = platform.client()
        with contextlib.suppress(client.exceptions.ResourceConflictException):
            create(client, "f", CODE, MemorySize=1769, Timeout=30)
        assert works(client), "it did not work before anybody was killed"
        load = [
            threading.Thread(target=burst, args=(platform, n), daemon=True) for n in range(LOAD)
        ]
        for thread in load:
            thread.start()
        time.sleep(chance.uniform(0, 1.5))  # any moment: of starts, runs, freezes, ends
        family = {pid: began(pid) for pid in (platform.pid, *below(platform.pid))}
        for pid in victims(platform, victim):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if "platform" in victim or victim == "group":
            platform.wait(GONE_S)
        else:
            wait_until(lambda: works(client), f"functions work again after: {victim}", GONE_S)
            assert platform.stop() == 0
        for thread in load:
            thread.join(GONE_S)
    return {pid: when for pid, when in family.items() if when}


def works(client: "LambdaClient") -> bool:
    try:
        said = client.invoke(FunctionName="f", Payload=json.dumps({"sleep_s": 0}))
    except (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
        return False
    return said["Payload"].read() == b'"done"'


def burst(platform: Platform, number: int) -> None:
    """Three invokes, with pauses in which there is time to be frozen; until Hearth is gone."""
    client = platform.client()
    for pause_s in (0.0, 0.3, 0.3):
        time.sleep(pause_s)
        with contextlib.suppress(
            botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError
        ):
            client.invoke(FunctionName="f", Payload=json.dumps({"sleep_s": 0.1 * number}))


def victims(platform: Platform, victim: str) -> list[int]:
    """Who is to be killed; nobody, if it is not there at this moment."""
    if victim == "group":
        return [platform.pid, *below(platform.pid)]
    found = [platform.pid] if "platform" in victim else []
    stub = next((p for p in children(platform.pid) if b"/launcher_process.py" in command(p)), None)
    if stub is None:
        return found
    launcher = children(stub)
    found += [stub] if "stub" in victim else []
    found += launcher if victim == "launcher" else []
    sandboxes = [pid for parent in launcher for pid in children(parent)]
    if victim == "zygote":
        depth = len(pids_of(launcher[0])) if launcher else 0
        found += [pid for pid in sandboxes if len(pids_of(pid)) == depth]
    if victim == "sandbox":
        found += sandboxes[-1:]
    return found


def alive(family: dict[int, str]) -> list[int]:
    return [pid for pid, when in family.items() if began(pid) == when and not is_zombie(pid)]


def stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def began(pid: int) -> str:
    return (stat(pid) or [""] * 20)[19]


def is_zombie(pid: int) -> bool:
    """Dead, and only waits for a parent that this machine's init may be slow to be."""
    return stat(pid)[:1] in (["Z"], ["X"])


def command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def pids_of(pid: int) -> list[str]:
    """Its pids, one for each pid namespace that it is in."""
    try:
        rows = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return []
    return next((row.split()[1:] for row in rows if row.startswith("NSpid:")), [])


def children(pid: int) -> list[int]:
    found = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += [int(child) for child in (task / "children").read_text().split()]
    except OSError:
        return found
    return found


def below(pid: int) -> list[int]:
    found = []
    for child in children(pid):
        found += [child, *below(child)]
    return found


def groups_of(state: Path) -> list[Path]:
    return groups_of_instance(instance_of(state))


def own(platform: Platform) -> int:
    return len([g for g in groups_of(platform.state) if f"-{platform.pid}-" in g.name])


def leftovers(state: Path) -> list[Path]:
    """What was on its way to its name when it was left; see code_cache.py."""
    prefixes = (code_cache._UNPACKING, code_cache._GONE)
    return [path for path in (state / "code").iterdir() if path.name.startswith(prefixes)]
