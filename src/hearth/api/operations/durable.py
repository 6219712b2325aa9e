"""The operations about durable executions, but for what lists them: see durable_lists.py.

Source: https://docs.aws.amazon.com/lambda/latest/api/API_CheckpointDurableExecution.html and its
neighbours. What a caller may do to an execution is what it may do to its function's version.
"""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from hearth.api.operation import Operation, OperationRequest, OperationResponse
from hearth.api.operations.addresses import check_reachable
from hearth.durable import rules
from hearth.durable.case import Case
from hearth.durable.execution import Execution, Type
from hearth.durable.facts import Error, Fact
from hearth.durable.shown import (
    PAGE_ITEMS_DEFAULT,
    error_members,
    error_of,
    moment,
    state_page,
)
from hearth.durable.tokens import callback_place, checkpoint_token, read_marker
from hearth.durable.updates import Update
from hearth.model.durable import ExecutionArn, ExecutionStatus
from hearth.model.errors import InvalidParameterValue, ResourceNotFound

T = TypeVar("T")
Members = Mapping[str, Any]


class Executions(Protocol):
    """The durable room's Executions."""

    async def find(self, arn: ExecutionArn) -> Case: ...

    async def find_id(self, id_: str) -> Case | None: ...

    async def change(
        self,
        case: Case,
        decide: Callable[[Execution], Sequence[Fact]],
        show: Callable[[Execution], T],
    ) -> T: ...


Delete = Callable[[Case], Awaitable[int]]
"""Begin to delete an execution that is over; when that was. Raises ResourceConflict."""


def operations(handlers: "Handlers") -> tuple[Operation, ...]:
    return (
        Operation("lambda", "CheckpointDurableExecution", handlers.checkpoint),
        Operation("lambda", "GetDurableExecutionState", handlers.state),
        Operation("lambda", "GetDurableExecution", handlers.get),
        Operation("lambda", "StopDurableExecution", handlers.stop),
        Operation("lambda", "PauseDurableExecution", handlers.pause),
        Operation("lambda", "ResumeDurableExecution", handlers.resume),
        Operation("lambda", "DeleteDurableExecution", handlers.delete),
        Operation("lambda", "SendDurableExecutionCallbackSuccess", handlers.callback_success),
        Operation("lambda", "SendDurableExecutionCallbackFailure", handlers.callback_failure),
        Operation("lambda", "SendDurableExecutionCallbackHeartbeat", handlers.callback_heartbeat),
    )


