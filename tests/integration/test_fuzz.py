"""Twenty seconds of the fuzzer with a fixed seed: nothing breaks, and a failure would be told."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

FUZZ = Path(__file__).parents[2] / "tools" / "fuzz.py"
SECONDS = 20
INPUTS_MIN = 20_000
TARGETS = ("parser", "decoder", "platform", "sigv4", "zip", "stream", "url")


def fuzz(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, FUZZ, *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS + 60,
    )


def test_nothing_that_a_client_sends_breaks_the_edge() -> None:
    done = fuzz("--seconds", str(SECONDS), "--seed", "4")
    assert done.returncode == 0, done.stdout + done.stderr
    total = re.search(r"total +([\d,]+) inputs, 0 failures", done.stdout)
    assert total is not None, done.stdout
    assert int(total[1].replace(",", "")) >= INPUTS_MIN
    assert all(target in done.stdout for target in TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_one_input_can_be_repeated(target: str) -> None:
    done = fuzz("--seed", "4", "--target", target, "--only", "7")
    assert done.returncode == 0, done.stdout + done.stderr
