"""Logs of a process that was killed in the middle of writing them."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hearth.base.clock import SystemClock
from hearth.base.jobs import Jobs
from hearth.logs.store import LogStore
from hearth.model.ids import AccountId, Region
from hearth.model.logs import LogGroup

pytestmark = pytest.mark.integration

GROUP = LogGroup(AccountId("000000000000"), Region("us-east-1"), "/aws/lambda/hello")

WRITER = """
import asyncio, sys
from pathlib import Path
from hearth.base.clock import SystemClock
from hearth.base.jobs import Jobs
from hearth.logs.store import LogStore
from hearth.model.logs import LogGroup

async def main():
    async with Jobs() as jobs:
        store = LogStore(Path(sys.argv[1]), SystemClock(), jobs)
        group = LogGroup("000000000000", "us-east-1", "/aws/lambda/hello")
        for n in range(int(sys.argv[2]), 10**9):
            store.append(group, "stream", n, [b"%d " % n + b"x" * 500])
            if n % 20 == 0:
                await store.flush()
                print(n, flush=True)

asyncio.run(main())
"""


async def events(root: Path) -> list[int]:
    async with Jobs() as jobs:
        store = LogStore(root, SystemClock(), jobs)
        page = await store.read(GROUP)
        await store.close()
    return [event.at_ms for event in page.events]


def test_what_was_flushed_before_a_kill_is_there_afterwards_and_can_be_added_to(
    tmp_path: Path,
) -> None:
    begin = 1
    for _ in range(2):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(begin)], stdout=subprocess.PIPE
        )
        assert writer.stdout is not None
        with writer, writer.stdout as said:
            for _ in range(10):
                flushed = int(said.readline())
            os.kill(writer.pid, signal.SIGKILL)
        found = asyncio.run(events(tmp_path))
        assert found == list(range(1, len(found) + 1))
        assert len(found) >= flushed
        begin = len(found) + 1
