"""What one invoke holds is given back whatever happens; the rest is in tests/simulation."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from fakes.invokes import CALLER, FunctionTable, function_version, invoke_call
from fakes.virtual_time import VirtualClock, run_in_virtual_time
from hearth.counting.counter import Counter
from hearth.frontend.invoke import Invoker
from hearth.frontend.lineage import with_run
from hearth.frontend.turns import TURN_WAIT_S_MAX, Turns
from hearth.model.errors import InternalFailure, ResourceNotFound, TooManyRequests
from hearth.model.functions import FunctionVersion
from hearth.model.ids import LATEST, SandboxId, WorkerId
from hearth.model.invocations import Invocation, InvokeResult

F = function_version()
S1, W = SandboxId("s1"), WorkerId("w")


@dataclass
class FakeSlot:
    sandbox: SandboxId = S1
    worker: WorkerId = W
    invokes: int = 1
    start_s: float = 0.25


@dataclass
class FakeSandboxes:
    """Records what it is told."""

    told: list[str] = field(default_factory=list)
    slot: FakeSlot | None = field(default_factory=FakeSlot)

    def take(self, function: FunctionVersion, *, provisioned: bool = False) -> FakeSlot | None:
        return self.slot

    async def wait(self, function: FunctionVersion) -> FakeSlot:
        await asyncio.sleep(1.0)
        return FakeSlot()

    def responded(self, sandbox: SandboxId) -> None:
        self.told.append("responded")

    def released(self, sandbox: SandboxId, sandbox_is_good: bool) -> None:
        self.told.append("good" if sandbox_is_good else "bad")


@dataclass
class FakeWorker:
    """Takes a second; the test says when the sandbox is released."""

    releases_first: bool = False
    error: Exception | None = None
    ran: list[Invocation] = field(default_factory=list)
    released: Callable[[bool], None] = lambda _good: None

    async def run(
        self, sandbox: SandboxId, invocation: Invocation, released: Callable[[bool], None]
    ) -> InvokeResult:
        self.ran.append(invocation)
        self.released = released
        await asyncio.sleep(1.0)
        if self.releases_first:
            released(True)
        if self.error is not None:
            raise self.error
        return InvokeResult(payload=b"{}", executed_version="$LATEST")


@dataclass
class Scene:
    worker: FakeWorker = field(default_factory=FakeWorker)
    sandboxes: FakeSandboxes = field(default_factory=FakeSandboxes)
    counter: Counter = field(default_factory=lambda: Counter(1))

    def __post_init__(self) -> None:
        self.functions = FunctionTable(F)
        self.workers = {W: self.worker}
        self.invoker = Invoker(
            self.functions,
            self.counter,
            self.sandboxes,
            self.workers,
            VirtualClock(),
            lambda: "made here",
        )


def test_the_invocation_carries_what_the_caller_sent() -> None:
    scene = Scene()
    call = invoke_call(
        "f:$LATEST", payload=b"[1]", client_context='{"a": 1}', log_tail=True, trace_id="given"
    )
    run_in_virtual_time(scene.invoker.invoke(call))
    assert scene.worker.ran == [
        Invocation(
            request=call.request,
            function=F,
            invoked_arn=F.key.arn("$LATEST"),
            payload=b"[1]",
            client_context='{"a": 1}',
            trace_id=with_run("given", F.key),
            log_tail=True,
        )
    ]


def test_an_invoke_without_a_trace_id_gets_one() -> None:
    scene = Scene()
    run_in_virtual_time(scene.invoker.invoke(invoke_call()))
    assert scene.worker.ran[0].trace_id == with_run("made here", F.key)


def test_lease_and_sandbox_are_finishing_until_the_worker_releases_them() -> None:
    scene = Scene()
    run_in_virtual_time(scene.invoker.invoke(invoke_call()))
    assert scene.sandboxes.told == ["responded"]
    assert scene.counter.usage(CALLER.account, CALLER.region).finishing == 1
    scene.worker.released(True)
    assert scene.sandboxes.told == ["responded", "good"]
    assert scene.counter.in_use == 0


def test_a_sandbox_released_before_its_answer_is_returned_is_not_finishing() -> None:
    scene = Scene(worker=FakeWorker(releases_first=True))
    run_in_virtual_time(scene.invoker.invoke(invoke_call()))
    assert scene.sandboxes.told == ["good"]
    assert scene.counter.in_use == 0


def test_an_invoke_that_fails_holds_on_until_the_worker_lets_go() -> None:
    scene = Scene(worker=FakeWorker(error=InternalFailure("broken")))
    with pytest.raises(InternalFailure):
        run_in_virtual_time(scene.invoker.invoke(invoke_call()))
    assert scene.counter.in_use == 1
    scene.worker.released(False)
    assert scene.sandboxes.told == ["responded", "bad"]
    assert scene.counter.in_use == 0


def test_releasing_twice_is_a_bug_and_gives_nothing_back_twice() -> None:
    scene = Scene()
    run_in_virtual_time(scene.invoker.invoke(invoke_call()))
    scene.worker.released(True)
    with pytest.raises(AssertionError):
        scene.worker.released(True)
    assert scene.sandboxes.told == ["responded", "good"]


def test_without_a_worker_for_the_sandbox_nothing_stays_held() -> None:
    scene = Scene()
    scene.workers.clear()
    with pytest.raises(KeyError):
        run_in_virtual_time(scene.invoker.invoke(invoke_call()))
    assert scene.sandboxes.told == ["bad"]
    assert scene.counter.in_use == 0


def test_cancelled_while_it_waits_for_a_sandbox_nothing_stays_held() -> None:
    scene = Scene(sandboxes=FakeSandboxes(slot=None))

    async def scenario() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await scene.invoker.invoke(invoke_call())

    run_in_virtual_time(scenario())
    assert scene.counter.in_use == 0
    assert scene.sandboxes.told == []


def test_a_function_that_is_gone_after_the_wait_for_a_lease_is_not_found() -> None:
    scene = Scene()

    async def scenario() -> None:
        await scene.invoker.invoke(invoke_call())
        second = asyncio.create_task(scene.invoker.invoke(invoke_call()))
        await asyncio.sleep(0.0)
        scene.functions.clear()
        scene.worker.released(True)
        with pytest.raises(ResourceNotFound):
            await second

    run_in_virtual_time(scenario())
    assert scene.counter.in_use == 0


def test_the_phases_are_timed() -> None:
    scene = Scene(sandboxes=FakeSandboxes(slot=None))
    phases = run_in_virtual_time(scene.invoker.invoke(invoke_call())).phases
    assert (phases.resolve_s, phases.lease_s, phases.wait_s) == (0.0, 0.0, 1.0)
    assert (phases.start_s, phases.run_s) == (0.25, 1.0)


def test_a_reused_sandbox_has_no_start_phase() -> None:
    scene = Scene(sandboxes=FakeSandboxes(slot=FakeSlot(invokes=2)))
    assert run_in_virtual_time(scene.invoker.invoke(invoke_call())).phases.start_s is None


def test_a_turn_that_does_not_come_ends_in_a_throttle() -> None:
    async def scenario() -> None:
        turns, counter = Turns(VirtualClock().monotonic_s), Counter(1)
        counter.acquire(F.key, LATEST, 0.0).finish(0.0)
        waiting = counter.acquire(F.key, LATEST, 0.0)
        with pytest.raises(TooManyRequests):
            await turns.wait(waiting)
        assert asyncio.get_running_loop().time() == pytest.approx(TURN_WAIT_S_MAX)

    run_in_virtual_time(scenario())


@pytest.mark.parametrize("cancel_first", [True, False])
def test_a_turn_that_comes_as_its_owner_leaves_goes_to_the_next(cancel_first: bool) -> None:
    async def scenario() -> None:
        turns, counter = Turns(VirtualClock().monotonic_s), Counter(2)
        first, other = counter.acquire(F.key, LATEST, 0.0), counter.acquire(F.key, LATEST, 0.0)
        first.finish(0.0)
        other.finish(0.0)
        leaving, staying = counter.acquire(F.key, LATEST, 0.0), counter.acquire(F.key, LATEST, 0.0)
        leaver = asyncio.create_task(turns.wait(leaving))
        stayer = asyncio.create_task(turns.wait(staying))
        await asyncio.sleep(0.0)
        if cancel_first:
            leaver.cancel()
        turns.give_back(first)
        leaver.cancel()
        await asyncio.wait([leaver, stayer])
        assert leaver.cancelled()
        assert stayer.exception() is None
        assert (staying.is_held, counter.in_use) == (True, 2)

    run_in_virtual_time(scenario())


def test_whoever_is_cancelled_while_it_waits_is_passed_over() -> None:
    async def scenario() -> None:
        turns, counter = Turns(VirtualClock().monotonic_s), Counter(1)
        first = counter.acquire(F.key, LATEST, 0.0)
        first.finish(0.0)
        waiter = asyncio.create_task(turns.wait(counter.acquire(F.key, LATEST, 0.0)))
        await asyncio.sleep(0.01)
        waiter.cancel()
        await asyncio.wait([waiter])
        turns.give_back(first)
        assert counter.in_use == 0

    run_in_virtual_time(scenario())
