"""What does a hostile function see and reach? Nothing that it was not given.

What it tries, and what must come of it, is the table in escape/attempts.py; what it sees is here.
The same holds whether Hearth runs as root or as an ordinary user. A run as root tests both: it
becomes an ordinary user for the second (escape/ordinary_user.py).
"""

import functools
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from integration.escape.attempts import ROOT_INSIDE, expected
from integration.escape.ordinary_user import UID, ordinary_user

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

HERE = Path(__file__).parent
ESCAPE = HERE / "escape"

PROBE_S = 180.0
CONTRACT_S = 500.0  # 20 s of an idle machine, but dozens of tests in one
Report = dict[str, Any]


TIERS = ("bubblewrap", "zygote", "stem", "template", "runc", "crun")
CONTAINERS = {"runc", "crun"}
WHO_AND_HOW = [(who, how) for how in TIERS for who in ("as-we-are", "ordinary-user")]


@functools.cache
def native(directory: Path) -> Path | None:
    """The program of C, compiled; None where nobody can."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    program = directory / "native"
    source = ESCAPE / "inside" / "native.c"
    said = subprocess.run(
        [compiler, "-O1", "-pthread", "-o", program, source], capture_output=True, check=False
    )
    return program if said.returncode == 0 else None  # musl has no names of errors, say


@pytest.fixture(scope="module", params=WHO_AND_HOW, ids="-".join)
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Report:
    who, how = request.param
    return probe(who, how, tmp_path_factory.mktemp("probe"))


def probe(who: str, how: str, directory: Path) -> Report:
    if not Path("/usr/bin/python3").exists():
        pytest.skip("/usr/bin/python3 is not there to be run in a sandbox")
    program = native(directory.parent)
    if who == "ordinary-user":
        with ordinary_user() as user:
            shutil.copy(ESCAPE / "scenario.py", user.packages)
            shutil.copytree(ESCAPE / "inside", user.packages / "inside")
            arguments = [str(user.packages / "scenario.py"), str(user.home), how]
            if program is not None:
                arguments.append(str(shutil.copy(program, user.packages / "native")))
            return understood(user.run(*arguments, timeout_s=PROBE_S))
    work = directory / "work"
    work.mkdir()
    arguments = [str(ESCAPE / "scenario.py"), str(work), how]
    said = subprocess.run(
        [sys.executable, *arguments, *([] if program is None else [str(program)])],
        env={"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PROBE_S,
        check=False,
    )
    return understood(said)


def understood(said: subprocess.CompletedProcess[str]) -> Report:
    assert said.returncode == 0, said.stderr
    found: Report = json.loads(said.stdout)
    if not found["capabilities"]["usable"]:
        pytest.skip(f"no {found['capabilities']['name']} here: {found['capabilities']['why_not']}")
    assert found["inside"], found["errors"]
    assert found["inside"]["missing"] == [], "this is no sandbox; nothing was tried"
    return found


@pytest.fixture(scope="module")
def inside(report: Report) -> Report:
    found = report["inside"]["facts"]
    assert isinstance(found, dict)
    return found


def test_every_attempt_comes_to_what_the_table_says(report: Report) -> None:
    came_to = {**report["inside"]["attempts"], **report["ends"]}
    table = expected(report["capabilities"]["name"])
    wrong = {
        name: f"{said}, but should be {' or '.join(table[name].allowed)}: {table[name].reason}"
        for name, said in came_to.items()
        if not table[name].allows(said)
        and not (name in ROOT_INSIDE and is_only_root_of_containers(report))
    }
    assert wrong == {}
    assert len(came_to) > 200


def test_every_row_of_the_table_is_tried(report: Report) -> None:
    came_to = report["inside"]["attempts"].keys() | report["ends"].keys()
    left = {name for name in expected(report["capabilities"]["name"]) if name not in came_to}
    # Calls that this architecture does not have.
    left -= {name for name in left if name.startswith("call: ")}
    if report["targets"]["processes max"] > 500:
        left -= {"fork without end"}  # native.c's instead
    if platform.machine() != "x86_64":
        left -= {"a call of x32", "a call of 32 bits"}
    assert not {name for name in left if not name.startswith("C: ")}
    if not report["inside"]["facts"]["native"]:
        pytest.skip("no C compiler here: the attempts of native.c were not made")
    assert left == set() or platform.machine() != "x86_64"


def test_outside_of_a_sandbox_it_looks_and_tries_nothing(tmp_path: Path) -> None:
    targets = {
        "numbers": {},
        "own kernel": False,
        "directory": str(tmp_path),
        "namespaces": {path.name: str(path.readlink()) for path in Path("/proc/self/ns").iterdir()},
    }
    said = subprocess.run(
        [sys.executable, "-m", "integration.escape.inside.hostile", json.dumps(targets)],
        cwd=HERE.parent,
        capture_output=True,
        text=True,
        timeout=PROBE_S,
        check=True,
    )
    found = json.loads(said.stdout)
    assert {"Seccomp", "NoNewPrivs", "user namespace", "root"} <= set(found["missing"])
    assert found["attempts"] == {}


def is_only_root_of_containers(report: Report) -> bool:
    found = report["capabilities"]
    return found["name"] in CONTAINERS and found["isolation"][0] != "own uid"


def test_it_is_nobody_of_importance_inside(inside: Report, report: Report) -> None:
    if is_only_root_of_containers(report):  # the runtimes need one, and an ordinary user has one
        assert inside["uids"] == [0, 0, 0, 0, 0]
        assert inside["uid_map"] == ["0", str(UID), "1"]
        return
    assert inside["uids"] == [993, 990, 993, 993, 993]


def test_it_is_never_the_hosts_root(report: Report) -> None:
    uids = {uid for seen in report["outside"] for uid in seen["uids"]}
    assert uids, "the host did not see the program at all"
    assert "0" not in uids
    if report["capabilities"]["isolation"][0] == "own uid":
        assert all(int(uid) > UID for uid in uids)
        assert {gid for seen in report["outside"] for gid in seen["gids"]} == uids


def test_it_has_no_capabilities_and_can_gain_no_privileges(inside: Report) -> None:
    status = inside["status"]
    capabilities = {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")}
    assert capabilities == {"0" * 16}
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert inside["setuid mounts"] == []


def test_it_sees_only_its_own_processes(inside: Report, report: Report) -> None:
    first, program = inside["processes"]
    assert first == 1
    assert program == 2 or report["how"] in {"runc", "template"}  # their own steps had numbers
    assert set(inside["cgroups"]) == {"/"}
    assert inside["hostname"] == "localhost"


def test_it_has_only_the_environment_that_it_was_given(inside: Report) -> None:
    # PWD is the working directory, as on Lambda; LC_CTYPE is Python's own.
    assert inside["environment"] == {"ONLY": "this", "PWD": "/var/task", "LC_CTYPE": "C.UTF-8"}


def test_no_descriptor_of_the_worker_leaks(inside: Report) -> None:
    for whose in ("own descriptors", "pid 1 descriptors"):
        if inside[whose] == "EACCES":
            continue
        for number, target in inside[whose].items():
            kind = target.partition(":")[0]
            if whose.startswith("own"):
                assert int(number) <= 2
            assert target in {"/dev/null", "anon_inode:[eventfd]"} or kind == "pipe"


def test_its_root_holds_nothing_of_the_host_but_programs(inside: Report) -> None:
    expected = {"bin", "dev", "etc", "opt", "proc", "sbin", "tmp", "usr", "var"}
    assert set(inside["root"]) - expected <= {"lib", "lib32", "lib64", "libx32"}
    assert inside["tmp"] == [], "another sandbox's /tmp"


def test_etc_and_dev_hold_what_we_put_there(inside: Report) -> None:
    made = {"passwd", "group", "hosts", "nsswitch.conf", "resolv.conf", "os-release"}
    allowed = {"alternatives", "ca-certificates", "ld.so.cache", "ssl", "pki"}
    allowed |= {f"java-{major}-openjdk" for major in (11, 17, 21, 25)}
    assert made <= set(inside["etc"]) <= made | allowed
    nodes = {"null", "zero", "full", "random", "urandom"}
    assert set(inside["dev"]) == nodes | {"fd", "shm", "stdin", "stdout", "stderr"}


def test_the_mount_table_names_no_path_of_the_host_but_the_codes(
    inside: Report, report: Report
) -> None:
    known = {
        "/": {"bubblewrap": "/newroot"}.get(report["capabilities"]["name"], "/"),
        "/usr": "/usr",
        "/etc": "/etc",
        "/proc": "/",
        "/dev": "/",
        "/dev/shm": "/",
        "/tmp": "/",
        "/var/task": report["targets"]["directory"] + "/code",
        "/var/runtime": report["targets"]["directory"] + "/kit",
    }
    for at, root, _ in inside["mounts"]:
        same_as_there = at.startswith(("/etc/", "/lib", "/usr/")) and root == at
        hidden = at.startswith("/proc/") and root in {"/empty", "/var/empty", "/null"}
        read_only = at.startswith("/proc/") and root == at.removeprefix("/proc")
        device = at.startswith("/dev/") and root == at.removeprefix("/dev")
        assert known.get(at) == root or same_as_there or hidden or device or read_only, (at, root)


def test_everything_but_tmp_and_shm_is_read_only(inside: Report) -> None:
    assert sorted(inside["writable directories"]) == ["/dev/shm", "/tmp"]
    for at, root, options in inside["mounts"]:
        flags = options.split(",")
        writable = at in {"/tmp", "/dev/shm", "/proc"} or at.startswith("/dev/") or root == "/null"
        assert "nosuid" in flags or at.startswith("/proc/")
        assert writable or "ro" in flags, at
        assert at.startswith(("/dev/", "/proc/")) or "nodev" in flags, at


def test_the_kernels_settings_cannot_be_written(inside: Report) -> None:
    # Its mode lets everybody open it; a write takes a capability.
    assert set(inside["writable settings"]) <= {"/proc/sys/kernel/ns_last_pid"}


def test_it_has_loopback_only(inside: Report) -> None:
    assert inside["interfaces"] == ["lo"]


def test_its_appetite_is_bounded(inside: Report, report: Report) -> None:
    assert 30 <= inside["MiB in /tmp"] <= 32
    assert 60 <= inside["MiB in /dev/shm"] <= 64
    assert inside["files in /tmp"] < 4096
    assert inside["files in /dev/shm"] < 4096
    limits = inside["limits"]
    assert limits["RLIMIT_NOFILE"] == [1024, 1024]
    assert limits["RLIMIT_CORE"][0] <= 1
    if not report["capabilities"]["memory_limit"].startswith("cgroup"):  # else pids.max bounds
        assert limits["RLIMIT_NPROC"] == [report["targets"]["processes max"] + 4] * 2


@pytest.mark.parametrize(
    ("which", "least"),
    [
        ("bubblewrap or launcher", 30),
        ("zygote and not launcher", 40),
        ("[stem]", 20),
        ("test_templates", 9),
    ],
)
def test_the_contract_holds_for_an_ordinary_user_too(which: str, least: int) -> None:
    packages = ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments", "py")
    with ordinary_user(*packages) as user:
        contract = user.packages / "contract"
        contract.mkdir()
        files = [*(HERE.parent / "contract").glob("*sandbox*.py"), HERE / "test_zygotes.py"]
        for file in files:
            (contract / file.name).write_bytes(file.read_bytes())
        (user.packages / "integration").mkdir()
        for name in ("test_zygotes.py", "test_templates.py"):
            (user.packages / "integration" / name).write_bytes((HERE / name).read_bytes())
        # Warnings are errors there too, but for the marks that this configuration does not know.
        options = ["-q", "-p", "no:cacheprovider", "-W", "error"]
        options += ["-W", "ignore::pytest.PytestUnknownMarkWarning"]
        options += ["-c", os.devnull, "--rootdir", str(user.home), "--import-mode=importlib"]
        options += ["--basetemp", str(user.home / "tmp"), "-k", which]
        tests = [str(contract), str(user.packages / "integration" / "test_templates.py")]
        said = user.run("-m", "pytest", *options, *tests, timeout_s=CONTRACT_S)
        assert said.returncode == 0, said.stdout + said.stderr
        passed = re.search(r"(\d+) passed", said.stdout)
        assert passed is not None, said.stdout
        assert int(passed[1]) >= least, said.stdout
