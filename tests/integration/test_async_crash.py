"""kill -9 of everything, of the engine, of the sandboxes: no accepted event is lost."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]

TOOL = Path(__file__).parents[2] / "tools" / "crash_async.py"


def test_every_acknowledged_event_is_run_whatever_is_killed() -> None:
    """The whole test is `make crash-async`; this is a small one of it."""
    command = f"{TOOL} --events 400 --clients 8 --kills 2 --engine-kills 1 --sandbox-kills 0"
    done = subprocess.run(
        [sys.executable, *command.split(), "--seed", "7"],
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    (figures,) = [row for line in done.stdout.splitlines() if "lost" in (row := json.loads(line))]
    assert figures["kills"] == 3
    assert figures["accepted"] >= 400
    assert figures["lost"] == 0
