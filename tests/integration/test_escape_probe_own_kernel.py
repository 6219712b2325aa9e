"""What does a hostile function reach that has a kernel of its own (gVisor)? Nothing of the host.

The same program as in test_escape_probe.py. Many system calls that the others refuse are answered
here, by a kernel that only this function has; what counts is what comes of them outside of it.
"""

import pytest

from integration.test_escape_probe import Report, probe

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module", params=["as-we-are", "ordinary-user"])
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Report:
    return probe(request.param, "runsc", tmp_path_factory.mktemp("probe"))


@pytest.fixture(scope="module")
def inside(report: Report) -> Report:
    found = report["inside"]
    assert isinstance(found, dict)
    return found


def has_own_uid(report: Report) -> bool:
    """Where Hearth is root; an ordinary user's containers have one uid, which is root inside."""
    return bool(report["capabilities"]["isolation"][0] == "own uid")


def test_it_is_nobody_of_importance(inside: Report, report: Report) -> None:
    if has_own_uid(report):
        assert inside["uids"] == [993, 990, 993, 993, 993]
    assert {inside["status"][name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd")} == {
        "0" * 16
    }
    assert inside["setgroups"] == "EPERM"
    assert inside["processes"] == [1, 2]
    assert inside["hostname"] == "localhost"


def test_the_host_sees_none_of_its_processes(report: Report) -> None:
    assert report["outside"] == []


def test_it_has_only_the_environment_that_it_was_given(inside: Report) -> None:
    assert inside["environment"] == {"ONLY": "this", "PWD": "/var/task", "LC_CTYPE": "C.UTF-8"}


def test_no_descriptor_of_the_worker_leaks(inside: Report) -> None:
    for number, target in inside["own descriptors"].items():
        assert int(number) <= 2
        assert target == "/dev/null" or target.partition(":")[0] in {"pipe", "host"}


def test_the_hosts_files_are_absent(inside: Report, report: Report) -> None:
    expected = {"bin", "dev", "etc", "opt", "proc", "sbin", "sys", "tmp", "usr", "var"}
    assert set(inside["root"]) - expected <= {"lib", "lib32", "lib64", "libx32"}
    gone = [f"list {path}" for path in ("/root", "/home", "/run", "/boot", "/host")]
    gone += [f"list {report['targets']['directory']}", "read /etc/shadow", "read /dev/mem"]
    gone += ["read /dev/kmsg", "read /proc/kcore", "host socket file"]
    assert {name: inside[name] for name in gone} == dict.fromkeys(gone, "ENOENT")
    assert inside["tmp"] == [], "another sandbox's /tmp"
    own = set() if has_own_uid(report) else {"/dev"}  # in the memory of its kernel
    assert set(inside["writable directories"]) - own == {"/dev/shm", "/tmp"}


def test_the_mount_table_names_no_path_of_the_host(inside: Report, report: Report) -> None:
    assert {root for _, root, _ in inside["mounts"]} == {"/"}


def test_no_setting_of_the_hosts_kernel_can_be_written(inside: Report, report: Report) -> None:
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sys/vm/drop_caches"):
        assert inside[f"write {path}"] in {"EACCES", "EROFS", "ENOENT"}
    assert inside["write /proc/sysrq-trigger"] in {"EACCES", "EROFS", "ENOENT"}
    if has_own_uid(report):  # else it is root of its kernel, and may set what that has
        assert inside["writable settings"] == []


def test_the_hosts_network_is_out_of_reach(inside: Report) -> None:
    assert inside["interfaces"] == ["lo"]
    assert inside["host loopback"] == "ECONNREFUSED"
    assert inside["host abstract"] == "ECONNREFUSED"
    assert inside["metadata service"] == "ENETUNREACH"
    assert inside["the internet"] == "ENETUNREACH"
    assert inside["own loopback"] == "OPEN"
    assert inside["api"] == "OPEN"
    for family in ("netlink netfilter", "packet", "raw", "vsock", "alg", "bluetooth"):
        assert inside[f"socket {family}"] != "OPEN"


def test_what_would_change_the_machine_is_refused(inside: Report) -> None:
    refused = ("init_module", "kexec_load", "reboot", "swapon", "settimeofday", "bpf", "mount")
    assert {name: inside[f"call {name}"] for name in refused} == dict.fromkeys(refused, "EPERM")
    assert inside["make a device"] == "EPERM"
    assert inside["chroot"] == "EPERM"


def test_its_appetite_is_bounded(inside: Report) -> None:
    assert 30 <= inside["MiB in /tmp"] <= 32
    assert 60 <= inside["MiB in /dev/shm"] <= 64
    assert inside["files in /tmp"] <= 4096
    assert inside["limits"]["RLIMIT_NOFILE"] == [1024, 1024]
    assert inside["raise a limit"] == "not allowed to raise maximum limit"
