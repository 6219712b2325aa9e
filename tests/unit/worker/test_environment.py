"""The life of an execution environment, in virtual time: what Lambda does, and when."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest

from fakes.runtime import MIB, FakeProgram, FakeSandbox, Programs, Script
from fakes.virtual_time import VirtualClock, run_in_virtual_time
from hearth.base.jobs import Jobs
from hearth.model.errors import InternalFailure
from hearth.model.functions import Code, FunctionVersion, State
from hearth.model.ids import AccountId, FunctionKey, FunctionName, Region, RequestId
from hearth.model.invocations import Invocation, InvokeResult
from hearth.worker import lifecycle
from hearth.worker.environment import ExecutionEnvironment, Launch
from hearth.worker.report import Failure
from hearth.worker.sandboxes.contract import Exit, ExitKind, Program, SandboxFailed

KEY = FunctionKey(AccountId("123456789012"), Region("us-east-1"), FunctionName("f"))
FUNCTION = FunctionVersion(
    key=KEY,
    runtime="python3.11",
    handler="app.handler",
    role="r",
    code=Code(sha256="0" * 64, size_bytes=1),
    state=State.ACTIVE,
    timeout_s=3,
    memory_mb=128,
    last_modified="",
    revision_id="v1",
    instance_id="i1",
)
PROGRAM = Program(argv=("x",), environment={}, working_directory="/", mounts=())


class Scene:
    """One environment with scripted runtimes; `released` remembers each release."""

    def __init__(self, jobs: Jobs, programs: Programs, launch: Launch | None = None) -> None:
        self.sandbox = FakeSandbox()
        self.programs = programs
        self.log: list[str] = []
        self.released: list[bool] = []
        self.clock = VirtualClock()
        self.environment = ExecutionEnvironment(
            self.sandbox,
            FUNCTION,
            launch or Launch(program=PROGRAM, init_line="INIT_START x"),
            self,
            self.clock,
            jobs,
            programs,
        )

    def append(self, at_ms: int, lines: list[bytes]) -> None:
        self.log += [line.decode().removesuffix("\n") for line in lines]

    async def invoke(self, name: str = "r1", *, tail: bool = False) -> InvokeResult:
        invocation = Invocation(
            request=RequestId(name),
            function=FUNCTION,
            invoked_arn=KEY.arn(),
            payload=b'{"n": 1}',
            trace_id="Root=1",
            log_tail=tail,
        )
        return await self.environment.run(invocation, self.released.append)

    @property
    def state(self) -> lifecycle.State:
        return self.environment.lifecycle.state


def play(
    story: Callable[[Scene], Awaitable[None]],
    *scripts: Script,
    launch: Launch | None = None,
    errors: tuple[Exception | None, ...] = (),
) -> None:
    async def main() -> None:
        async with Jobs() as jobs:
            await story(Scene(jobs, Programs(*scripts, errors=errors), launch))

    run_in_virtual_time(main())


async def settle(scene: Scene, releases: int) -> None:
    while len(scene.released) < releases:  # noqa: ASYNC110 - virtual time
        await asyncio.sleep(0.001)


async def echo(program: FakeProgram) -> None:
    await asyncio.sleep(0.1)  # init
    while True:
        request, payload = await program.next()
        await asyncio.sleep(0.02)
        program.respond(request, payload)


def test_a_cold_and_a_warm_invoke_are_logged_as_lambda_logs_them() -> None:
    async def story(scene: Scene) -> None:
        await scene.environment.start()
        assert (await scene.invoke("r1")).payload == b'{"n": 1}'
        await settle(scene, 1)
        assert (await scene.invoke("r2")).function_error is None
        await settle(scene, 2)
        assert scene.log == [
            "INIT_START x",
            "START RequestId: r1 Version: $LATEST",
            "END RequestId: r1",
            "REPORT RequestId: r1\tDuration: 20.00 ms\tBilled Duration: 120 ms\t"
            "Memory Size: 128 MB\tMax Memory Used: 40 MB\tInit Duration: 100.00 ms\t",
            "START RequestId: r2 Version: $LATEST",
            "END RequestId: r2",
            "REPORT RequestId: r2\tDuration: 20.00 ms\tBilled Duration: 20 ms\t"
            "Memory Size: 128 MB\tMax Memory Used: 40 MB\t",
        ]
        assert scene.released == [True, True]
        assert scene.sandbox.cpu == [None, 128], "all the CPU in init, the memory's share after"

    play(story, echo)


def test_the_caller_is_answered_before_the_environment_is_free() -> None:
    async def lingering(program: FakeProgram) -> None:
        request, payload = await program.next()
        program.respond(request, payload)
        await asyncio.sleep(1)
        await program.next()

    async def story(scene: Scene) -> None:
        await scene.environment.start()
        began_s = scene.clock.monotonic_s()
        await scene.invoke()
        assert scene.clock.monotonic_s() - began_s <= 0.002
        assert (scene.released, scene.state) == ([], lifecycle.State.FINISHING)
        await settle(scene, 1)
        assert scene.clock.monotonic_s() == pytest.approx(began_s + 1, abs=0.01)

    play(story, lingering)


def test_a_tail_waits_for_its_report_and_holds_what_init_printed() -> None:
    async def chatty(program: FakeProgram) -> None:
        program.say(b"loading")
        while True:
            request, payload = await program.next()
            program.say(b"working")
            program.respond(request, payload)

    async def story(scene: Scene) -> None:
        await scene.environment.start()
        tail = (await scene.invoke("r1", tail=True)).log_tail
        assert tail is not None
        lines = tail.decode().splitlines()
        assert lines[:3] == ["loading", "START RequestId: r1 Version: $LATEST", "working"]
        assert lines[-1].startswith("REPORT RequestId: r1\t")
        await settle(scene, 1)
        again = (await scene.invoke("r2", tail=True)).log_tail
        assert again is not None
        assert again.decode().startswith("START RequestId: r2")

    play(story, chatty)


def test_a_tail_is_the_last_four_kilobytes() -> None:
    async def flood(program: FakeProgram) -> None:
        request, payload = await program.next()
        for number in range(1000):
            program.say(b"line %d" % number)
        program.respond(request, payload)
        await program.next()

    async def story(scene: Scene) -> None:
        await scene.environment.start()
        tail = (await scene.invoke(tail=True)).log_tail
        assert tail is not None
        assert len(tail) == 4096
        assert b"line 999\nEND" in tail

    play(story, flood)


def test_a_timeout_answers_kills_and_leaves_the_environment_to_be_initialised_again() -> None:
    async def hangs(program: FakeProgram) -> None:
        await program.next()
        await asyncio.sleep(1000)

    async def story(scene: Scene) -> None:
        await scene.environment.start()
        result = await scene.invoke("r1")
        assert scene.clock.monotonic_s() == pytest.approx(3.0)
        assert json.loads(result.payload)["errorType"] == "Sandbox.Timedout"
        assert result.function_error == "Unhandled"
        await settle(scene, 1)
        assert scene.programs.started[0].ended
        assert (scene.released, scene.state) == ([True], lifecycle.State.RESET)
        assert scene.log[-1].endswith("\tStatus: timeout")
        assert (await scene.invoke("r2")).payload == b'{"n": 1}'
        await settle(scene, 2)
        assert "Init Duration" not in scene.log[-1], "a suppressed init is part of Duration"
        assert "Duration: 120.00 ms" in scene.log[-1]

    play(story, hangs, echo)


def test_what_killing_takes_is_not_billed() -> None:
    async def hangs(program: FakeProgram) -> None:
        program.end_takes_s = 5.0
        await program.next()
        await asyncio.sleep(1000)

    async def story(scene: Scene) -> None:
        await scene.environment.start()
        await scene.invoke("r1")
        await settle(scene, 1)
        assert scene.clock.monotonic_s() == pytest.approx(8.0, abs=0.01)
        assert "\tDuration: 3000.00 ms\tBilled Duration: 3000 ms\t" in scene.log[-1]

    play(story, hangs)


def test_a_function_that_answers_but_never_asks_again_is_reset_at_its_timeout() -> None:
    async def sulks(program: FakeProgram) -> None:
        request, payload = await program.next()
        program.respond(request, payload)
        await asyncio.sleep(1000)

    async def story(scene: Scene) -> None:
        await scene.environment.start()
        assert (await scene.invoke()).payload == b'{"n": 1}'
        await settle(scene, 1)
        assert scene.clock.monotonic_s() == pytest.approx(3.0, abs=0.01)
        assert scene.state is lifecycle.State.RESET
        assert scene.log[-1].endswith("\tStatus: timeout")

    play(story, sulks)


@pytest.mark.parametrize(
    ("exit_", "words"),
    [
        (Exit(ExitKind.EXITED, 3), "Runtime exited with error: exit status 3"),
        (Exit(ExitKind.OUT_OF_MEMORY, 9), "Runtime exited with error: signal: killed"),
    ],
)
def test_a_crash_is_answered_at_once(exit_: Exit, words: str) -> None:
    async def crashes(program: FakeProgram) -> None:
        await program.next()
        program.exit(exit_)

    async def story(scene: Scene) -> None:
        await scene.environment.start()
        result = await scene.invoke("r1")
        assert json.loads(result.payload)["errorMessage"] == f"RequestId: r1 Error: {words}"
        await settle(scene, 1)
        assert scene.state is lifecycle.State.RESET

    play(story, crashes)


def test_a_crash_after_the_answer_changes_no_answer() -> None:
    async def dies_late(program: FakeProgram) -> None:
        request, payload = await program.next()
        program.respond(request, payload)
        await asyncio.sleep(0.5)
        program.exit(Exit(ExitKind.EXITED, 1))

    async def story(scene: Scene) -> None:
        await scene.environment.start()
        assert (await scene.invoke()).function_error is None
        await settle(scene, 1)
        assert scene.log[-1].endswith("Status: error\tError Type: Runtime.ExitError")

    play(story, dies_late)


def test_a_runtime_that_dies_while_idle_is_started_again_by_the_next_invoke() -> None:
    async def dies_idle(program: FakeProgram) -> None:
        asking = asyncio.ensure_future(program.next())
        await asyncio.sleep(5)
        asking.cancel()
        program.exit(Exit(ExitKind.EXITED, 1))

    async def story(scene: Scene) -> None:
        await scene.environment.start()
        while scene.state is not lifecycle.State.RESET:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
        assert (await scene.invoke()).payload == b'{"n": 1}'

    play(story, dies_idle, echo)


def idle_death(program: FakeProgram) -> Callable[[], None]:
    """Ask for an event; what is returned lets the process die before one came."""
    asking = asyncio.ensure_future(program.next())

    def die() -> None:
        asking.cancel()
        program.exit(Exit(ExitKind.SIGNALED, 9))

    return die


def test_an_invoke_that_comes_while_the_environment_resets_waits_for_that() -> None:
    deaths: list[Callable[[], None]] = []

    async def dies_when_told(program: FakeProgram) -> None:
        deaths.append(idle_death(program))

    async def story(scene: Scene) -> None:
        await scene.environment.start()
        deaths[0]()
        assert scene.state is lifecycle.State.RESETTING
        assert (await scene.invoke()).payload == b'{"n": 1}'
        await settle(scene, 1)
        assert scene.released == [True]

    play(story, dies_when_told, echo)


def test_an_environment_that_is_stopped_while_it_resets_refuses_the_invoke_that_waits() -> None:
    deaths: list[Callable[[], None]] = []

    async def dies_when_told(program: FakeProgram) -> None:
        deaths.append(idle_death(program))

    async def story(scene: Scene) -> None:
        await scene.environment.start()
        deaths[0]()
        waiting = asyncio.ensure_future(scene.invoke())
        await asyncio.gather(scene.environment.stop(), asyncio.sleep(0))
        with pytest.raises(InternalFailure):
            await waiting
        assert scene.released == [False]

    play(story, dies_when_told, echo)


def test_memory_that_cannot_be_measured_does_not_keep_an_invoke_from_ending() -> None:
    async def story(scene: Scene) -> None:
        await scene.environment.start()
        scene.sandbox.usage_error = OSError(24, "Too many open files")
        assert (await scene.invoke(tail=True)).function_error is None
        assert scene.released == [True]

    play(story, echo)


def test_an_init_error_is_tried_again_and_told_to_the_invoke() -> None:
    async def no_module(program: FakeProgram) -> None:
        await asyncio.sleep(0.05)
        program.init_error(
            b'{"errorType":"Runtime.ImportModuleError"}', "Runtime.ImportModuleError"
        )

    async def story(scene: Scene) -> None:
        await scene.environment.start()
        assert scene.state is lifecycle.State.RESET
        result = await scene.invoke("r1", tail=True)
        assert result.payload == b'{"errorType":"Runtime.ImportModuleError"}'
        await settle(scene, 1)
        assert len(scene.programs.started) == 2, "the first invoke tries the init again"
        error = "Status: error\tError Type: Runtime.ImportModuleError"
        assert scene.log == [
            "INIT_START x",
            f"INIT_REPORT Init Duration: 50.00 ms\tPhase: init\t{error}",
            f"INIT_REPORT Init Duration: 50.00 ms\tPhase: invoke\t{error}",
            "START RequestId: r1 Version: $LATEST",
            "END RequestId: r1",
            "REPORT RequestId: r1\tDuration: 50.00 ms\tBilled Duration: 50 ms\t"
            f"Memory Size: 128 MB\tMax Memory Used: 40 MB\t{error}",
        ]
        assert result.log_tail == "".join(f"{line}\n" for line in scene.log[1:]).encode()

    play(story, no_module)


def test_an_init_of_more_than_ten_seconds_is_cut_and_tried_within_the_functions_timeout() -> None:
    async def slow_init(program: FakeProgram) -> None:
        await asyncio.sleep(60)

    async def story(scene: Scene) -> None:
        await scene.environment.start()
        assert scene.clock.monotonic_s() == pytest.approx(10.0)
        assert scene.log[-1] == (
            "INIT_REPORT Init Duration: 10000.00 ms\tPhase: init\tStatus: timeout"
        )
        result = await scene.invoke("r1")
        assert scene.clock.monotonic_s() == pytest.approx(13.0)
        assert json.loads(result.payload)["errorMessage"] == (
            "RequestId: r1 Error: Task timed out after 3.00 seconds"
        )

    play(story, slow_init)


def test_a_slow_suppressed_init_leaves_the_invoke_only_the_rest_of_its_timeout() -> None:
    async def crashes(program: FakeProgram) -> None:
        await program.next()
        program.exit(Exit(ExitKind.EXITED, 1))

    async def slow(program: FakeProgram) -> None:
        await asyncio.sleep(2.5)
        await program.next()
        await asyncio.sleep(1000)

    async def story(scene: Scene) -> None:
        await scene.environment.start()
        await scene.invoke("r1")
        await settle(scene, 1)
        began_s = scene.clock.monotonic_s()
        result = await scene.invoke("r2")
        assert json.loads(result.payload)["errorType"] == "Sandbox.Timedout"
        assert scene.clock.monotonic_s() - began_s == pytest.approx(3.0)

    play(story, crashes, slow)


def test_an_oversized_response_resets_the_environment() -> None:
    async def big(program: FakeProgram) -> None:
        request, _ = await program.next()
        assert program.respond(request, b"x" * (6_291_556 + 1)) == 413
        await asyncio.sleep(1000)

    async def story(scene: Scene) -> None:
        await scene.environment.start()
        result = await scene.invoke()
        assert json.loads(result.payload)["errorType"] == "Function.ResponseSizeTooLarge"
        await settle(scene, 1)
        assert scene.state is lifecycle.State.RESET

    play(story, big)


def test_a_function_that_raises_goes_on_in_the_same_process() -> None:
    async def raises(program: FakeProgram) -> None:
        while True:
            request, _ = await program.next()
            program.fail(request, b'{"errorType":"ValueError"}')

    async def story(scene: Scene) -> None:
        await scene.environment.start()
        for number in range(2):
            result = await scene.invoke(f"r{number}")
            assert (result.function_error, result.payload) == (
                "Unhandled",
                b'{"errorType":"ValueError"}',
            )
            await settle(scene, number + 1)
        assert len(scene.programs.started) == 1
        assert "Status" not in scene.log[-1]

    play(story, raises)


def test_a_package_without_an_entry_point_is_told_and_starts_nothing() -> None:
    refusal = Failure("error", "Runtime.InvalidEntrypoint", "Couldn't find valid bootstrap(s)")

    async def story(scene: Scene) -> None:
        await scene.environment.start()
        result = await scene.invoke("r1")
        assert json.loads(result.payload) == {
            "errorType": "Runtime.InvalidEntrypoint",
            "errorMessage": "RequestId: r1 Error: Couldn't find valid bootstrap(s)",
        }
        assert scene.programs.started == []

    play(story, echo, launch=Launch(program=None, refusal=refusal))


def test_a_sandbox_that_does_not_start_is_ours_to_answer_for() -> None:
    async def story(scene: Scene) -> None:
        with pytest.raises(SandboxFailed):
            await scene.environment.start()

    play(story, echo, errors=(SandboxFailed("no"),))


def test_a_sandbox_that_does_not_start_again_is_told_to_the_caller() -> None:
    async def crashes(program: FakeProgram) -> None:
        await program.next()
        program.exit(Exit(ExitKind.EXITED, 1))

    async def story(scene: Scene) -> None:
        await scene.environment.start()
        await scene.invoke("r1")
        await settle(scene, 1)
        result = await scene.invoke("r2")
        assert json.loads(result.payload)["errorType"] == "Sandbox.Failure"
        await settle(scene, 2)
        assert scene.released == [True, False], "a new sandbox takes its place"

    play(story, crashes, errors=(None, SandboxFailed("no")))


def test_a_caller_who_gives_up_does_not_stop_the_function() -> None:
    async def story(scene: Scene) -> None:
        await scene.environment.start()
        caller = asyncio.ensure_future(scene.invoke("r1"))
        await asyncio.sleep(0.005)
        caller.cancel()
        await settle(scene, 1)
        assert scene.released == [True]
        assert scene.log[-1].startswith("REPORT RequestId: r1")
        assert (await scene.invoke("r2")).payload == b'{"n": 1}'

    play(story, echo)


@pytest.mark.parametrize("after_s", [0.005, 0.05, 2.0])
def test_stopping_answers_whoever_waits_and_leaves_nothing(after_s: float) -> None:
    async def hangs(program: FakeProgram) -> None:
        await asyncio.sleep(0.01)
        await program.next()
        await asyncio.sleep(1000)

    async def story(scene: Scene) -> None:
        starting = asyncio.ensure_future(scene.environment.start())
        invoke: asyncio.Future[InvokeResult] | None = None
        if after_s > 0.01:
            await starting
            invoke = asyncio.ensure_future(scene.invoke("r1"))
        await asyncio.sleep(after_s)
        await scene.environment.stop()
        await scene.environment.stop()
        await starting
        assert scene.state is lifecycle.State.STOPPED
        assert scene.sandbox.destroyed == 1
        assert all(program.ended for program in scene.programs.started)
        if invoke is not None:
            with pytest.raises(InternalFailure):
                await invoke
            assert scene.released == [False]
            assert scene.log[-2] == "END RequestId: r1"

    play(story, hangs)


def test_memory_used_is_never_shown_above_the_memory_size() -> None:
    async def story(scene: Scene) -> None:
        scene.sandbox.peak = 130 * MIB
        await scene.environment.start()
        await scene.invoke()
        await settle(scene, 1)
        assert "Max Memory Used: 128 MB" in scene.log[-1]

    play(story, echo)


def test_an_idle_environment_is_frozen_after_a_while_and_thawed_by_the_next_invoke() -> None:
    async def story(scene: Scene) -> None:
        await scene.environment.start()
        began_s = scene.clock.monotonic_s()
        assert not scene.environment.freeze_if_idle(began_s - 0.1), (
            "it has not been idle for long enough"
        )
        assert scene.environment.freeze_if_idle(began_s)
        assert scene.sandbox.is_frozen
        assert not scene.environment.freeze_if_idle(began_s), "it is frozen already"
        assert (await scene.invoke()).payload == b'{"n": 1}'
        assert not scene.sandbox.is_frozen

    play(story, echo)


def test_an_environment_that_runs_or_finishes_an_invoke_is_not_frozen() -> None:
    async def answer_and_linger(program: FakeProgram) -> None:
        request, payload = await program.next()
        program.respond(request, payload)
        await asyncio.sleep(1)
        await program.next()

    async def story(scene: Scene) -> None:
        await scene.environment.start()
        invoke = asyncio.ensure_future(scene.invoke())
        seen = set()
        await asyncio.sleep(0)
        while not scene.released:
            seen.add(scene.state)
            assert not scene.environment.freeze_if_idle(scene.clock.monotonic_s())
            await asyncio.sleep(0.01)
        await invoke
        assert lifecycle.State.FINISHING in seen
        assert scene.environment.freeze_if_idle(scene.clock.monotonic_s())

    play(story, answer_and_linger)


def test_a_frozen_runtime_that_dies_all_the_same_is_started_again() -> None:
    async def story(scene: Scene) -> None:
        await scene.environment.start()
        assert scene.environment.freeze_if_idle(scene.clock.monotonic_s())
        scene.programs.started[0].exit(Exit(ExitKind.SIGNALED, 9))
        assert (await scene.invoke()).function_error is None
        assert not scene.environment.is_frozen
        assert len(scene.programs.started) == 2

    play(story, echo)


def test_a_sandbox_that_cannot_be_thawed_is_given_up() -> None:
    async def story(scene: Scene) -> None:
        await scene.environment.start()
        assert scene.environment.freeze_if_idle(scene.clock.monotonic_s())
        scene.sandbox.thaw_error = SandboxFailed("the kernel refuses")
        with pytest.raises(InternalFailure):
            await scene.invoke()
        assert scene.released == [False]

    play(story, echo)


def test_a_frozen_environment_is_stopped_like_any_other() -> None:
    async def story(scene: Scene) -> None:
        await scene.environment.start()
        assert scene.environment.freeze_if_idle(scene.clock.monotonic_s())
        await scene.environment.stop()
        assert scene.sandbox.destroyed == 1
        assert scene.programs.started[0].ended

    play(story, echo)


def test_a_new_program_is_not_shown_with_the_memory_of_the_one_before() -> None:
    async def story(scene: Scene) -> None:
        await scene.environment.start()
        scene.sandbox.peak = 128 * MIB
        await scene.invoke("r1")
        scene.programs.started[0].exit(Exit(ExitKind.OUT_OF_MEMORY, 9))
        await scene.invoke("r2")
        await settle(scene, 2)
        shown = [line for line in scene.log if line.startswith("REPORT ")]
        assert "Max Memory Used: 128 MB" in shown[0]
        assert "Max Memory Used: 40 MB" in shown[1]

    play(story, echo)