class Handlers:
    def __init__(self, executions: Executions, delete: Delete, now_ms: Callable[[], int]) -> None:
        self._executions = executions
        self._delete = delete
        self._now_ms = now_ms

    # --- for the function itself

    async def checkpoint(self, request: OperationRequest) -> OperationResponse:
        case = await self._of_token(request, "CheckpointDurableExecution")
        members = request.members
        token, client_token = members["CheckpointToken"], members.get("ClientToken")
        updates = [_update(given) for given in members.get("Updates") or ()]
        digest = _digest(members)
        outcome: rules.Checkpointed | None = None

        def decide(execution: Execution) -> list[Fact]:
            nonlocal outcome
            outcome = rules.checkpoint(
                execution, token, updates, client_token, digest, self._now_ms()
            )
            return outcome.facts

        def show(execution: Execution) -> dict[str, Any]:
            assert outcome is not None
            page = state_page(execution, since=outcome.since)
            state: dict[str, Any] = {"Operations": page.operations}
            if page.next_marker is not None:
                state["NextMarker"] = page.next_marker
            answer: dict[str, Any] = {"NewExecutionState": state}
            if not outcome.is_last:
                origin = execution.origin
                answer["CheckpointToken"] = checkpoint_token(origin.secret, origin.id, outcome.turn)
            return answer

        return OperationResponse(members=await self._executions.change(case, decide, show))

    async def state(self, request: OperationRequest) -> OperationResponse:
        case = await self._of_token(request, "GetDurableExecutionState")
        members = request.members
        at = read_marker(members["Marker"]) if members.get("Marker") else None
        if at is None and members.get("Marker"):
            raise InvalidParameterValue("Invalid Marker.")

        def show(execution: Execution) -> dict[str, Any]:
            rules.check_token(execution, members["CheckpointToken"])
            page = state_page(
                execution,
                since=0 if at is None else at.since,
                after=0 if at is None else at.after,
                items_max=members.get("MaxItems") or PAGE_ITEMS_DEFAULT,
            )
            shown: dict[str, Any] = {"Operations": page.operations}
            if page.next_marker is not None:
                shown["NextMarker"] = page.next_marker
            return shown

        return OperationResponse(members=await self._executions.change(case, _nothing, show))

    async def _of_token(self, request: OperationRequest, action: str) -> Case:
        """With what time has done by now."""
        try:
            case = await self.addressed(request, action)
        except ResourceNotFound as error:
            raise InvalidParameterValue(rules.NOT_ITS_TURN) from error
        await self._executions.change(case, self._tick, lambda _e: None)
        return case

    def _tick(self, execution: Execution) -> list[Fact]:
        return rules.tick(execution, self._now_ms())

    # --- for people

    async def get(self, request: OperationRequest) -> OperationResponse:
        case = await self.addressed(request, "GetDurableExecution")
        with_data = request.members.get("IncludeExecutionData", True)
        is_deleting = case.record.status is ExecutionStatus.DELETING
        shown = await self._executions.change(
            case, _nothing, lambda e: _shown(e, case, with_data=with_data)
        )
        if is_deleting:
            shown["Status"] = str(ExecutionStatus.DELETING)
        return OperationResponse(members=shown)

    async def stop(self, request: OperationRequest) -> OperationResponse:
        case = await self.addressed(request, "StopDurableExecution")
        error = _some_error(request.members.get("Error"))
        ended_ms = await self._executions.change(
            case, lambda e: rules.stop(e, error, self._now_ms()), lambda e: e.ended_ms
        )
        assert ended_ms is not None
        return OperationResponse(members={"StopTimestamp": moment(ended_ms)})

    async def pause(self, request: OperationRequest) -> OperationResponse:
        case = await self.addressed(request, "PauseDurableExecution")
        members = request.members
        reason, stops_time = members.get("Reason"), members.get("ExecutionTimeoutPaused", True)
        token = members.get("ClientToken")
        await self._executions.change(
            case,
            lambda e: rules.pause(e, reason, stops_time, token, self._now_ms()),
            lambda _e: None,
        )
        return OperationResponse()

    async def resume(self, request: OperationRequest) -> OperationResponse:
        case = await self.addressed(request, "ResumeDurableExecution")
        reason, token = request.members.get("Reason"), request.members.get("ClientToken")
        await self._executions.change(
            case, lambda e: rules.resume(e, reason, token, self._now_ms()), lambda _e: None
        )
        return OperationResponse()

    async def delete(self, request: OperationRequest) -> OperationResponse:
        case = await self.addressed(request, "DeleteDurableExecution")
        requested_ms = await self._delete(case)
        return OperationResponse(members={"DeletionRequestTimestamp": moment(requested_ms)})

    async def addressed(self, request: OperationRequest, action: str) -> Case:
        """Raises ResourceNotFound, AccessDenied."""
        text = request.members["DurableExecutionArn"]
        arn = ExecutionArn.parse(text)
        if arn is None:
            raise ResourceNotFound(f"Durable execution not found: {text}")
        check_reachable(request, arn.function, arn.version, action)
        return await self._executions.find(arn)

    # --- callbacks

    async def callback_success(self, request: OperationRequest) -> OperationResponse:
        try:
            result = bytes(request.members.get("Result", b"")).decode()
        except UnicodeDecodeError as error:
            raise InvalidParameterValue("The result of a callback must be UTF-8.") from error
        return await self._called_back(
            request,
            "SendDurableExecutionCallbackSuccess",
            lambda e, operation, callback: rules.callback_success(
                e, operation, callback, result, self._now_ms()
            ),
        )

    async def callback_failure(self, request: OperationRequest) -> OperationResponse:
        error = error_of(request.members.get("Error")) or Error()
        return await self._called_back(
            request,
            "SendDurableExecutionCallbackFailure",
            lambda e, operation, callback: rules.callback_failure(
                e, operation, callback, error, self._now_ms()
            ),
        )

    async def callback_heartbeat(self, request: OperationRequest) -> OperationResponse:
        return await self._called_back(
            request,
            "SendDurableExecutionCallbackHeartbeat",
            lambda e, operation, callback: rules.callback_heartbeat(
                e, operation, callback, self._now_ms()
            ),
        )

    async def _called_back(
        self,
        request: OperationRequest,
        action: str,
        decide: Callable[[Execution, str, str], list[Fact]],
    ) -> OperationResponse:
        callback = request.members["CallbackId"]
        place = callback_place(callback)
        if place is None:
            raise InvalidParameterValue("Invalid callback token")
        case = await self._executions.find_id(place.execution)
        if case is None:
            raise ResourceNotFound("The callback does not exist.")
        check_reachable(request, case.record.key, case.record.version, action)
        await self._executions.change(case, self._tick, lambda _e: None)
        await self._executions.change(
            case, lambda e: decide(e, place.operation, callback), lambda _e: None
        )
        return OperationResponse()


