"""Run all tests, in two lanes at once; what failed and starts real processes is run again, alone.

    tools/run_tests.py [pytest's arguments]

Most tests with real processes wait for them, so two lanes need little more of a machine than one.
The second lane's output is shown when it ends, the first one's as it comes. With arguments there is
one lane, and it is pytest with those.

On a shared machine another process may take the processor for seconds. A test that fails then, and
passes alone, is a bug of the test: it is printed as FLAKY to be mended, but does not hide what the
other thousands say. A test without real processes (unit, simulation) has no such excuse, nor have
more than a few at once. See docs/decisions/0023-tests-on-shared-machines.md.
"""

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent
TESTS_FAILED = 1
AGAIN_MAX = 6
REAL = ("tests/integration/", "tests/compat/", "tests/contract/")
LANES = {
    "compat": ("tests/compat",),
    "the others": ("tests/unit", "tests/simulation", "tests/contract", "tests/integration"),
}
"""What runs beside what. Each lane has a cache of its own, which tells what failed in it."""


@dataclass
class Lane:
    """One pytest over some of the tests."""

    arguments: tuple[str, ...]
    cache: str
    output: IO[bytes] | None = None
    """Where what it prints is kept; None: it prints as it goes."""
    process: "subprocess.Popen[bytes]" = field(init=False)

    def __post_init__(self) -> None:
        self.last_failed.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [*PYTEST, "--durations=25", "-o", f"cache_dir={self.cache}", *self.arguments],
            cwd=ROOT,
            stdout=self.output,
            stderr=subprocess.STDOUT if self.output else None,
        )

    @property
    def last_failed(self) -> Path:
        return ROOT / self.cache / "v" / "cache" / "lastfailed"

    def failed(self) -> list[str]:
        """The names of what failed; none if pytest itself did not come to an end."""
        if self.process.wait() != TESTS_FAILED or not self.last_failed.exists():
            return []
        return sorted(json.loads(self.last_failed.read_text()))


PYTEST = (sys.executable, "-m", "pytest")


def run(arguments: list[str]) -> list[Lane]:
    """Run all lanes to their ends; Ctrl-C reaches them as it reaches us, and is waited out."""
    with tempfile.TemporaryFile() as kept:
        if arguments:
            lanes = [Lane(tuple(arguments), ".pytest_cache")]
        else:
            first, second = LANES
            lanes = [
                Lane(LANES[first], ".pytest_cache/first"),
                Lane(LANES[second], ".pytest_cache/second", kept),
            ]
        try:
            for lane in lanes:
                lane.process.wait()
        except KeyboardInterrupt:
            for lane in lanes:
                lane.process.wait()
            raise
        finally:
            if kept.tell():
                kept.seek(0)
                print(f"\n==== {' '.join(lanes[-1].arguments)} ====\n", flush=True)
                sys.stdout.buffer.write(kept.read())
                sys.stdout.flush()
    return lanes


def main(arguments: list[str]) -> int:
    lanes = run(arguments)
    status = max(lane.process.returncode for lane in lanes)
    if any(lane.process.returncode not in (0, TESTS_FAILED) for lane in lanes) or not status:
        return status
    failed = [name for lane in lanes for name in lane.failed()]
    if not 0 < len(failed) <= AGAIN_MAX or not all(name.startswith(REAL) for name in failed):
        return status
    print(f"\n{len(failed)} failed; alone, once more:", *failed, sep="\n  ", flush=True)
    again = subprocess.run([*PYTEST, "-p", "no:cacheprovider", *failed], cwd=ROOT, check=False)
    if again.returncode == 0:
        print("\nFLAKY, to be mended:", *failed, sep="\n  ", flush=True)
    return again.returncode


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
