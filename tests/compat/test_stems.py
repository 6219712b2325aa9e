"""Are starts served from sandboxes that were launched before, and does nothing of those stay?"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compat.platform import Platform, create, running, wait_until
from hearth.worker.sandboxes.oci import find_runtime

pytestmark = [pytest.mark.compat, pytest.mark.timeout(300)]

EVENTUALLY_S = 60.0
CODE = """
import os
def handler(event, context):
    return {"pid": os.getpid(), "name": context.function_name, "mine": os.environ.get("MINE"),
            "memory": context.memory_limit_in_mb, "argv": open("/proc/self/cmdline").read()}
"""


@pytest.fixture(scope="module")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A Hearth whose account has stems that wait."""
    with running(tmp_path_factory.mktemp("stems") / "state", "--stems-min", "3") as platform:
        create(platform.client(), "first", CODE)
        call(platform, "first")
        wait_for_stems(platform)
        yield platform


def status(platform: Platform) -> Any:
    return json.loads(platform.command("status", "--json").stdout)


def wait_for_stems(platform: Platform) -> None:
    def is_stocked() -> bool:
        return any(kind["ready"] >= 1 for kind in status(platform)["stems"]["kinds"])

    wait_until(is_stocked, "a stem", EVENTUALLY_S)


def call(platform: Platform, name: str) -> Any:
    answer: Any = platform.client().invoke(FunctionName=name)
    assert "FunctionError" not in answer
    return json.loads(answer["Payload"].read())


def test_a_start_finds_a_stem_and_becomes_its_function(stocked: Platform) -> None:
    wait_for_stems(stocked)
    before = status(stocked)["stems"]
    settings: dict[str, Any] = {"MemorySize": 320, "Environment": {"Variables": {"MINE": "yes"}}}
    create(stocked.client(), "second", CODE, **settings)
    seen = call(stocked, "second")
    assert (seen["pid"], seen["name"], seen["mine"], seen["memory"]) == (2, "second", "yes", "320")
    assert seen["argv"].split("\0")[2] == "/var/runtime/bootstrap.py"
    after = status(stocked)["stems"]
    assert (after["taken"], after["missed"]) == (before["taken"] + 1, before["missed"])
    assert after["memory_mb"] <= after["memory_mb_max"]


def test_they_are_shown_to_people(stocked: Platform) -> None:
    wait_for_stems(stocked)
    assert "stems" in stocked.command("status").stdout
    listed = stocked.command("ps")
    assert "launched and waiting for python3" in listed.stderr
    assert "first" in listed.stdout


def test_a_strict_function_gets_a_process_of_its_own(stocked: Platform) -> None:
    client = stocked.client()
    create(client, "strict", CODE, Tags={"hearth:isolation": "strict"})
    version = client.publish_version(FunctionName="strict")["Version"]
    tagged = create(client, "tagged", CODE)
    client.tag_resource(Resource=tagged, Tags={"hearth:isolation": "strict"})
    before = status(stocked)["stems"]
    for name in ("strict", f"strict:{version}", "tagged"):
        assert call(stocked, name)["pid"] == 2
    after = status(stocked)["stems"]
    assert (after["taken"], after["missed"]) == (before["taken"], before["missed"])


@pytest.mark.parametrize("how", ["down", "kill -9"])
def test_none_survives_its_hearth(tmp_path: Path, how: str) -> None:
    with running(tmp_path / "state") as platform:
        create(platform.client(), "first", CODE)
        call(platform, "first")
        wait_for_stems(platform)
        everything = descendants(platform.pid)
        assert any("zygote_process.py" in arguments(pid) for pid, _ in everything)
        if how == "down":
            assert platform.command("down").returncode == 0
            assert platform.wait(EVENTUALLY_S) == 0
        else:
            platform.kill_group()
        wait_until(
            lambda: not [pid for pid, began in everything if started(pid) == began],
            "the end of all that it started",
            EVENTUALLY_S,
        )


def descendants(pid: int) -> list[tuple[int, str]]:
    """With when each started: a number may be given again."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            found += [(child, started(child)), *descendants(child)]
    return found


def started(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def arguments(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def test_on_gvisor_too_a_start_finds_one_that_waits(stocked: Platform) -> None:
    """The first is made when the first function has shown that there is need. A strict one is not
    given any."""
    if find_runtime("runsc") is None:
        pytest.skip("runsc is not installed")
    tags = {"hearth:sandbox": "runsc"}
    for name in ("kernel-1", "kernel-2"):
        create(stocked.client(), name, CODE, Tags=tags)
    create(stocked.client(), "kernel-3", CODE, Tags={**tags, "hearth:isolation": "strict"})
    assert call(stocked, "kernel-1")["name"] == "kernel-1"

    def has_waiting() -> bool:
        kinds = status(stocked)["stems"]["kinds"]
        return any("runsc" in kind["runtime"] and kind["ready"] for kind in kinds)

    wait_until(has_waiting, "a stem of gVisor", EVENTUALLY_S)
    before = status(stocked)["stems"]
    seen = call(stocked, "kernel-2")
    after = status(stocked)["stems"]
    assert (after["taken"], after["missed"]) == (before["taken"] + 1, before["missed"])
    assert seen["name"] == "kernel-2"
    assert "waiter.py" in seen["argv"], "it was started again"
    assert "waiter.py" not in call(stocked, "kernel-3")["argv"]
    assert status(stocked)["stems"]["taken"] == after["taken"]
