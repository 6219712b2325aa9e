"""make flood-async: do 200,000 waiting events of a throttled function delay those of another?

    python tools/flood_async.py [--events 200000] [--clients 32] [--probes 200]

One function has one sandbox (reserved concurrency 1) and 20 ms of work for each event; it is sent
the flood. Meanwhile another function gets an event every 50 ms: first on an idle Hearth, then while
the flood comes in, then while it waits. Printed: how long after its 202 each of these began, and
the memory of Hearth and its engine. Exit status 1 if the p99 is a second or more, or an event of
the other function was lost. What still waits in the end is thrown away.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from storm import Accepted, Client, Hearth, ended, percentile, runs, say, send_all

PROBE_S = 0.05
DELAY_S_MAX = 1.0
FLOOD_PAUSE_S = 0.02
START_WAIT_S = 60.0


class Probe:
    """Events of the other function, one after the other."""

    def __init__(self, hearth: Hearth, trace: Path) -> None:
        self._accepted = Accepted()
        self._client = Client(hearth, "other", self._accepted)
        self._trace = trace

    async def send(self, number: int) -> list[str]:
        before = set(self._accepted.at_s)
        for _ in range(number):
            await self._client.send()
            await asyncio.sleep(PROBE_S)
        return sorted(self._accepted.at_s.keys() - before)

    async def until(self, task: "asyncio.Task[None]") -> list[str]:
        requests: list[str] = []
        while not task.done():
            requests += await self.send(1)
        return requests

    async def delays_s(self, requests: list[str]) -> list[float]:
        """From the 202 to the handler; waits until each has run."""
        end_s = time.monotonic() + START_WAIT_S
        while (left := set(requests) - runs(self._trace).keys()) and time.monotonic() < end_s:
            await asyncio.sleep(0.1)
        if left:
            sys.exit(f"{len(left)} events of the other function were not run")
        ran = runs(self._trace)
        return [max(0.0, min(ran[one]) - self._accepted.at_s[one]) for one in requests]


def figures(delays_s: list[float]) -> dict[str, object]:
    return {
        "probes": len(delays_s),
        "p50_ms": round(percentile(delays_s, 0.5) * 1000, 1),
        "p99_ms": round(percentile(delays_s, 0.99) * 1000, 1),
        "max_ms": round(max(delays_s) * 1000, 1),
    }


async def flood(folder: Path, options: argparse.Namespace) -> bool:
    hearth = Hearth(folder / "state", folder / "hearth.log")
    with ended(hearth):
        await hearth.start()
        await asyncio.to_thread(hearth.create, "other", folder / "other")
        await asyncio.to_thread(hearth.create, "flooded", folder / "flooded", FLOOD_PAUSE_S)
        hearth.client().put_function_concurrency(
            FunctionName="flooded", ReservedConcurrentExecutions=1
        )
        probe = Probe(hearth, folder / "other")
        await probe.delays_s(await probe.send(10))  # its sandbox is made
        idle_mb = hearth.memory_mb()
        say(phase="idle", **figures(await probe.delays_s(await probe.send(options.probes))))

        accepted, began_s = Accepted(), time.monotonic()
        clients = [Client(hearth, "flooded", accepted) for _ in range(options.clients)]
        sending = asyncio.create_task(send_all(clients, options.events))
        during = await probe.delays_s(await probe.until(sending))
        await sending
        rate = options.events / (time.monotonic() - began_s)
        say(phase="flood comes in", **figures(during), accepted_per_s=round(rate))
        full_mb = hearth.memory_mb()

        waiting = await probe.delays_s(await probe.send(options.probes))
        ran = runs(folder / "flooded")
        say(phase="flood waits", **figures(waiting), flood_ran=len(ran))
        say(
            idle_mb=round(idle_mb),
            full_mb=round(full_mb),
            end_mb=round(hearth.memory_mb()),
            repeated=sum(len(times) > 1 for times in ran.values()),
            disk_mb=round(sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6),
        )
        await hearth.kill()
    return max(percentile(during, 0.99), percentile(waiting, 0.99)) < DELAY_S_MAX


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=200_000)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--probes", type=int, default=200)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="hearth-flood-") as folder:
        is_good = asyncio.run(flood(Path(folder), options))
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
