"""Run all tests; what failed and starts real processes is run once more, alone, and named.

    tools/run_tests.py [pytest's arguments]

On a shared machine another process may take the processor for seconds. A test that fails then, and
passes alone, is a bug of the test: it is printed as FLAKY to be mended, but does not hide what the
other thousands say. A test without real processes (unit, simulation) has no such excuse, nor have
more than a few at once. See docs/decisions/0023-tests-on-shared-machines.md.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAST_FAILED = ROOT / ".pytest_cache" / "v" / "cache" / "lastfailed"
TESTS_FAILED = 1
AGAIN_MAX = 6
REAL = ("tests/integration/", "tests/compat/", "tests/contract/")


def pytest(*arguments: str) -> int:
    return subprocess.run(
        [sys.executable, "-m", "pytest", *arguments], cwd=ROOT, check=False
    ).returncode


def main(arguments: list[str]) -> int:
    LAST_FAILED.unlink(missing_ok=True)
    status = pytest("--durations=25", *arguments)
    if status != TESTS_FAILED or not LAST_FAILED.exists():
        return status
    failed = sorted(json.loads(LAST_FAILED.read_text()))
    if len(failed) > AGAIN_MAX or not all(name.startswith(REAL) for name in failed):
        return status
    print(f"\n{len(failed)} failed; alone, once more:", *failed, sep="\n  ", flush=True)
    if (status := pytest("-p", "no:cacheprovider", *failed)) == 0:
        print("\nFLAKY, to be mended:", *failed, sep="\n  ", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
