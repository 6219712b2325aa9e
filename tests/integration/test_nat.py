"""What does a sandbox with the network nat reach? The outside, and nothing that is near.

In network namespaces of the test's own: nat/scenario.py.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from integration.escape.ordinary_user import UID, ordinary_user

pytestmark = pytest.mark.integration

SCENARIO = Path(__file__).parent / "nat" / "scenario.py"
WAIT_S = 150.0
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
REFUSED = {"ConnectionRefusedError", "OSError"}


@pytest.fixture(scope="module", params=["bubblewrap", "runc", "runsc"])
def seen(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    if os.geteuid() != 0:
        pytest.skip("only root makes network namespaces that forward")
    for program in ("nft", "ip"):
        if shutil.which(program, path=PATH) is None:
            pytest.skip(f"{program} is not there")
    return report(request.param, SCENARIO, tmp_path_factory.mktemp("nat"))


def report(kind: str, scenario: Path, directory: Path, *become: str) -> Any:
    said = subprocess.run(
        [sys.executable, str(scenario), kind, str(directory), *become],
        env={"PYTHONPATH": os.pathsep.join(sys.path), "PATH": PATH},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )
    assert said.returncode == 0, said.stderr
    found = json.loads(said.stdout)
    if "why_not" in found:
        pytest.skip(f"no {kind} here: {found['why_not']}")
    return found


@pytest.fixture(scope="module", params=["bubblewrap", "runc"])
def seen_by_user(request: pytest.FixtureRequest) -> Any:
    for program in ("nft", "ip", "slirp4netns"):
        if shutil.which(program, path=PATH) is None:
            pytest.skip(f"{program} is not there")
    with ordinary_user() as user:
        (user.packages / "scenario.py").write_bytes(SCENARIO.read_bytes())
        own = ["env", f"PYTHONPATH={user.packages}", f"HOME={user.home}", user.setpriv]
        drop = [f"--reuid={UID}", f"--regid={UID}", "--clear-groups", "--", user.interpreter]
        return report(request.param, user.packages / "scenario.py", user.home, *own, *drop)


def test_an_ordinary_user_reaches_the_outside_and_nothing_near_too(seen_by_user: Any) -> None:
    inside = seen_by_user["inside"]
    assert inside["203.0.113.2"] == "203.0.113.1"
    assert inside["172.16.0.2"] == "203.0.113.1"  # opened
    closed = ("10.8.0.2", "169.254.169.254", "203.0.113.1", "10.8.0.1", "gateway", "127.0.0.1")
    assert {inside[address] for address in closed} <= REFUSED
    assert sorted(inside["interfaces"]) == ["lo", "tap0"]
    assert inside["resolv.conf"] == "nameserver 10.0.2.3\n"
    assert seen_by_user["neighbour"]["neighbour"] != "neighbour"


def test_it_reaches_the_outside_under_the_machines_address(seen: Any) -> None:
    assert seen["inside"]["203.0.113.2"] == "203.0.113.1"
    assert seen["again"]["outside"] == "203.0.113.1"


def test_what_is_near_is_closed_but_for_what_was_opened(seen: Any) -> None:
    inside = seen["inside"]
    for address in ("10.8.0.2", "169.254.169.254"):  # outside, but private
        assert inside[address] in REFUSED, address
    assert inside["172.16.0.2"] == "203.0.113.1" or inside["172.16.0.2"].startswith("172.16.")


def test_the_machine_itself_is_closed(seen: Any) -> None:
    inside = seen["inside"]
    for address in ("203.0.113.1", "10.8.0.1", "gateway"):
        assert inside[address] in REFUSED, address
    assert inside["127.0.0.1"] == "ConnectionRefusedError"


def test_other_sandboxes_are_closed(seen: Any) -> None:
    assert seen["neighbour"]["neighbour"] in REFUSED


def test_it_has_a_loopback_and_one_way_out(seen: Any) -> None:
    assert sorted(seen["inside"]["interfaces"]) == ["eth0", "lo"]


def test_the_rules_come_with_the_first_and_go_with_the_last(seen: Any) -> None:
    assert seen["rules before"] == ""
    assert "hearth_" in seen["rules"]
    assert seen["rules after"] == ""


def test_what_a_killed_worker_leaves_is_cleared_by_the_next_start(seen: Any) -> None:
    assert "hearth_" in seen["left behind"]
    assert seen["cleared"] == ""
