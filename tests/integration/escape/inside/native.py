"""What does a program of C try, run as a function would run one? See native.c."""

import os
import subprocess

from integration.escape.inside.common import TARGETS, attempts, facts

PROGRAM = "/var/task/native"


def run() -> None:
    facts["native"] = os.path.exists(PROGRAM)  # noqa: PTH110
    if not facts["native"] or TARGETS["own kernel"]:
        return  # nobody could compile it; or see calls.py on clone
    said = subprocess.run(
        [PROGRAM], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=60, check=True
    )
    for line in said.stdout.decode().splitlines():
        name, _, outcome = line.partition("\t")
        attempts[name] = outcome
