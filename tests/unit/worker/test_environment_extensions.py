"""The life of an environment that has extensions, in virtual time."""

import asyncio
import json
from dataclasses import replace

import pytest

from fakes.runtime import FakeProgram, Programs, Script
from fakes.virtual_time import run_in_virtual_time
from hearth.base.jobs import Jobs
from hearth.model.functions import Initialization
from hearth.worker import lifecycle
from hearth.worker.environment import ExecutionEnvironment, Launch
from hearth.worker.sandboxes.contract import Exit, ExitKind
from unit.worker.test_environment import FUNCTION, PROGRAM, Scene, echo, play, settle


def with_extension(runtime: Script, linger_s: float, seen: list[str]) -> Script:
    """A runtime with an extension inside that works `linger_s` after each event."""

    async def extension(program: FakeProgram, identifier: str) -> None:
        while True:
            event = await program.extension_next(identifier)
            seen.append(event["requestId"])
            await asyncio.sleep(linger_s)

    async def script(program: FakeProgram) -> None:
        identifier = program.register("inner", "INVOKE")
        async with asyncio.TaskGroup() as group:
            group.create_task(extension(program, identifier))
            await runtime(program)

    return script


async def brief(program: FakeProgram) -> None:
    """An echo that answers and asks for its next event in one request."""
    request, payload = await program.next()
    while True:
        await asyncio.sleep(0.02)
        request, payload = await program.respond_and_next(request, payload)


@pytest.mark.parametrize("runtime", [echo, brief])
def test_an_environment_is_free_when_runtime_and_extensions_have_asked_again(
    runtime: Script,
) -> None:
    seen: list[str] = []

    async def story(scene: Scene) -> None:
        await scene.environment.start()
        for number in (1, 2):
            began_s = scene.clock.monotonic_s()
            assert (await scene.invoke(f"r{number}")).payload == b'{"n": 1}'
            assert scene.clock.monotonic_s() - began_s == pytest.approx(0.021, abs=0.001)
            assert scene.state is lifecycle.State.FINISHING
            await settle(scene, number)
            assert scene.clock.monotonic_s() - began_s == pytest.approx(0.5, abs=0.01)
        assert seen == ["r1", "r2"]
        assert "\tDuration: 500.00 ms\t" in scene.log[-1]
        assert "EXTENSION\tName: inner\tState: Ready\tEvents: [INVOKE]" in scene.log

    play(story, with_extension(runtime, 0.5, seen))


@pytest.mark.parametrize("runtime", [echo, brief])
def test_a_runtime_may_be_later_than_its_extensions(runtime: Script) -> None:
    async def story(scene: Scene) -> None:
        await scene.environment.start()
        await scene.invoke()
        await settle(scene, 1)
        assert "\tDuration: 20.00 ms\t" in scene.log[-1]

    play(story, with_extension(runtime, 0.001, []))


def test_an_answer_that_asks_for_the_next_event_waits_for_nothing() -> None:
    async def story(scene: Scene) -> None:
        await scene.environment.start()
        for number in (1, 2):
            began_s = scene.clock.monotonic_s()
            assert (await scene.invoke(f"r{number}")).payload == b'{"n": 1}'
            assert scene.clock.monotonic_s() - began_s == pytest.approx(0.02, abs=0.0005)
            assert scene.state is lifecycle.State.READY
            assert "\tDuration: 20.00 ms\t" in scene.log[-1]

    play(story, brief)


def test_the_timeout_includes_extensions() -> None:
    async def story(scene: Scene) -> None:
        await scene.environment.start()
        assert (await scene.invoke()).function_error is None, "it was answered before"
        await settle(scene, 1)
        assert scene.clock.monotonic_s() == pytest.approx(3.1, abs=0.01)
        assert scene.log[-1].endswith("\tStatus: timeout")
        assert scene.programs.started[0].ended == "timeout"

    play(story, with_extension(echo, 60, []))


def test_init_lasts_until_extensions_are_ready_too() -> None:
    async def late(program: FakeProgram) -> None:
        identifier = program.register("inner", "INVOKE")
        asking = asyncio.ensure_future(program.next())
        await asyncio.sleep(2)
        try:
            await program.extension_next(identifier)
        finally:
            asking.cancel()

    async def story(scene: Scene) -> None:
        await scene.environment.start()
        assert scene.clock.monotonic_s() == pytest.approx(2)
        assert scene.state is lifecycle.State.READY

    play(story, late)


@pytest.mark.parametrize(("runs_s", "reason"), [(1.0, "failure"), (60.0, "timeout")])
def test_extensions_are_told_why(runs_s: float, reason: str) -> None:
    async def ends(program: FakeProgram) -> None:
        await program.next()
        await asyncio.sleep(runs_s)
        program.exit(Exit(ExitKind.EXITED, 1))

    async def story(scene: Scene) -> None:
        await scene.environment.start()
        await scene.invoke()
        await settle(scene, 1)
        await scene.environment.stop()
        assert scene.programs.started[0].ended == reason

    play(story, ends)


def test_an_environment_that_is_not_needed_spins_down() -> None:
    async def story(scene: Scene) -> None:
        await scene.environment.start()
        await scene.environment.stop()
        assert scene.programs.started[0].ended == "spindown"

    play(story, echo)


def test_an_oversized_response_that_comes_while_the_program_ends_changes_nothing() -> None:
    async def story(scene: Scene) -> None:
        await scene.environment.start()
        invoke = asyncio.ensure_future(scene.invoke())
        while scene.state is not lifecycle.State.RESETTING:  # noqa: ASYNC110 - virtual time
            await asyncio.sleep(0.1)
        scene.environment.runtime_response_too_large()
        assert json.loads((await invoke).payload)["errorType"] == "Sandbox.Timedout"

    async def hangs(program: FakeProgram) -> None:
        program.end_takes_s = 5
        await program.next()
        await asyncio.sleep(1000)

    play(story, hangs)


def test_the_init_of_a_provisioned_environment_is_always_reported() -> None:
    async def main() -> None:
        async with Jobs() as jobs:
            scene = Scene(jobs, Programs(echo))
            function = replace(FUNCTION, initialization=Initialization.PROVISIONED)
            environment = ExecutionEnvironment(
                scene.sandbox,
                function,
                Launch(program=PROGRAM),
                scene,
                scene.clock,
                jobs,
                Programs(echo),
            )
            await environment.start()
            assert scene.log == ["INIT_REPORT Init Duration: 100.00 ms\tPhase: init\t"]
            await environment.stop()

    run_in_virtual_time(main())
