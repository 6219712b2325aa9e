"""Where may this process make cgroups, and whose are those that are there already?"""

import signal
import subprocess
from pathlib import Path

from hearth.worker.limits.hierarchy import group_name, own_groups, remove_leftovers, started


def proc(directory: Path, cgroup: str, mountinfo: str) -> Path:
    own = directory / "proc/self"
    own.mkdir(parents=True)
    (own / "cgroup").write_text(cgroup)
    (own / "mountinfo").write_text(mountinfo)
    return directory / "proc"


def alive(proc: Path, pid: int, ticks: int) -> None:
    (proc / str(pid)).mkdir(parents=True)
    fields = ["S", "1", "1", "1", "0", "-1", *["0"] * 13, str(ticks), "0"]
    (proc / str(pid) / "stat").write_text(f"{pid} (a ) name) {' '.join(fields)}")


def test_a_hybrid_machine_has_a_group_in_each_hierarchy(tmp_path: Path) -> None:
    found = own_groups(
        proc(
            tmp_path,
            "4:memory:/outer/own\n3:cpu,cpuacct:/\n1:name=systemd:/init\n0::/\n",
            "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
            "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
            "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
            "27 1 254:0 / / rw,relatime - ext4 /dev/vda rw,discard\n",
        )
    )
    assert found.own == {
        "memory": Path("/sys/fs/cgroup/memory/outer/own"),
        "cpu": Path("/sys/fs/cgroup/cpu,cpuacct"),
        "cpuacct": Path("/sys/fs/cgroup/cpu,cpuacct"),
        "v2": Path("/sys/fs/cgroup/unified"),
    }
    assert found.v2 == Path("/sys/fs/cgroup/unified")


def test_on_a_v2_machine_there_is_one_group(tmp_path: Path) -> None:
    found = own_groups(
        proc(
            tmp_path,
            "0::/user.slice/user-1000.slice/session-2.scope\n",
            "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n",
        )
    )
    assert found.own == {"v2": Path("/sys/fs/cgroup/user.slice/user-1000.slice/session-2.scope")}


def test_in_a_container_the_mount_starts_below_the_hierarchys_root(tmp_path: Path) -> None:
    found = own_groups(
        proc(
            tmp_path,
            "4:memory:/docker/abc/inner\n",
            "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
        )
    )
    assert found.own == {"memory": Path("/sys/fs/cgroup/memory/inner")}
    assert found.v2 is None


def test_a_processes_start_is_found_behind_any_name(tmp_path: Path) -> None:
    alive(tmp_path, 7, ticks=4711)
    assert started(7, tmp_path) == 4711
    assert started(8, tmp_path) is None


def test_only_a_dead_workers_groups_are_removed(tmp_path: Path) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    alive(proc, 7, ticks=100)
    mine = group_name("abc", 7, proc)
    for name in (mine, "hearth-abc-7-99", "hearth-abc-8-5", "hearth-other-8-5", "hearth-abc-x-y"):
        (groups / name / "1").mkdir(parents=True)
    assert sorted(remove_leftovers(groups, "abc", proc)) == ["hearth-abc-7-99", "hearth-abc-8-5"]
    left = sorted(path.name for path in groups.iterdir())
    assert left == sorted([mine, "hearth-other-8-5", "hearth-abc-x-y"])


def test_a_dead_workers_group_that_is_still_in_use_is_left(tmp_path: Path) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    busy = groups / "hearth-abc-8-5/1"
    busy.mkdir(parents=True)
    (busy / "something").mkdir()  # what makes rmdir fail here; on cgroupfs, a process
    assert remove_leftovers(groups, "abc", proc) == []
    assert busy.exists()


def test_what_a_dead_worker_left_frozen_is_thawed_before_it_is_removed(tmp_path: Path) -> None:
    proc, groups = tmp_path / "proc", tmp_path / "groups"
    v1, v2 = groups / "hearth-abc-8-5/1", groups / "hearth-abc-9-5/1"
    for cell, name, text in ((v1, "freezer.state", "FROZEN"), (v2, "cgroup.freeze", "1")):
        cell.mkdir(parents=True)
        (cell / name).write_text(text)
    remove_leftovers(groups, "abc", proc)
    assert (v1 / "freezer.state").read_text() == "THAWED"
    assert (v2 / "cgroup.freeze").read_text() == "0"


def test_what_a_dead_worker_left_running_is_killed(tmp_path: Path) -> None:
    cell = tmp_path / "hearth-abc-8-5/1"
    cell.mkdir(parents=True)
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        # 0 is how the kernel lists a process that our pid namespace does not know.
        (cell / "cgroup.procs").write_text(f"0\n{sleeper.pid}\n")
        remove_leftovers(tmp_path, "abc", tmp_path / "proc")
        assert sleeper.wait(60) == -signal.SIGKILL
