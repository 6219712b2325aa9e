"""make crash-async: is any event lost when everything is killed, at random, again and again?

    python tools/crash_async.py [--events 20000] [--clients 32] [--kills 20] [--engine-kills 5]
                                [--sandbox-kills 5] [--power-cuts] [--seed N]

Clients send events; the whole platform, its engine alone, and its sandboxes alone are killed with
-9 at random moments, and started again. Then every event that was answered 202 must have been run.
Runs that were repeated are counted; they have the same request id. Exit status 1 if one was lost.

`--power-cuts` (root): the state is on a file system of its own, which drops whatever was not
fsynced at each kill of the platform, as when the power goes (EXT4_IOC_SHUTDOWN).
"""

import argparse
import asyncio
import contextlib
import fcntl
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from storm import Accepted, Client, Hearth, command_line, ended, runs, say, send_all

FUNCTIONS = 4
SETTLE_S_MAX = 300.0
QUIET_S = 100.0
"""Longer than the first retry after an error: what comes later, nothing comes."""
DISK_MB = 2_048
EXT4_IOC_SHUTDOWN = 0x8004587D
NOLOGFLUSH = 2


class Disk:
    """A file system of its own for the state; only in this process's mount namespace."""

    def __init__(self, folder: Path) -> None:
        self._image = folder / "disk.img"
        self.mounted = folder / "disk"
        self.mounted.mkdir()
        with self._image.open("wb") as file:
            file.truncate(DISK_MB << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(self._image)], check=True)
        self._mount()

    def _mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", str(self._image), str(self.mounted)], check=True)

    def cut(self) -> None:
        """What was not fsynced is gone; until `repair`, nothing can be written."""
        descriptor = os.open(self.mounted, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, EXT4_IOC_SHUTDOWN, struct.pack("I", NOLOGFLUSH))
        finally:
            os.close(descriptor)

    def repair(self) -> None:
        """What a boot does: the journal is replayed, and the boot is another one, by which Hearth
        knows that what it never fsyncs (unpacked code) may be broken."""
        self.unmount()
        self._mount()
        (self.mounted / "state" / "code" / ".boot").unlink(missing_ok=True)

    def unmount(self) -> None:
        for _ in range(100):
            if subprocess.run(["umount", str(self.mounted)], check=False).returncode == 0:
                return
            time.sleep(0.1)
        sys.exit(f"the file system stays busy: {_users(self.mounted)}")


