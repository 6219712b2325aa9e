"""What do forks of one template share, and what becomes of them, of it, and of the launcher?"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contract.sandbox_scene import Scene, drop, eventually, finish, line_from
from hearth.worker.sandboxes.bubblewrap_sandbox import BubblewrapSandbox
from hearth.worker.sandboxes.contract import Channels, Exit, ExitKind, Program, Sandbox
from hearth.worker.sandboxes.zygote import ZygoteBackend
from integration.test_zygotes import DIFFERENT, SCRIPT, play, scripted

pytestmark = pytest.mark.integration

TEMPLATE = (
    SCRIPT.replace("def main():", "def look():")
    + """
template = None

def main():
    values()
    print("initialised", flush=True)
    is_fork = template.serve()
    if not is_fork:
        print("refused", flush=True)
        import time
        time.sleep(600)
    look()
"""
)


async def a_template(
    scene: Scene, directory: Path, text: str = TEMPLATE
) -> tuple[BubblewrapSandbox, Channels, Program, str]:
    program = replace(scripted(directory, text), is_template=True)
    sandbox = await scene.sandbox("template", kind=program.zygote, is_template=True)
    assert isinstance(sandbox, BubblewrapSandbox)
    channels = await sandbox.start(program)
    why = await sandbox.become_template(lambda: None)
    return sandbox, channels, program, why


async def a_fork(scene: Scene, template: BubblewrapSandbox, program: Program, name: str) -> Sandbox:
    return await scene.sandbox(name, fork_of=template)


def test_forks_of_a_template_draw_no_random_value_alike(tmp_path: Path) -> None:
    async def scenario(scene: Scene, backend: ZygoteBackend) -> None:
        template, channels, program, why = await a_template(scene, tmp_path)
        assert why == ""
        seen: list[Any] = []
        for number in range(3):
            fork = await a_fork(scene, template, program, f"f{number}")
            environment = {**program.environment, "NUMBER": str(number)}
            its = await fork.start(replace(program, environment=environment))
            out, err, exit_ = await finish(fork, its)
            assert (err, exit_) == ("", Exit(ExitKind.EXITED, 0))
            seen.append(json.loads(out))
        for what in DIFFERENT:
            assert len({str(one[what]) for one in seen}) == 3, what
        drop(channels)

    play(tmp_path, scenario)


_ = (eventually, line_from)
