"""Durable executions in virtual time: the room on an engine in memory, a client that replays as
AWS's SDKs do, and faults that a seed draws. What a function does is a program:

    ("step",)        runs once its turn comes, and says so in `effects`
    ("retry", n)     fails n times first, a second apart
    ("wait", s)
    ("callback", s)  answered from outside after s seconds
    ("both", s, t)   a wait of s and a callback after t: whichever ends first must wake it
    ("chain",)       another function
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

from fakes.invokes import function_version, invoke_call
from fakes.virtual_time import VirtualClock
from hearth.base.jobs import Jobs
from hearth.durable import rules
from hearth.durable.case import Case
from hearth.durable.execution import Execution, Type
from hearth.durable.executions import Executions
from hearth.durable.facts import Error
from hearth.durable.shown import operation_members
from hearth.durable.start import Starter
from hearth.durable.tokens import callback_place, checkpoint_token
from hearth.durable.updates import Update
from hearth.durable.upkeep import Upkeep
from hearth.engine.memory import MemoryEngine, Outage
from hearth.model.durable import DurableConfig, ExecutionArn
from hearth.model.errors import (
    CallbackTimeout,
    EngineUnwell,
    InvalidParameterValue,
    TooManyRequests,
)
from hearth.model.functions import FunctionVersion
from hearth.model.invocations import InvokeCall, InvokeResult

Instruction = tuple[Any, ...]
_numbers = count(1)


def durable_function(**changes: Any) -> FunctionVersion:
    config = DurableConfig(**({"timeout_s": 86_400, "retention_days": 1} | changes))
    return function_version("f", durable=config)


def naive(program: Sequence[Instruction]) -> list[Any]:
    """What the program comes to, by itself, where nothing ever fails."""
    results = {"step": "done", "retry": "done", "wait": None, "callback": "called"}
    results |= {"chain": "chained", "both": "called"}
    return [results[instruction[0]] for instruction in program]


class Suspended(Exception):
    """The function has nothing to do until it is woken."""


class Crashed(Exception):
    """The function's process is gone."""


class DurableWorld:
    def __init__(self, program: Sequence[Instruction] = (), seed: int = 0, faults: int = 0) -> None:
        self.program = program
        self.function = durable_function()
        self.clock = VirtualClock()
        self.engine = MemoryEngine(self.clock)
        self.effects: Counter[str] = Counter()
        self.acknowledged: set[str] = set()
        self.repeated: list[str] = []
        self.running = 0
        self.most_running = 0
        self.invocations = 0
        self.throttles = 0
        self.chance = random.Random(seed)
        self.faults = faults
        self.died = asyncio.Event()
        self._callbacks: dict[str, float] = {}
        """When they are due to be answered, by id."""
        self._asked = asyncio.Event()

    @asynccontextmanager
    async def living(self) -> AsyncIterator["Life"]:
        """One process of Hearth. Leaving it is a kill -9."""
        self.died = asyncio.Event()
        async with Jobs() as jobs:
            life = Life(self, jobs)
            jobs.spawn(life.upkeep.run(), name="upkeep")
            jobs.spawn(self._answer_callbacks(life), name="outside")
            yield life
        self.running = 0
        self.engine.outage = Outage.NONE

    async def result(self, name: str = "order", payload: bytes = b"{}") -> InvokeResult:
        """Invoke by name until an answer comes through, over as many lives as that takes."""
        while True:
            async with self.living() as life:
                answer: InvokeResult | None = await life.until_dead(life.invoke(name, payload))
            if answer is not None:
                return answer

    def fault(self) -> bool:
        """Whether something goes wrong now."""
        if self.faults == 0 or self.chance.random() > 0.2:
            return False
        self.faults -= 1
        return True

    async def _answer_callbacks(self, life: "Life") -> None:
        while True:
            self._asked.clear()
            await _either(self._asked, min(self._callbacks.values(), default=None), self.clock)
            now_s = self.clock.epoch_ms() / 1000
            for callback, due_s in list(self._callbacks.items()):
                if due_s <= now_s:
                    if await life.called_back(callback):
                        del self._callbacks[callback]
                    else:
                        await asyncio.sleep(1)

    def answer_later(self, callback: str, after_s: float) -> None:
        self._callbacks.setdefault(callback, self.clock.epoch_ms() / 1000 + after_s)
        self._asked.set()


