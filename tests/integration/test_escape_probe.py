"""What does a hostile function see and reach? Nothing that it was not given.

The same sentences hold whether Hearth runs as root or as an ordinary user. A run as root tests
both: it becomes an ordinary user for the second (escape/ordinary_user.py).
"""

import json
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from integration.escape.ordinary_user import UID, ordinary_user

pytestmark = pytest.mark.integration

HERE = Path(__file__).parent

PROBE_S = 90.0
Report = dict[str, Any]


TIERS = ("bubblewrap", "zygote", "stem", "runc", "crun")
CONTAINERS = {"runc", "crun"}
WHO_AND_HOW = [(who, how) for how in TIERS for who in ("as-we-are", "ordinary-user")]


@pytest.fixture(scope="module", params=WHO_AND_HOW, ids="-".join)
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Report:
    who, how = request.param
    return probe(who, how, tmp_path_factory.mktemp("probe"))


def probe(who: str, how: str, directory: Path) -> Report:
    if not Path("/usr/bin/python3").exists():
        pytest.skip("/usr/bin/python3 is not there to be run in a sandbox")
    if who == "ordinary-user":
        with ordinary_user() as user:
            for name in ("scenario.py", "hostile.py"):
                (user.packages / name).write_bytes((HERE / "escape" / name).read_bytes())
            program = str(user.packages / "scenario.py")
            said = user.run(program, str(user.home), how, timeout_s=PROBE_S)
            return understood(said)
    scenario = str(HERE / "escape" / "scenario.py")
    said = subprocess.run(
        [sys.executable, scenario, str(directory), how],
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
    return found


@pytest.fixture(scope="module")
def inside(report: Report) -> Report:
    found = report["inside"]
    assert isinstance(found, dict)
    return found


def test_it_is_nobody_of_importance_inside(inside: Report, report: Report) -> None:
    if is_only_root_of_containers(report):  # the runtimes need one, and an ordinary user has one
        assert inside["uids"] == [0, 0, 0, 0, 0]
        assert inside["uid_map"] == ["0", str(UID), "1"]
        return
    assert inside["uids"] == [993, 990, 993, 993, 993]
    assert inside["setuid 0"] in {"EINVAL", "EPERM"}
    assert inside["setgroups"] == "EPERM"
    assert inside["chown"] in {"EINVAL", "EPERM"}


def is_only_root_of_containers(report: Report) -> bool:
    found = report["capabilities"]
    return found["name"] in CONTAINERS and found["isolation"][0] != "own uid"


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
    assert program == 2 or report["capabilities"]["name"] == "runc"  # its own steps had numbers
    assert set(inside["cgroups"]) == {"/"}
    assert inside["hostname"] == "localhost"


def test_it_has_only_the_environment_that_it_was_given(inside: Report) -> None:
    # PWD is the working directory, as on Lambda; LC_CTYPE is Python's own.
    assert inside["environment"] == {"ONLY": "this", "PWD": "/var/task", "LC_CTYPE": "C.UTF-8"}
    assert inside["pid 1 environ"] in {"", "EACCES"}


def test_no_descriptor_of_the_worker_leaks(inside: Report) -> None:
    for whose in ("own descriptors", "pid 1 descriptors"):
        if inside[whose] == "EACCES":
            continue
        for number, target in inside[whose].items():
            kind = target.partition(":")[0]
            if whose.startswith("own"):
                assert int(number) <= 2
            assert target in {"/dev/null", "anon_inode:[eventfd]"} or kind == "pipe"


def test_the_hosts_files_are_absent(inside: Report, report: Report) -> None:
    expected = {"bin", "dev", "etc", "opt", "proc", "sbin", "tmp", "usr", "var"}
    assert set(inside["root"]) - expected <= {"lib", "lib32", "lib64", "libx32"}
    gone = [f"list {path}" for path in ("/sys", "/root", "/home", "/run", "/boot", "/host")]
    gone += [f"list {report['targets']['directory']}", "read /etc/shadow", "read /dev/mem"]
    gone += ["read /dev/kmsg", "host socket file"]
    assert {name: inside[name] for name in gone} == dict.fromkeys(gone, "ENOENT")
    assert inside["tmp"] == [], "another sandbox's /tmp"


def test_etc_and_dev_hold_what_we_put_there(inside: Report) -> None:
    made = {"passwd", "group", "hosts", "nsswitch.conf", "resolv.conf", "os-release"}
    allowed = {"alternatives", "ca-certificates", "ld.so.cache", "ssl", "pki"}
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
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches"):
        assert inside[f"write {path}"] in {"EACCES", "EROFS", "ENOENT"}
    assert inside["write /proc/sysrq-trigger"] in {"EACCES", "EROFS", "ENOENT"}
    # Its mode lets everybody open it; a write takes a capability.
    assert set(inside["writable settings"]) <= {"/proc/sys/kernel/ns_last_pid"}
    assert inside["read /proc/kcore"] in {"EACCES", "EPERM", "ENOENT"}


def test_the_kernels_keys_and_addresses_are_hidden(inside: Report) -> None:
    assert inside["/proc/keys"] in {"", "ENOENT"}
    assert inside["/proc/kallsyms"] in {"", "ENOENT"}


def test_the_hosts_network_is_out_of_reach(inside: Report) -> None:
    assert inside["interfaces"] == ["lo"]
    assert inside["host loopback"] == "ECONNREFUSED"
    assert inside["host abstract"] == "ECONNREFUSED"
    assert inside["metadata service"] == "ENETUNREACH"
    assert inside["the internet"] == "ENETUNREACH"
    assert inside["own loopback"] == "OPEN"
    assert inside["api"] == "OPEN"


def test_only_harmless_socket_families_are_open(inside: Report) -> None:
    sockets = {name: said for name, said in inside.items() if name.startswith("socket ")}
    harmless = {"socket unix", "socket inet6", "socket netlink route"}
    refused = dict.fromkeys(set(sockets) - harmless, "EPERM")
    assert len(refused) >= 8
    assert {name: sockets[name] for name in refused} == refused
    assert {sockets[name] for name in harmless} <= {"OPEN", "EAFNOSUPPORT"}


def test_no_namespace_can_be_made(inside: Report) -> None:
    tries = [name for name in inside if name.startswith(("unshare ", "clone "))]
    assert len(tries) == 8
    assert {inside[name] for name in tries} == {"EPERM"}


def test_dangerous_system_calls_are_refused(inside: Report) -> None:
    calls = {name: said for name, said in inside.items() if name.startswith("call ")}
    assert len(calls) > 30
    missing = {"call clone3", "call newer than our tables"}  # so that libc falls back
    wrong = {n: s for n, s in calls.items() if s != ("ENOSYS" if n in missing else "EPERM")}
    assert wrong == {}
    assert inside["chroot"] == "EPERM"
    assert inside["make a device"] == "EPERM"


def test_it_cannot_type_into_a_terminal(inside: Report) -> None:
    assert inside["ioctl TIOCSTI"] == "EPERM"
    assert inside["ioctl TIOCSTI, high bits set"] == "EPERM"
    assert inside["ioctl harmless"] == "3"


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other ABIs of x86-64")
def test_other_abis_of_the_kernel_are_deadly(inside: Report) -> None:
    assert inside["x32"] == "killed by 31"
    # Without IA32 emulation in the kernel the instruction itself faults.
    assert inside["32-bit"] in {"killed by 31", "killed by 11"}


def test_its_appetite_is_bounded(inside: Report, report: Report) -> None:
    assert 30 <= inside["MiB in /tmp"] <= 32
    assert 60 <= inside["MiB in /dev/shm"] <= 64
    assert inside["files in /tmp"] < 4096
    assert inside["files in /dev/shm"] < 4096
    limits = inside["limits"]
    assert limits["RLIMIT_NOFILE"] == [1024, 1024]
    assert limits["RLIMIT_CORE"][0] <= 1
    if not report["capabilities"]["memory_limit"].startswith("cgroup"):  # else pids.max bounds
        assert limits["RLIMIT_NPROC"] == [1028, 1028]
    assert inside["raise a limit"] == "not allowed to raise maximum limit"


@pytest.mark.parametrize(
    ("which", "least"),
    [("bubblewrap or launcher", 30), ("zygote and not launcher", 40), ("[stem]", 20)],
)
def test_the_contract_holds_for_an_ordinary_user_too(which: str, least: int) -> None:
    packages = ("pytest", "_pytest", "pluggy", "iniconfig", "packaging", "pygments", "py")
    with ordinary_user(*packages) as user:
        contract = user.packages / "contract"
        contract.mkdir()
        files = [*(HERE.parent / "contract").glob("*sandbox*.py"), HERE / "test_zygotes.py"]
        for file in files:
            (contract / file.name).write_bytes(file.read_bytes())
        # Warnings are errors there too, but for the marks that this configuration does not know.
        options = ["-q", "-p", "no:cacheprovider", "-W", "error"]
        options += ["-W", "ignore::pytest.PytestUnknownMarkWarning"]
        options += ["-c", os.devnull, "--rootdir", str(user.home), "--import-mode=importlib"]
        options += ["--basetemp", str(user.home / "tmp"), "-k", which]
        said = user.run("-m", "pytest", *options, str(contract), timeout_s=PROBE_S)
        assert said.returncode == 0, said.stdout + said.stderr
        passed = re.search(r"(\d+) passed", said.stdout)
        assert passed is not None, said.stdout
        assert int(passed[1]) >= least, said.stdout
