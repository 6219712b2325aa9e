"""A function that answers bit by bit, in virtual time: where its bytes go, and how it ends."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable

import pytest

from fakes.runtime import FakeProgram, FakeSandbox, Programs, Script
from fakes.virtual_time import VirtualClock, run_in_virtual_time
from hearth.base.jobs import Jobs
from hearth.model import limits
from hearth.model.errors import InternalFailure
from hearth.model.functions import Code, FunctionVersion, State
from hearth.model.ids import AccountId, FunctionKey, FunctionName, Region, RequestId
from hearth.model.invocations import Invocation, InvokeResult, ResponseSource, StreamStart
from hearth.worker import lifecycle
from hearth.worker.environment import ExecutionEnvironment, Launch
from hearth.worker.sandboxes.contract import Exit, ExitKind, Program

FUNCTION = FunctionVersion(
    key=FunctionKey(AccountId("123456789012"), Region("us-east-1"), FunctionName("f")),
    runtime="provided.al2023",
    handler="h",
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
MIB = 1024 * 1024


class Sink:
    def __init__(self) -> None:
        self.source: ResponseSource | None = None
        self.content_type: str | None = None
        self.pieces: list[bytes] = []
        self.taken = 0

    def begin(self, source: ResponseSource, start: StreamStart) -> None:
        assert self.source is None, "begun twice"
        self.source, self.content_type = source, start.content_type

    def write(self, data: bytes) -> None:
        self.taken += len(data)
        if len(data) < MIB:
            self.pieces.append(data)


class Scene:
    def __init__(self, jobs: Jobs, *scripts: Script) -> None:
        self.released: list[bool] = []
        self.log: list[str] = []
        self.environment = ExecutionEnvironment(
            FakeSandbox(),
            FUNCTION,
            Launch(program=PROGRAM),
            self,
            VirtualClock(),
            jobs,
            Programs(*scripts),
        )

    def append(self, at_ms: int, lines: list[bytes]) -> None:
        self.log += [line.decode().removesuffix("\n") for line in lines]

    async def invoke(
        self, sink: Sink | None, name: str = "r1", *, tail: bool = False
    ) -> InvokeResult:
        invocation = Invocation(
            request=RequestId(name),
            function=FUNCTION,
            invoked_arn=FUNCTION.key.arn(),
            payload=b"{}",
            trace_id="Root=1",
            log_tail=tail,
            sink=sink,
        )
        return await self.environment.run(invocation, self.released.append)


def play(story: Callable[[Scene], Awaitable[None]], *scripts: Script) -> None:
    async def scenario() -> None:
        async with Jobs() as jobs:
            scene = Scene(jobs, *scripts)
            await scene.environment.start()
            await story(scene)
            await scene.environment.stop()

    run_in_virtual_time(scenario())


def error_of(result: InvokeResult) -> dict[str, str]:
    assert result.function_error == "Unhandled"
    error: dict[str, str] = json.loads(result.payload)
    return error


async def streams(program: FakeProgram) -> None:
    """Answers every event with three pieces, a second after each other."""
    while True:
        request, _ = await program.next()
        upload = program.stream(request, content_type="text/plain")
        for piece in (b"one ", b"two ", b"three"):
            upload.write(piece)
            await asyncio.sleep(0.5)
        upload.end()
        assert upload.statuses == [202]


def test_pieces_arrive_when_they_are_written() -> None:
    async def story(scene: Scene) -> None:
        sink = Sink()
        running = asyncio.create_task(scene.invoke(sink))
        await asyncio.sleep(0.1)
        assert sink.pieces == [b"one "]
        assert sink.content_type == "text/plain"
        await asyncio.sleep(0.5)
        assert sink.pieces == [b"one ", b"two "]
        result = await running
        assert sink.pieces == [b"one ", b"two ", b"three"]
        assert (result.payload, result.function_error) == (b"", None)
        assert scene.released == [True]
        again = Sink()
        await scene.invoke(again, "r2")
        assert again.pieces == sink.pieces
        assert scene.released == [True, True]

    play(story, streams)


def test_a_plain_invoke_of_a_function_that_streams_gets_the_whole() -> None:
    async def story(scene: Scene) -> None:
        result = await scene.invoke(None)
        assert result.payload == b"one two three"
        assert result.content_type == "text/plain"
        assert (await scene.invoke(None, "r2")).payload == b"one two three"

    play(story, streams)


def test_a_function_that_does_not_stream_leaves_the_sink_alone() -> None:
    async def answers(program: FakeProgram) -> None:
        while True:
            request, _ = await program.next()
            program.respond(request, b'"whole"')

    async def story(scene: Scene) -> None:
        sink = Sink()
        result = await scene.invoke(sink)
        assert (result.payload, sink.source) == (b'"whole"', None)

    play(story, answers)


def test_an_error_in_the_middle_is_in_the_trailers() -> None:
    async def fails(program: FakeProgram) -> None:
        while True:
            request, _ = await program.next()
            upload = program.stream(request)
            upload.write(b"some")
            upload.end(
                {
                    "lambda-runtime-function-error-type": "Function.Broken",
                    "lambda-runtime-function-error-body": base64.b64encode(b'{"a":"1"}').decode(),
                }
            )

    async def story(scene: Scene) -> None:
        sink = Sink()
        result = await scene.invoke(sink)
        assert sink.pieces == [b"some"]
        assert error_of(result) == {"a": "1"}
        assert error_of(await scene.invoke(None, "r2")) == {"a": "1"}
        assert scene.released == [True, True]

    play(story, fails)


def test_a_timeout_in_the_middle_ends_the_stream_and_resets() -> None:
    async def hangs(program: FakeProgram) -> None:
        request, _ = await program.next()
        program.stream(request).write(b"some")

    async def story(scene: Scene) -> None:
        sink = Sink()
        error = error_of(await scene.invoke(sink))
        assert error["errorType"] == "Sandbox.Timedout"
        assert sink.pieces == [b"some"]
        second = await scene.invoke(None, "r2")
        assert second.payload == b"one two three"  # nothing of the first one's
        assert scene.released == [True, True]

    play(story, hangs, streams)


def test_a_runtime_that_dies_in_the_middle_is_told_apart_from_one_that_truncates() -> None:
    async def dies(program: FakeProgram) -> None:
        request, _ = await program.next()
        upload = program.stream(request)
        upload.write(b"some")
        upload.breaks()
        await asyncio.sleep(0.2)
        program.exit(Exit(ExitKind.EXITED, 3))

    async def truncates(program: FakeProgram) -> None:
        request, _ = await program.next()
        upload = program.stream(request)
        upload.write(b"some")
        upload.breaks()
        await program.next()

    async def story(scene: Scene) -> None:
        error = error_of(await scene.invoke(Sink()))
        assert error["errorType"] == "Runtime.ExitError"
        assert error["errorMessage"].endswith("Runtime exited with error: exit status 3")
        error = error_of(await scene.invoke(Sink(), "r2"))
        assert error["errorType"] == "Runtime.TruncatedResponse"
        await asyncio.sleep(0.1)  # the caller does not wait for the reset
        assert scene.released == [True, True]
        assert scene.environment.lifecycle.state is lifecycle.State.RESET

    play(story, dies, truncates)


@pytest.mark.parametrize(
    ("sink", "bytes_max"),
    [(None, limits.PAYLOAD_BYTES_MAX), (Sink(), limits.STREAM_BYTES_MAX)],
    ids=["collected", "streamed"],
)
def test_what_is_too_much_ends_the_invoke(sink: Sink | None, bytes_max: int) -> None:
    async def floods(program: FakeProgram) -> None:
        request, _ = await program.next()
        upload = program.stream(request)
        piece = bytes(MIB)
        for _ in range(bytes_max // MIB + 2):
            upload.write(piece)

    async def story(scene: Scene) -> None:
        error = error_of(await scene.invoke(sink))
        assert error["errorType"] == "Function.ResponseSizeTooLarge"
        assert f"({bytes_max} bytes)" in error["errorMessage"]
        await asyncio.sleep(0.1)  # the caller does not wait for the reset
        assert scene.released == [True]
        if sink is not None:
            assert sink.taken == bytes_max

    play(story, floods)


def test_a_stopped_environment_answers_the_caller_of_a_stream() -> None:
    async def hangs(program: FakeProgram) -> None:
        request, _ = await program.next()
        program.stream(request).write(b"some")

    async def story(scene: Scene) -> None:
        running = asyncio.create_task(scene.invoke(Sink()))
        await asyncio.sleep(0.1)
        await scene.environment.stop()
        with pytest.raises(InternalFailure):
            await running
        assert scene.released == [False]

    play(story, hangs)


def test_the_log_tail_comes_with_the_end_of_the_stream() -> None:
    async def talks(program: FakeProgram) -> None:
        request, _ = await program.next()
        upload = program.stream(request)
        upload.write(b"some")
        program.say(b"hello")
        upload.end()
        await program.next()

    async def story(scene: Scene) -> None:
        result = await scene.invoke(Sink(), tail=True)
        assert result.log_tail is not None
        assert b"hello\nEND RequestId: r1\nREPORT" in result.log_tail

    play(story, talks)


def test_a_sink_holds_the_runtime_back() -> None:
    paused: list[bool] = []

    async def waits(program: FakeProgram) -> None:
        request, _ = await program.next()
        upload = program.stream(request)
        for _ in range(2):
            await asyncio.sleep(0.5)
            paused.append(upload.paused)
        upload.end()
        await program.next()

    async def story(scene: Scene) -> None:
        sink = Sink()
        running = asyncio.create_task(scene.invoke(sink))
        await asyncio.sleep(0.1)
        assert sink.source is not None
        sink.source.pause()
        await asyncio.sleep(0.5)
        sink.source.resume()
        await running
        assert paused == [True, False]

    play(story, waits)


def test_a_wrong_mode_is_refused_and_a_right_one_may_follow() -> None:
    async def errs(program: FakeProgram) -> None:
        request, _ = await program.next()
        assert program.stream(request, mode="faster").statuses == [400]
        assert program.stream("another").statuses == [400]
        upload = program.stream(request)
        assert program.stream(request).statuses == [403]
        upload.write(b"fine")
        upload.end()
        await program.next()

    async def story(scene: Scene) -> None:
        sink = Sink()
        result = await scene.invoke(sink)
        assert (sink.pieces, result.function_error) == ([b"fine"], None)

    play(story, errs)