async def _either(event: asyncio.Event, due_s: float | None, clock: VirtualClock) -> None:
    try:
        async with asyncio.timeout(None if due_s is None else due_s - clock.epoch_ms() / 1000):
            await event.wait()
    except TimeoutError:
        return


class Life:
    def __init__(self, world: DurableWorld, jobs: Jobs) -> None:
        self.world = world
        new_id = lambda: f"id-{next(_numbers)}"  # noqa: E731
        self.executions = Executions(self, world.clock, jobs, new_id, new_id)
        self.upkeep = Upkeep(world.engine, self.executions, world.clock, jobs)
        self.starter = Starter(self.executions)
        self._jobs = jobs

    async def until_dead(self, work: Any) -> Any:
        """What it comes to, or None if this process died first."""
        task = self._jobs.spawn(work, name="asked")
        dying = self._jobs.spawn(self.world.died.wait(), name="dying")
        await asyncio.wait([task, dying], return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None

    async def attach(self, name: str = "order", payload: bytes = b"{}") -> Case:
        call = invoke_call("f:$LATEST", payload=payload, execution_name=name)
        return await self.executions.attach(call, self.world.function, is_async=False)

    async def invoke_named(self, name: str, payload: bytes) -> InvokeResult:
        call = invoke_call("f:$LATEST", payload=payload, execution_name=name, is_chained=True)
        return await self.starter.invoke(call, self.world.function)

    async def state(self, case: Case) -> Execution:
        return await self.executions.shown(case, lambda execution: execution)

    async def called_back(self, callback: str) -> bool:
        """Whether that is settled."""
        place = callback_place(callback)
        assert place is not None
        case = await self.executions.find_id(place.execution)
        if case is None:
            return True
        try:
            await self.executions.change(
                case,
                lambda e: rules.callback_success(
                    e, place.operation, callback, '"called"', self.world.clock.epoch_ms()
                ),
                lambda _e: None,
            )
        except CallbackTimeout:
            return True  # an answer that was lost had been taken
        except EngineUnwell:
            return False
        return True

    # --- the front end

    async def invoke(self, call: Any, payload: bytes = b"") -> InvokeResult:
        """What Executions calls; and, with a name, what a caller does."""
        if isinstance(call, str):
            while True:
                try:
                    return await self.invoke_named(call, payload)
                except EngineUnwell:
                    await asyncio.sleep(1)
        return await self._run(call)

    async def _run(self, call: InvokeCall) -> InvokeResult:
        world = self.world
        if call.is_chained:
            return InvokeResult(payload=b'"chained"', executed_version="$LATEST")
        if world.throttles:
            world.throttles -= 1
            raise TooManyRequests("ConcurrentInvocationLimitExceeded")
        assert call.is_replay
        world.invocations += 1
        world.running += 1
        world.most_running = max(world.most_running, world.running)
        try:
            answer = await Client(self, call.payload).run(world.program)
        except Crashed:
            return InvokeResult(
                payload=b'{"errorMessage": "gone"}',
                executed_version="$LATEST",
                function_error="Unhandled",
            )
        finally:
            world.running -= 1
        return InvokeResult(payload=json.dumps(answer).encode(), executed_version="$LATEST")


class Client:
    """One invocation."""

    def __init__(self, life: Life, payload: bytes) -> None:
        event = json.loads(payload)
        self._life = life
        self._world = life.world
        self._arn = ExecutionArn.parse(event["DurableExecutionArn"])
        self._token: str | None = event["CheckpointToken"]
        state = event["InitialExecutionState"]
        assert state["NextMarker"] == ""
        self._operations = {op["Id"]: op for op in state["Operations"]}

    async def run(self, program: Sequence[Instruction]) -> dict[str, Any]:
        try:
            results = [
                await getattr(self, f"_{kind}")(f"op-{number}", *given)
                for number, (kind, *given) in enumerate(program)
            ]
        except Suspended:
            return {"Status": "PENDING"}
        return {"Status": "SUCCEEDED", "Result": json.dumps(results)}

    async def _step(self, id_: str) -> Any:
        return await self._attempts(id_, 0)

    async def _retry(self, id_: str, failures: int) -> Any:
        return await self._attempts(id_, failures)

    async def _attempts(self, id_: str, failures: int) -> Any:
        found = self._operations.get(id_)
        if found is not None and found["Status"] == "SUCCEEDED":
            return json.loads(found["StepDetails"]["Result"])
        if found is not None and found["Status"] == "PENDING":
            raise Suspended
        if found is None or found["Status"] == "READY":
            await self._checkpoint(Update(id=id_, type=Type.STEP, action="START"))
        attempt = self._operations[id_]["StepDetails"]["Attempt"]
        if id_ in self._world.acknowledged:
            self._world.repeated.append(id_)
        if attempt < failures:
            retry = Update(
                id=id_, type=Type.STEP, action="RETRY", retry_s=1, error=Error(message="not yet")
            )
            await self._checkpoint(retry)
            raise Suspended
        self._world.effects[id_] += 1
        done = Update(id=id_, type=Type.STEP, action="SUCCEED", payload='"done"')
        await self._checkpoint(done)
        self._world.acknowledged.add(id_)
        return "done"

    async def _wait(self, id_: str, seconds: float) -> Any:
        if id_ not in self._operations:
            start = Update(id=id_, type=Type.WAIT, action="START", wait_s=int(seconds))
            await self._checkpoint(start)
        if self._operations[id_]["Status"] != "SUCCEEDED":
            raise Suspended

    async def _callback(self, id_: str, after_s: float) -> Any:
        if id_ not in self._operations:
            await self._checkpoint(Update(id=id_, type=Type.CALLBACK, action="START"))
        operation = self._operations[id_]
        if operation["Status"] == "STARTED":
            self._world.answer_later(operation["CallbackDetails"]["CallbackId"], after_s)
            raise Suspended
        return json.loads(operation["CallbackDetails"]["Result"])

    async def _both(self, id_: str, seconds: float, after_s: float) -> Any:
        pending = False
        answer = None
        for part, given in ((self._wait, seconds), (self._callback, after_s)):
            try:
                answer = await part(f"{id_}-{part.__name__}", given) or answer
            except Suspended:
                pending = True
        if pending:
            raise Suspended
        return answer

    async def _chain(self, id_: str) -> Any:
        if id_ not in self._operations:
            start = Update(id=id_, type=Type.CHAINED_INVOKE, action="START", function="other")
            await self._checkpoint(start)
        operation = self._operations[id_]
        if operation["Status"] != "SUCCEEDED":
            raise Suspended
        return json.loads(operation["ChainedInvokeDetails"]["Result"])

    async def _checkpoint(self, *updates: Update) -> None:
        """With the faults that a client sees: its process ends, Hearth ends, or no answer."""
        world, token = self._world, f"client-{next(_numbers)}"
        if world.fault():
            match world.chance.choice(["function", "hearth", "lost", "unreachable"]):
                case "function":
                    raise Crashed
                case "hearth":
                    world.died.set()
                    await asyncio.Event().wait()
                case "lost":
                    self._break(Outage.REPLIES_LOST)
                case "unreachable":
                    self._break(Outage.UNREACHABLE)
        for _ in range(4):
            try:
                await self._send(updates, token)
            except EngineUnwell:
                await asyncio.sleep(0.5)
            except InvalidParameterValue as error:
                raise Crashed from error
            else:
                return
        raise Crashed

    def _break(self, outage: Outage) -> None:
        engine = self._world.engine
        engine.outage = outage

        def mend() -> None:
            engine.outage = Outage.NONE

        asyncio.get_running_loop().call_later(self._world.chance.choice([0.1, 0.7, 5.0]), mend)

    async def _send(self, updates: Sequence[Update], client_token: str) -> None:
        assert self._arn is not None
        assert self._token is not None
        now_ms = self._world.clock.epoch_ms
        case = await self._life.executions.find(self._arn)
        token = self._token
        outcome: rules.Checkpointed | None = None

        def decide(execution: Execution) -> list[Any]:
            nonlocal outcome
            outcome = rules.checkpoint(execution, token, updates, client_token, "d", now_ms())
            return outcome.facts

        def show(execution: Execution) -> list[dict[str, Any]]:
            assert outcome is not None
            origin = execution.origin
            self._token = None
            if not outcome.is_last:
                self._token = checkpoint_token(origin.secret, origin.id, outcome.turn)
            changed = [o for o in execution.operations.values() if o.changed > outcome.since]
            return [operation_members(operation) for operation in changed]

        shown = await self._life.executions.change(case, decide, show)
        self._operations |= {op["Id"]: op for op in shown}
        if self._token is None:
            raise Suspended