def _users(mounted: Path) -> list[str]:
    """Processes that have something open there."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        for link in (process / "cwd", process / "root", *(process / "fd").glob("*")):
            with contextlib.suppress(OSError):
                if str(link.readlink()).startswith(str(mounted)):
                    found.append(f"{process.name} {command_line(int(process.name))[:80]} {link}")
        with contextlib.suppress(OSError):
            if str(mounted) in (process / "mountinfo").read_text():
                found.append(f"{process.name} {command_line(int(process.name))[:80]} mount")
    return found


class Crasher:
    """Kills, as often as it was told, while events are sent."""

    def __init__(
        self, hearth: Hearth, accepted: Accepted, disk: Disk | None, options: argparse.Namespace
    ) -> None:
        self._hearth = hearth
        self._accepted = accepted
        self._disk = disk
        self._rng = random.Random(options.seed)
        self._plan = (
            ["platform"] * options.kills
            + ["engine"] * options.engine_kills
            + ["sandboxes"] * options.sandbox_kills
        )
        self._rng.shuffle(self._plan)
        self._events = options.events
        self.done = 0

    async def run(self) -> None:
        for number, what in enumerate(self._plan):
            due = self._events * (number + self._rng.random()) / (len(self._plan) + 1)
            while len(self._accepted.at_s) < due:
                await asyncio.sleep(0.01)
            await asyncio.sleep(self._rng.uniform(0.0, 0.3))
            await self._kill(what)
            self.done += 1
            say(killed=what, accepted=len(self._accepted.at_s))

    async def _kill(self, what: str) -> None:
        if what == "sandboxes":
            for pid in self._hearth.children("python_bootstrap"):
                _kill(pid)
            return
        if what == "engine":
            for pid in self._hearth.children("nats-server"):
                _kill(pid)
            await self._hearth.wait()  # it does not live without its engine
        else:
            if self._disk is not None:
                self._hearth.halt()  # nobody hears of what is written after the power is gone
                self._disk.cut()
            await self._hearth.kill()
            if self._disk is not None:
                await asyncio.to_thread(self._disk.repair)
        await self._hearth.start()


def _kill(pid: int) -> None:
    try:
        os.kill(pid, 9)
    except ProcessLookupError:
        return  # it ended by itself


async def crash(folder: Path, options: argparse.Namespace) -> bool:
    disk = Disk(folder) if options.power_cuts else None
    state = (disk.mounted if disk else folder) / "state"
    hearth, accepted, trace = Hearth(state, folder / "hearth.log"), Accepted(), folder / "trace"
    began_s = time.monotonic()
    with ended(hearth):
        await hearth.start()
        names = [f"crash-{number}" for number in range(FUNCTIONS)]
        for name in names:
            await asyncio.to_thread(hearth.create, name, trace)
        clients = [
            Client(hearth, names[number % FUNCTIONS], accepted) for number in range(options.clients)
        ]
        crasher = Crasher(hearth, accepted, disk, options)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(crasher.run())
            tasks.create_task(send_all(clients, options.events))
        sent_s = time.monotonic() - began_s
        lost = await settle(accepted, trace)
        await hearth.kill()
    if disk is not None:
        disk.unmount()
    ran = runs(trace)
    repeated = {request: len(times) for request, times in ran.items() if len(times) > 1}
    say(
        accepted=len(accepted.at_s),
        lost=len(lost),
        ran=sum(map(len, ran.values())),
        repeated_events=len(repeated),
        repeated_runs=sum(repeated.values()) - len(repeated),
        run_but_not_acknowledged=len(ran.keys() - accepted.at_s.keys()),
        refused=dict(accepted.refused),
        kills=crasher.done,
        power_cuts=options.power_cuts,
        sending_s=round(sent_s, 1),
        total_s=round(time.monotonic() - began_s, 1),
        seed=options.seed,
    )
    for request in sorted(lost)[:5]:
        say(lost_request=request, accepted_s=accepted.at_s[request])
    return not lost and len(accepted.at_s) >= options.events


async def settle(accepted: Accepted, trace: Path) -> set[str]:
    """What was not run, once everything was, or nothing more happens."""
    began_s = quiet_since_s = time.monotonic()
    before = -1
    while True:
        lost = accepted.at_s.keys() - runs(trace).keys()
        now_s = time.monotonic()
        if len(lost) != before:
            before, quiet_since_s = len(lost), now_s
            say(not_run_yet=len(lost))
        if not lost or now_s - quiet_since_s > QUIET_S or now_s - began_s > SETTLE_S_MAX:
            await asyncio.sleep(2.0)  # for repetitions to show
            return accepted.at_s.keys() - runs(trace).keys()
        await asyncio.sleep(1.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--kills", type=int, default=20, help="of the whole platform")
    parser.add_argument("--engine-kills", type=int, default=5)
    parser.add_argument("--sandbox-kills", type=int, default=5)
    parser.add_argument("--power-cuts", action="store_true", help="root only")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    options = parser.parse_args()
    if options.power_cuts and "HEARTH_CRASH_NAMESPACE" not in os.environ:
        if os.geteuid() != 0:
            sys.exit("only root can cut the power of a file system")
        os.environ["HEARTH_CRASH_NAMESPACE"] = "1"
        unshare = ["unshare", "--mount", "--propagation", "private"]
        os.execvp(unshare[0], [*unshare, sys.executable, *sys.argv])
    with tempfile.TemporaryDirectory(prefix="hearth-crash-") as folder:
        is_good = asyncio.run(crash(Path(folder), options))
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
