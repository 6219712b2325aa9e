"""Does anything that a client can send break the edge? Structure-aware and random inputs, seeded.

    parser    hearth.base.http1_parser: mutated requests, in pieces; pieces must not matter
    decoder   the edge with every operation of every service: match, decode, validate, encode
    platform  the same, with the real control plane behind it
    sigv4     mutated signatures, in headers and in queries
    zip       mutated packages

Broken is: an exception that no caller is told of, a 5xx other than 501, no answer, more than HANG_S
for one input, memory that grows. A failure prints the line that repeats it:

    tools/fuzz.py --seed 1 --target decoder --only 4711
"""

import argparse
import asyncio
import logging
import random
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tools")]

from fuzz_streams import try_stream, try_url  # noqa: E402
from fuzz_targets import Decoder, Platform, Try, try_parser, try_sigv4, try_zip  # noqa: E402
from hearth.base.jobs import Jobs  # noqa: E402

HANG_S: Final = 5.0
"""Unless --hang says otherwise: on a loaded machine an input may wait for the processor."""
GROWTH_MB_MAX: Final = 64
WARM_UP: Final = 2_000
BATCH: Final = 500
PROGRESS: Final = 250_000


class Hang(BaseException):
    """Not an Exception, so that nothing on the way takes it for a failed request."""


# --- the run


@contextmanager
def watched(seconds: float) -> Iterator[None]:
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _hang(*_: object) -> None:
    raise Hang("took longer than --hang allows")


def memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


class Run:
    """Counts, stops at the first failure of each target, and says how to repeat it."""

    def __init__(self, seed: int, hang_s: float) -> None:
        self.seed = seed
        self.hang_s = hang_s
        self.counts: dict[str, int] = {}
        self.spent_s: dict[str, float] = {}
        self.slowest_s: dict[str, float] = {}
        self.failures = 0

    async def one(self, target: str, attempt: Try, number: int) -> bool:
        rng = random.Random(f"{self.seed}:{target}:{number}")
        began = time.perf_counter()
        try:
            with watched(self.hang_s):
                await attempt(rng)
        except (Exception, Hang):  # noqa: BLE001 -- all that is not declared
            self.failures += 1
            print(f"FAILED: tools/fuzz.py --seed {self.seed} --target {target} --only {number}")
            traceback.print_exc(limit=-6)
            return False
        finally:
            took = time.perf_counter() - began
            self.spent_s[target] = self.spent_s.get(target, 0.0) + took
            self.slowest_s[target] = max(self.slowest_s.get(target, 0.0), took)
            self.counts[target] = self.counts.get(target, 0) + 1
        return True

    def report(self, grown_mb: float) -> None:
        for target, count in self.counts.items():
            each_us = self.spent_s[target] / count * 1e6
            slowest = self.slowest_s[target] * 1e3
            print(
                f"{target:9} {count:>10,} inputs  {each_us:6.0f} us each, slowest {slowest:.0f} ms"
            )
        total = sum(self.counts.values())
        print(
            f"total     {total:>10,} inputs, {self.failures} failures, "
            f"memory grew {grown_mb:.0f} MB, seed {self.seed}"
        )


TARGETS = ("parser", "decoder", "platform", "sigv4", "zip", "stream", "url")


async def fuzz(arguments: argparse.Namespace) -> int:
    run = Run(arguments.seed, arguments.hang)
    async with Jobs() as jobs:
        platform = Platform()
        attempts: dict[str, Try] = {
            "parser": try_parser,
            "decoder": Decoder(jobs).attempt,
            "platform": platform.attempt,
            "sigv4": try_sigv4,
            "zip": try_zip,
            "stream": try_stream,
            "url": try_url,
        }
        wanted = {t: a for t, a in attempts.items() if arguments.target in (None, t)}
        try:
            if arguments.only is not None:
                await platform.renew()
                for target, attempt in wanted.items():
                    await run.one(target, attempt, arguments.only)
                return int(run.failures > 0)
            grown_mb = await _rounds(run, wanted, platform, arguments)
        finally:
            await platform.close()
    run.report(grown_mb)
    return int(run.failures > 0 or grown_mb > GROWTH_MB_MAX)


async def _rounds(
    run: Run, wanted: dict[str, Try], platform: Platform, arguments: argparse.Namespace
) -> float:
    """Batches of each target in turn, until time or inputs are used up. Answers the growth."""
    ends = time.monotonic() + arguments.seconds
    wanted = dict(wanted)
    base_mb, done = 0.0, 0
    while wanted and time.monotonic() < ends and done < arguments.inputs:
        await platform.renew()
        for target, attempt in list(wanted.items()):
            first = run.counts.get(target, 0)
            for number in range(first, first + BATCH):
                if not await run.one(target, attempt, number):
                    del wanted[target]
                    break
        before, done = done, sum(run.counts.values())
        if before // PROGRESS < done // PROGRESS:
            print(f"{done:,} inputs, {run.failures} failures, {memory_mb():.0f} MB", flush=True)
        if not base_mb and done >= WARM_UP * len(wanted):
            base_mb = memory_mb()
    return memory_mb() - base_mb if base_mb else 0.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--inputs", type=int, default=sys.maxsize)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--target", choices=TARGETS)
    parser.add_argument("--only", type=int, help="the number of one input")
    parser.add_argument("--hang", type=float, default=HANG_S, help="seconds one input may take")
    arguments = parser.parse_args()
    if arguments.seed is None:
        arguments.seed = random.SystemRandom().randrange(2**32)
    print(f"seed {arguments.seed}", flush=True)
    logging.getLogger("hearth").setLevel(
        logging.ERROR if arguments.only is not None else logging.CRITICAL
    )
    signal.signal(signal.SIGALRM, _hang)
    return asyncio.run(fuzz(arguments))


if __name__ == "__main__":
    sys.exit(main())
