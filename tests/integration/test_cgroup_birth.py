"""Is a sandbox born inside its cgroup v2? With the real launcher, whatever controllers there are.

The machines that tests run on often have their controllers in v1, where CgroupV2 is not used; this
checks the part that only the kernel can: clone3 into a cgroup, and entering nothing later.
"""

import asyncio
import os
import platform
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from hearth.worker.limits.hierarchy import own_groups
from hearth.worker.sandboxes import messages
from hearth.worker.sandboxes.bwrap import find_bwrap
from hearth.worker.sandboxes.contract import SandboxFailed
from hearth.worker.sandboxes.launcher import Launcher
from hearth.worker.sandboxes.messages import (
    BoxOrder,
    CreateOrder,
    ExitEvent,
    OpenOrder,
    StartOrder,
    ZygoteOrder,
)
from hearth.worker.sandboxes.outputs import read_to_end
from hearth.worker.sandboxes.seccomp import profile

pytestmark = pytest.mark.integration


PYTHON = ["/usr/bin/python3", "-I", "-S"]
READ = "print(open('/proc/self/cgroup').read(), flush=True); open('/tmp/wait').read()"


def zygote_order(uid: int | None) -> ZygoteOrder:
    return ZygoteOrder(zygote=1, uid=uid, command=PYTHON, script=None, environment={}, mounts=[])


def start_order(group: Path, uid: int | None) -> StartOrder:
    return StartOrder(
        box=1,
        run=1,
        argv=["/bin/sh", "-c", "cat /proc/self/cgroup; read wait < /tmp/wait"],
        environment={"PATH": "/usr/bin:/bin"},
        working_directory="/",
        mounts=[],
        own_network=True,
        host_files=[],
        uid=uid,
        cgroup_tasks=[],
        cgroup_directory=str(group),
        rlimits=[],
        processes_in_namespace=None,
    )


async def born_in(group: Path, *, from_zygote: bool) -> tuple[str, list[str]]:
    """The group as the program sees it, and the processes that the host sees in it."""
    bwrap = find_bwrap()
    if bwrap is None:
        pytest.skip("bubblewrap is not there")
    order = OpenOrder(
        bwrap=str(bwrap.program),
        libraries=[str(library) for library in bwrap.libraries],
        seccomp=str(Path(profile.__file__).parent / f"{platform.machine()}.bpf"),
        cgroups=[],
    )
    exits: asyncio.Queue[ExitEvent] = asyncio.Queue()
    try:
        launcher, opened = await Launcher.open(order, exits.put_nowait, lambda: None)
    except SandboxFailed as error:
        pytest.skip(f"no sandboxes here: {error}")
    try:
        uid = opened.uid_first if opened.own_uids else None
        box = CreateOrder(box=1, tmp_bytes=1 << 20, uid=uid)
        (tmp,) = (await launcher.ask(messages.CREATE, box)).fds
        os.mkfifo("wait", 0o666, dir_fd=tmp)
        os.chmod("wait", 0o666, dir_fd=tmp)
        start = start_order(group, uid)
        if from_zygote:
            zygote = zygote_order(None if uid is None else uid + 1)
            await launcher.ask(messages.ZYGOTE, zygote)
            start = replace(start, zygote=1, argv=[*PYTHON, "-c", READ])
        started = await launcher.ask(messages.START, start)
        api, stdout, stderr = started.fds
        os.close(api)
        let_go = await asyncio.to_thread(os.open, "wait", os.O_WRONLY, dir_fd=tmp)
        members = (group / "cgroup.procs").read_text().split()
        os.close(let_go)
        said, _, _ = await asyncio.gather(read_to_end(stdout), read_to_end(stderr), exits.get())
        await launcher.ask(messages.DESTROY, BoxOrder(box=1))
        os.close(tmp)
        return said.decode(), members
    finally:
        launcher.close()


# bubblewrap outside, bubblewrap inside, the shell; or init, the program
@pytest.mark.parametrize(("from_zygote", "processes"), [(False, 3), (True, 2)])
def test_all_of_a_sandbox_is_in_its_cgroup_and_leaves_it_empty(
    from_zygote: bool, processes: int
) -> None:
    parent = own_groups().v2
    if parent is None:
        pytest.skip("no cgroup v2 is mounted")
    group = parent / f"hearth-test-{uuid.uuid4().hex}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no cgroup may be made: {error}")
    try:
        said, members = asyncio.run(born_in(group, from_zygote=from_zygote))
        assert len(members) == processes
        assert "0::/\n" in said
        assert (group / "cgroup.procs").read_text() == ""
    finally:
        group.rmdir()