def _nothing(_execution: Execution) -> Sequence[Fact]:
    return ()


def _some_error(members: Members | None) -> Error | None:
    return error_of(members) if members else None


def _digest(members: Members) -> str:
    asked = {name: value for name, value in members.items() if name != "ClientToken"}
    return hashlib.sha256(msgspec.json.encode(asked, order="deterministic")).hexdigest()


def _update(given: Members) -> Update:
    step, wait = given.get("StepOptions") or {}, given.get("WaitOptions") or {}
    callback = given.get("CallbackOptions") or {}
    chained = given.get("ChainedInvokeOptions") or {}
    return Update(
        id=given["Id"],
        type=Type(given["Type"]),
        action=given["Action"],
        parent=given.get("ParentId"),
        name=given.get("Name"),
        sub_type=given.get("SubType"),
        payload=given.get("Payload"),
        error=error_of(given.get("Error")),
        replay_children=bool((given.get("ContextOptions") or {}).get("ReplayChildren")),
        retry_s=step.get("NextAttemptDelaySeconds"),
        wait_s=wait.get("WaitSeconds"),
        timeout_s=callback.get("TimeoutSeconds"),
        heartbeat_s=callback.get("HeartbeatTimeoutSeconds"),
        function=chained.get("FunctionName"),
        tenant=chained.get("TenantId"),
        trace_id=chained.get("XAmznTraceId"),
    )


def _shown(execution: Execution, case: Case, *, with_data: bool) -> dict[str, Any]:
    record, origin = case.record, execution.origin
    members: dict[str, Any] = {
        "DurableExecutionArn": origin.arn,
        "DurableExecutionName": record.name,
        "FunctionArn": record.key.arn(record.version),
        "StartTimestamp": moment(execution.started_ms),
        "Status": str(execution.status),
        "Version": record.version,
        "ExecutionDataIncluded": with_data,
        "DurableConfig": {
            "RetentionPeriodInDays": origin.config.retention_days,
            "ExecutionTimeout": origin.config.timeout_s,
        },
    }
    if origin.trace_id is not None:
        members["TraceHeader"] = {"XAmznTraceId": origin.trace_id}
    if execution.ended_ms is not None:
        members["EndTimestamp"] = moment(execution.ended_ms)
    else:
        members["ExpectedExecutionTimeoutTimestamp"] = moment(execution.ends_ms)
    if (pause := execution.pause) is not None:
        members["PauseDetails"] = {
            "PauseRequestTimestamp": moment(pause.at_ms),
            "ExecutionTimeoutPaused": pause.stops_time,
            **({"Reason": pause.reason} if with_data and pause.reason is not None else {}),
        }
    if with_data:
        members["InputPayload"] = execution.input
        if execution.result is not None:
            members["Result"] = execution.result
        if execution.error is not None:
            members["Error"] = error_members(execution.error)
    return members
