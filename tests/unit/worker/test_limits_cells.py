"""Which control files are written, and how are they read? In directories like the kernel's."""

import asyncio
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.virtual_time import VirtualClock, run_in_virtual_time
from hearth.base.jobs import Jobs
from hearth.worker.limits.cgroup_v1 import CgroupV1, CgroupV1Cell, Spare
from hearth.worker.limits.cgroup_v2 import CgroupV2, CgroupV2Cell
from hearth.worker.limits.contract import (
    FULL_LOOK_EVERY,
    MB,
    Bounds,
    Entry,
    Usage,
    cpu_quota_us,
)
from hearth.worker.limits.files import row
from hearth.worker.limits.freezing import TreeFreezer
from hearth.worker.limits.hierarchy import Hierarchies, group_name
from hearth.worker.limits.processes import Processes
from hearth.worker.limits.watch import MemoryWatch
from hearth.worker.limits.watched import DATA_RESERVE_BYTES, Watched, WatchedCell

BOUNDS = Bounds(memory_bytes=128 * MB, tmp_bytes=512 * MB, processes_max=1024)


def files(directory: Path, content: Mapping[str, object]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in content.items():
        (directory / name).write_text(f"{text}\n")
    return directory


def read(path: Path) -> str:
    return path.read_text().strip()


def v1_cell(root: Path, tmp_used: int = 0) -> CgroupV1Cell:
    zero = "memory.limit_in_bytes memory.memsw.limit_in_bytes memory.stat"
    zero += " memory.usage_in_bytes memory.max_usage_in_bytes"
    memory = files(root / "memory", dict.fromkeys(zero.split(), 0))
    files(memory, {"memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 0"})
    cpu = files(root / "cpu", {"cpu.cfs_period_us": 0, "cpu.cfs_quota_us": 0, "cpuacct.usage": 0})
    pids = files(root / "pids", {"pids.max": 0})
    cells = {"memory": str(memory), "cpu": str(cpu), "cpuacct": str(cpu), "pids": str(pids)}
    return CgroupV1Cell(cells, BOUNDS, lambda: tmp_used)


def v2_cell(root: Path, tmp_used: int = 0) -> CgroupV2Cell:
    names = "memory.max memory.swap.max memory.oom.group memory.current pids.max cpu.max"
    files(root, dict.fromkeys(names.split(), 0))
    files(root, {"memory.stat": "", "memory.events": "oom 0\noom_kill 0", "cpu.stat": ""})
    return CgroupV2Cell(root, {"memory", "pids", "cpu"}, BOUNDS, lambda: tmp_used)


def test_a_quota_is_proportional_to_memory_and_one_cpu_at_1769_mb() -> None:
    assert cpu_quota_us(1769) == 20_000
    assert cpu_quota_us(3538) == 40_000
    assert cpu_quota_us(128) == 1_447
    assert cpu_quota_us(10) == 1_000, "the kernel takes no less"


def test_v1_limits_memory_and_tmp_together_without_swap(tmp_path: Path) -> None:
    cell = v1_cell(tmp_path)
    assert read(tmp_path / "memory/memory.limit_in_bytes") == str(640 * MB)
    assert read(tmp_path / "memory/memory.memsw.limit_in_bytes") == str(640 * MB)
    assert read(tmp_path / "pids/pids.max") == "1028"
    # cpu and cpuacct are one directory: entered once.
    assert cell.entry == Entry(
        cgroup_tasks=tuple(str(tmp_path / name / "tasks") for name in ("memory", "cpu", "pids"))
    )


def test_v1_says_once_that_nothing_is_swapped_for_all_cells(tmp_path: Path) -> None:
    group = files(tmp_path / group_name("abc", os.getpid()), {"memory.swappiness": 60})
    limits = CgroupV1.open(Hierarchies({"memory": tmp_path}), "abc")
    assert limits.directories == (str(group.resolve()),)
    assert int(read(group / "memory.swappiness")) == 0


def test_without_a_pids_controller_the_namespace_limits_processes(tmp_path: Path) -> None:
    assert v1_cell(tmp_path / "with").entry.processes_in_namespace is None
    v1_cell(tmp_path / "v1")
    v1 = CgroupV1Cell({"memory": str(tmp_path / "v1/memory")}, BOUNDS, lambda: 0)
    assert v1.entry.processes_in_namespace == 1024
    v2_cell(tmp_path / "v2")
    v2 = CgroupV2Cell(tmp_path / "v2", {"memory"}, BOUNDS, lambda: 0)
    assert v2.entry.processes_in_namespace == 1024


def test_v1_caps_the_cpu_and_takes_the_cap_off(tmp_path: Path) -> None:
    cell = v1_cell(tmp_path)
    assert read(tmp_path / "cpu/cpu.cfs_period_us") == "20000"
    cell.limit_cpu(1769)
    assert read(tmp_path / "cpu/cpu.cfs_quota_us") == "20000"
    files(tmp_path / "cpu", {"cpu.cfs_quota_us": ""})
    cell.limit_cpu(None)
    assert read(tmp_path / "cpu/cpu.cfs_quota_us") == "-1"


def test_v1_counts_neither_tmp_nor_cached_files(tmp_path: Path) -> None:
    cell = v1_cell(tmp_path, tmp_used=100 * MB)
    memory = files(
        tmp_path / "memory",
        {
            "memory.usage_in_bytes": 400 * MB,
            "memory.max_usage_in_bytes": 420 * MB,
            # of 250 cached, 110 are shared memory: 100 in /tmp, 10 in /dev/shm
            "memory.stat": f"cache {250 * MB}\nshmem {110 * MB}\nrss {140 * MB}",
        },
    )
    files(tmp_path / "cpu", {"cpuacct.usage": 1_500_000_000})
    expected = Usage(memory_bytes=160 * MB, memory_peak_bytes=180 * MB, cpu_s=1.5)
    assert cell.usage() == expected
    assert cell.is_exceeded()
    files(memory, {"memory.stat": f"cache {350 * MB}\nshmem {110 * MB}"})
    assert not cell.is_exceeded(), "60 MB, the rest is files that the kernel can drop"


def test_v1_forgets_the_peak_on_request(tmp_path: Path) -> None:
    cell = v1_cell(tmp_path)
    files(tmp_path / "memory", {"memory.max_usage_in_bytes": 90 * MB})
    assert cell.usage().memory_peak_bytes == 90 * MB
    cell.reset_peak()
    assert read(tmp_path / "memory/memory.max_usage_in_bytes").startswith("0")
    files(tmp_path / "memory", {"memory.max_usage_in_bytes": 5 * MB})
    assert cell.usage().memory_peak_bytes == 5 * MB


def test_v1_looks_in_full_only_when_the_peak_may_have_grown(tmp_path: Path) -> None:
    cell = v1_cell(tmp_path)
    memory = tmp_path / "memory"
    files(memory, {"memory.max_usage_in_bytes": 90 * MB, "memory.usage_in_bytes": 90 * MB})
    files(memory, {"memory.stat": f"cache {50 * MB}\nshmem 0"})
    assert cell.peak_bytes() == 40 * MB
    files(memory, {"memory.max_usage_in_bytes": 100 * MB, "memory.usage_in_bytes": 80 * MB})
    assert cell.peak_bytes() == 50 * MB
    files(memory, {"memory.stat": f"cache {20 * MB}\nshmem 0"})
    seen = [cell.peak_bytes() for _ in range(FULL_LOOK_EVERY)]
    assert seen[0] == 50 * MB, "nothing tells that files made room"
    assert seen[-1] == 80 * MB
    assert cell.usage().memory_peak_bytes == 80 * MB
    cell.reset_peak()
    files(memory, {"memory.max_usage_in_bytes": 80 * MB})
    assert cell.peak_bytes() == 60 * MB


def test_v1_is_exceeded_when_the_kernel_killed_in_this_run(tmp_path: Path) -> None:
    cell = v1_cell(tmp_path)
    cell.began(1)
    files(tmp_path / "memory", {"memory.oom_control": "oom_kill_disable 0\noom_kill 2"})
    assert cell.oom_kills() == 2
    assert cell.is_exceeded(), "a new group has counted none"
    cell.ended()
    cell.began(1)
    assert not cell.is_exceeded(), "both were in an earlier run"
    files(tmp_path / "memory", {"memory.oom_control": "oom_kill_disable 0\noom_kill 3"})
    assert cell.is_exceeded()


def test_v1_directories_serve_again_once_however_often_a_cell_is_removed(tmp_path: Path) -> None:
    v1_cell(tmp_path)  # makes the files
    cells = {name: str(tmp_path / name) for name in ("memory", "cpu", "pids")}
    kept: list[Spare] = []

    def take_back(spare: Spare) -> bool:
        kept.append(spare)
        return True

    async def remove_twice() -> None:
        await cell.remove()
        await cell.remove()

    cell = CgroupV1Cell(cells, BOUNDS, lambda: 0, take_back)
    asyncio.run(remove_twice())
    assert kept == [Spare(cells, BOUNDS)]
    larger = replace(BOUNDS, memory_bytes=256 * MB)
    CgroupV1Cell(cells, larger, lambda: 0, take_back, BOUNDS)
    assert int(read(tmp_path / "memory/memory.limit_in_bytes")) == 768 * MB
    assert int(read(tmp_path / "pids/pids.max")) == 1024 + 4


def test_v1_reads_a_row_of_a_table_and_nothing_that_only_ends_like_it() -> None:
    table = b"total_cache 9\ncache 42\nshmem 7\n"
    assert (row(table, b"cache"), row(table, b"shmem"), row(table, b"swap")) == (42, 7, 0)


def test_v1_without_a_memory_controller_is_not_used(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        CgroupV1.open(Hierarchies({"cpu": tmp_path}), "abc")


def test_v2_limits_memory_and_tmp_together_and_kills_all_at_once(tmp_path: Path) -> None:
    cell = v2_cell(tmp_path)
    assert read(tmp_path / "memory.max") == str(640 * MB)
    assert read(tmp_path / "memory.swap.max") == "0"
    assert read(tmp_path / "memory.oom.group") == "1"
    assert read(tmp_path / "pids.max") == "1028"
    assert cell.entry == Entry(cgroup_directory=str(tmp_path))


def test_v2_caps_the_cpu_and_takes_the_cap_off(tmp_path: Path) -> None:
    cell = v2_cell(tmp_path)
    cell.limit_cpu(3538)
    assert read(tmp_path / "cpu.max") == "40000 20000"
    files(tmp_path, {"cpu.max": ""})
    cell.limit_cpu(None)
    assert read(tmp_path / "cpu.max") == "max 20000"


def test_v2_counts_neither_tmp_nor_cached_files(tmp_path: Path) -> None:
    cell = v2_cell(tmp_path, tmp_used=100 * MB)
    files(
        tmp_path,
        {
            "memory.current": 400 * MB,
            "memory.stat": f"anon {140 * MB}\nfile {250 * MB}\nshmem {110 * MB}",
            "memory.events": "oom 1\noom_kill 3",
            "cpu.stat": "usage_usec 2500000\nuser_usec 1",
        },
    )
    usage = cell.usage()
    assert (usage.memory_bytes, usage.cpu_s) == (160 * MB, 2.5)
    assert cell.is_exceeded()
    assert cell.oom_kills() == 3


def test_v2_takes_the_peak_only_from_what_it_counts(tmp_path: Path) -> None:
    cell = v2_cell(tmp_path)
    files(tmp_path, {"memory.current": 120 * MB, "memory.stat": f"file {70 * MB}\nshmem 0"})
    assert not cell.is_exceeded()
    assert cell.usage().memory_peak_bytes == 50 * MB
    files(tmp_path, {"memory.current": 90 * MB, "memory.stat": f"file {70 * MB}\nshmem 0"})
    assert cell.usage().memory_peak_bytes == 50 * MB
    cell.reset_peak()
    assert cell.usage().memory_peak_bytes == 20 * MB


def test_v2_looks_in_full_only_when_the_peak_may_have_grown(tmp_path: Path) -> None:
    cell = v2_cell(tmp_path)
    files(tmp_path, {"memory.current": 120 * MB, "memory.stat": f"file {70 * MB}\nshmem 0"})
    assert cell.peak_bytes() == 50 * MB
    files(tmp_path, {"memory.stat": f"file {30 * MB}\nshmem 0"})
    seen = [cell.peak_bytes() for _ in range(FULL_LOOK_EVERY)]
    assert seen[0] == 50 * MB, "nothing tells that files made room"
    assert seen[-1] == 90 * MB
    files(tmp_path, {"memory.current": 130 * MB})
    assert cell.peak_bytes() == 100 * MB, "more is charged: looked at once"
    cell.reset_peak()
    assert cell.peak_bytes() == 100 * MB
    files(tmp_path, {"memory.current": 60 * MB})
    cell.reset_peak()
    assert cell.peak_bytes() == 30 * MB


def test_v2_without_the_memory_controller_is_not_used(tmp_path: Path) -> None:
    files(tmp_path, {"cgroup.controllers": "hugetlb pids", "cgroup.subtree_control": ""})
    with pytest.raises(PermissionError):
        CgroupV2.open(Hierarchies({"v2": tmp_path}), "abc")
    with pytest.raises(FileNotFoundError):
        CgroupV2.open(Hierarchies({"memory": tmp_path}), "abc")


def process(
    proc: Path, pid: int, *, children: tuple[int, ...] = (), anon_kb: int = 0, pss_kb: int = 0
) -> None:
    task = files(proc / str(pid) / "task" / str(pid), {})
    (task / "children").write_text(" ".join(map(str, children)))
    files(
        proc / str(pid),
        {
            "status": f"Name:\tx\nVmRSS:\t9999999 kB\nRssAnon:\t{anon_kb} kB\nRssShmem:\t4 kB",
            "stat": f"{pid} (a (b) c) S " + " ".join(["0"] * 10 + ["50", "25", "15", "10", "0"]),
            "smaps_rollup": f"Pss_Anon:\t{pss_kb} kB\nPss_File:\t77 kB\nPss_Shmem:\t0 kB",
        },
    )


def watched(proc: Path, memory_kb: int) -> WatchedCell:
    bounds = Bounds(memory_bytes=memory_kb * 1024, tmp_bytes=0, processes_max=64)
    return Watched(proc).create("1", bounds, lambda: 0)


def test_watched_counts_the_whole_tree_of_processes(tmp_path: Path) -> None:
    process(tmp_path, 10, children=(11,), anon_kb=100)
    process(tmp_path, 11, children=(12, 13), anon_kb=200)
    process(tmp_path, 12, anon_kb=300)
    process(tmp_path, 99, anon_kb=5_000)
    cell = watched(tmp_path, memory_kb=10_000)  # 13 has ended since
    assert cell.usage() == Usage(memory_bytes=0, memory_peak_bytes=0, cpu_s=0.0)
    cell.began(10)
    used = (600 + 3 * 4) * 1024
    assert cell.usage() == Usage(memory_bytes=used, memory_peak_bytes=used, cpu_s=3.0)


def test_watched_does_not_count_another_sandbox_that_runs_below(tmp_path: Path) -> None:
    """A fork of a template: its memory is its own, or two would end it and all."""
    process(tmp_path, 10, children=(11,), anon_kb=100, pss_kb=100)
    process(tmp_path, 11, children=(12,), anon_kb=700, pss_kb=700)
    process(tmp_path, 12, anon_kb=300, pss_kb=300)
    bounds = Bounds(memory_bytes=1000 * 1024, tmp_bytes=0, processes_max=64)
    limits = Watched(tmp_path)
    template, fork = (limits.create(name, bounds, lambda: 0) for name in ("1", "2"))
    template.began(10)
    fork.began(11)
    assert template.usage().memory_bytes == (100 + 4) * 1024
    assert fork.usage().memory_bytes == (1000 + 2 * 4) * 1024
    assert not template.is_exceeded()
    fork.ended()
    assert template.is_exceeded(), "what nobody else looks after is its own"


def test_watched_takes_the_exact_figure_before_it_says_exceeded(tmp_path: Path) -> None:
    process(tmp_path, 10, children=(11,), anon_kb=600, pss_kb=350)
    process(tmp_path, 11, anon_kb=600, pss_kb=350)
    cell = watched(tmp_path, memory_kb=1000)
    cell.began(10)
    assert not cell.is_exceeded(), "the two share most of it"
    process(tmp_path, 11, anon_kb=600, pss_kb=900)
    assert cell.is_exceeded()
    cell.ended()
    assert not cell.is_exceeded()


def test_watched_keeps_the_cpu_time_of_ended_programs(tmp_path: Path) -> None:
    process(tmp_path, 10)
    cell = watched(tmp_path, memory_kb=1000)
    for _ in range(2):
        cell.began(10)
        cell.usage()
        cell.ended()
    assert cell.usage().cpu_s == 2.0


def test_watched_has_rlimits_behind_it(tmp_path: Path) -> None:
    entry = watched(tmp_path, memory_kb=1024).entry
    assert entry.rlimits == ((resource.RLIMIT_DATA, MB + DATA_RESERVE_BYTES),)
    assert entry.processes_in_namespace == 68


class FakeCell(WatchedCell):
    """Says exceeded when told to, or fails as a control file that has gone does."""

    def __init__(self) -> None:
        super().__init__(Path("/nonexistent"), BOUNDS, set())
        self.exceeded = False
        self.is_broken = False
        self.looks = 0

    def is_exceeded(self) -> bool:
        self.looks += 1
        if self.is_broken:
            raise FileNotFoundError(2, "gone")
        return self.exceeded


def test_the_watch_calls_back_once_and_looks_only_while_something_runs() -> None:
    async def scenario() -> None:
        async with Jobs() as jobs:
            watch = MemoryWatch(VirtualClock(), jobs)
            calm, hungry, broken = FakeCell(), FakeCell(), FakeCell()
            broken.is_broken = True
            told: list[str] = []
            for name, cell in (("calm", calm), ("hungry", hungry), ("broken", broken)):
                watch.add(cell, lambda name=name: told.append(name))  # type: ignore[misc]
            await asyncio.sleep(1)
            assert told == []
            assert 18 <= calm.looks <= 21
            hungry.exceeded = True
            await asyncio.sleep(1)
            assert told == ["hungry"]
            for cell in (calm, broken):
                watch.remove(cell)
            looks = calm.looks
            await jobs.wait_idle()
            watch.add(hungry, lambda: told.append("again"))
            await asyncio.sleep(0.06)
            assert told == ["hungry", "again"]
            assert calm.looks == looks

    run_in_virtual_time(scenario())


def test_v1_is_frozen_by_its_freezer_and_by_signals_where_there_is_none(tmp_path: Path) -> None:
    v1_cell(tmp_path)  # makes the files
    memory = tmp_path / "memory"
    freezer = files(tmp_path / "freezer", {"freezer.state": "THAWED"})
    cell = CgroupV1Cell({"memory": str(memory), "freezer": str(freezer)}, BOUNDS, lambda: 0)
    assert str(freezer / "tasks") in cell.entry.cgroup_tasks
    cell.began(os.getpid())
    cell.freeze()
    assert read(freezer / "freezer.state") == "FROZEN"
    cell.thaw()
    assert read(freezer / "freezer.state") == "THAWED"
    without = CgroupV1Cell({"memory": str(memory)}, BOUNDS, lambda: 0)
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        without.began(sleeper.pid)
        without.freeze()
        without.thaw()
        sleeper.kill()


def test_v2_is_frozen_by_its_own_file(tmp_path: Path) -> None:
    cell = v2_cell(files(tmp_path, {"cgroup.freeze": 0}))
    cell.freeze()
    assert read(tmp_path / "cgroup.freeze") == "1"
    cell.thaw()
    assert read(tmp_path / "cgroup.freeze") == "0"


def test_signals_stop_a_whole_tree_but_wake_only_those_that_they_stopped() -> None:
    """Three real processes; the last had been stopped before, and stays so."""
    freezer, look = TreeFreezer(), Processes(Path("/proc"))
    script = "sleep 60 & sleep 60 & kill -STOP $!; echo up; wait"
    with subprocess.Popen(["/bin/sh", "-c", script], stdout=subprocess.PIPE) as shell:
        assert shell.stdout is not None
        assert shell.stdout.readline() == b"up\n"
        pids = list(look.tree(shell.pid))
        assert len(pids) == 3
        wait_until(lambda: sum(map(look.is_stopped, pids)) == 1)
        freezer.freeze(shell.pid)
        wait_until(lambda: all(map(look.is_stopped, pids)))
        freezer.thaw()
        wait_until(lambda: sum(map(look.is_stopped, pids)) == 1)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)


def wait_until(holds: Callable[[], bool]) -> None:
    end_s = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_a_cell_that_cannot_be_read_is_told_of_once_until_it_works_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        async with Jobs() as jobs:
            watch = MemoryWatch(VirtualClock(), jobs)
            cells = [FakeCell(), FakeCell()]
            for cell in cells:
                watch.add(cell, lambda: None)
            for is_broken in (True, False, True):
                for cell in cells:
                    cell.is_broken = is_broken
                await asyncio.sleep(10)
            for cell in cells:
                watch.remove(cell)

    run_in_virtual_time(scenario())
    said = [record.getMessage() for record in caplog.records]
    assert said == ["cannot tell a sandbox's memory"] * 4
