"""What does a hostile function reach that has a kernel of its own (gVisor)? Nothing of the host.

Executed there, or bound to one that waited. The same program as in test_escape_probe.py. Many
system calls that the others refuse are answered here, by a kernel that only this function has; what
counts is what comes of them outside of it.
"""

import pytest

from integration.escape.attempts import OWN_KERNEL, expected
from integration.test_escape_probe import Report, probe

pytestmark = pytest.mark.integration


WHO_AND_HOW = [
    (who, how) for how in ("runsc", "runsc-stem") for who in ("as-we-are", "ordinary-user")
]


@pytest.fixture(scope="module", params=WHO_AND_HOW, ids="-".join)
def report(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Report:
    who, how = request.param
    return probe(who, how, tmp_path_factory.mktemp("probe"))


@pytest.fixture(scope="module")
def inside(report: Report) -> Report:
    found = report["inside"]["facts"]
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


def test_its_root_holds_nothing_of_the_host_but_programs(inside: Report, report: Report) -> None:
    expected = {"bin", "dev", "etc", "opt", "proc", "sbin", "sys", "tmp", "usr", "var"}
    assert set(inside["root"]) - expected <= {"lib", "lib32", "lib64", "libx32"}
    assert inside["tmp"] == [], "another sandbox's /tmp"
    own = set() if has_own_uid(report) else {"/dev"}  # in the memory of its kernel
    assert set(inside["writable directories"]) - own == {"/dev/shm", "/tmp"}


def test_the_mount_table_names_no_path_of_the_host(inside: Report, report: Report) -> None:
    assert {root for _, root, _ in inside["mounts"]} == {"/"}


def test_no_setting_of_the_hosts_kernel_can_be_written(inside: Report, report: Report) -> None:
    if has_own_uid(report):  # else it is root of its kernel, and may set what that has
        assert inside["writable settings"] == []


def test_what_reaches_out_of_it_comes_to_the_same_as_elsewhere(report: Report) -> None:
    came_to = {**report["inside"]["attempts"], **report["ends"]}
    table = expected("runsc")
    tried = [name for name in OWN_KERNEL if name in came_to]
    assert len(tried) > 60
    wrong = {
        name: f"{came_to[name]}, but should be {' or '.join(table[name].allowed)}"
        for name in tried
        if not table[name].allows(came_to[name])
    }
    assert wrong == {}


def test_it_has_loopback_only(report: Report, inside: Report) -> None:
    assert inside["interfaces"] == ["lo"]
    attempts = report["inside"]["attempts"]
    for family in ("netlink netfilter", "packet", "raw", "vsock", "alg", "bluetooth"):
        assert attempts[f"socket: {family}"] != "OPEN"


def test_its_appetite_is_bounded(inside: Report) -> None:
    assert 30 <= inside["MiB in /tmp"] <= 32
    assert 60 <= inside["MiB in /dev/shm"] <= 64
    assert inside["files in /tmp"] <= 4096
    assert inside["limits"]["RLIMIT_NOFILE"] == [1024, 1024]
