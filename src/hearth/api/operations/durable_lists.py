"""GetDurableExecutionHistory and ListDurableExecutionsByFunction: page by page.

Source: https://docs.aws.amazon.com/lambda/latest/api/API_ListDurableExecutionsByFunction.html
"""

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from hearth.api.operation import Operation, OperationRequest, OperationResponse
from hearth.api.operations.addresses import addressed
from hearth.api.operations.durable import Handlers
from hearth.durable.case import Case
from hearth.durable.execution import Execution
from hearth.durable.shown import PAGE_ITEMS_DEFAULT, events_page, moment
from hearth.durable.store import Record
from hearth.model.durable import ExecutionStatus
from hearth.model.errors import InvalidParameterValue
from hearth.model.functions import FunctionVersion
from hearth.model.ids import FunctionKey


class Functions(Protocol):
    async def get(self, key: FunctionKey, qualifier: str | None = None) -> FunctionVersion:
        """Raises ResourceNotFound."""
        ...


class Lists(Protocol):
    """The durable room's Executions."""

    async def records(self) -> Iterable[Record]: ...

    async def status(self, record: Record) -> ExecutionStatus:
        """As it is now; a record knows only whether an execution is over."""
        ...

    async def shown(self, case: Case, show: Callable[[Execution], Any]) -> Any: ...


def operations(
    functions: Functions, executions: Lists, handlers: Handlers
) -> tuple[Operation, ...]:
    lists = _Handlers(functions, executions, handlers)
    return (
        Operation("lambda", "GetDurableExecutionHistory", lists.history),
        Operation("lambda", "ListDurableExecutionsByFunction", lists.list_page),
    )


class _Handlers:
    def __init__(self, functions: Functions, executions: Lists, handlers: Handlers) -> None:
        self._functions = functions
        self._executions = executions
        self._handlers = handlers

    async def history(self, request: OperationRequest) -> OperationResponse:
        case = await self._handlers.addressed(request, "GetDurableExecutionHistory")
        members = request.members
        after = _read_marker(members.get("Marker"))
        events, last = await self._executions.shown(
            case,
            lambda execution: events_page(
                execution,
                after=after[0] if after else 0,
                items_max=members.get("MaxItems") or PAGE_ITEMS_DEFAULT,
                newest_first=bool(members.get("ReverseOrder")),
                with_data=members.get("IncludeExecutionData", True),
            ),
        )
        answer: dict[str, Any] = {"Events": events}
        if last is not None:
            answer["NextMarker"] = _marker((last, ""))
        return OperationResponse(members=answer)

    async def list_page(self, request: OperationRequest) -> OperationResponse:
        members = request.members
        key, qualifier = addressed(request, "ListDurableExecutionsByFunction")
        function = await self._functions.get(key, qualifier)
        oldest_first = bool(members.get("ReverseOrder"))
        found = [
            record
            for record in await self._executions.records()
            if record.key == key
            and record.instance == function.instance_id
            and (qualifier is None or record.version == function.version)
            and _matches(record, members)
        ]
        found.sort(key=_place, reverse=not oldest_first)
        after = _read_marker(members.get("Marker"))
        items_max = members.get("MaxItems") or PAGE_ITEMS_DEFAULT
        statuses = set(members.get("Statuses") or ())
        shown: list[dict[str, Any]] = []
        last = (0, "")
        for record in found:
            place = _place(record)
            if after and ((place <= after) if oldest_first else (place >= after)):
                continue
            status = await self._executions.status(record)
            if statuses and str(status) not in statuses:
                continue
            if len(shown) == items_max:
                return _page(shown, last)
            shown.append(_summary(record, status))
            last = place
        return _page(shown, None)


def _matches(record: Record, members: Mapping[str, Any]) -> bool:
    name, after = members.get("DurableExecutionName"), members.get("StartedAfter")
    before, started = members.get("StartedBefore"), moment(record.started_ms)
    return (
        (name is None or record.name == name)
        and (after is None or started > after)
        and (before is None or started < before)
    )


def _place(record: Record) -> tuple[int, str]:
    return record.started_ms, record.id


def _summary(record: Record, status: ExecutionStatus) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "DurableExecutionArn": str(record.arn),
        "DurableExecutionName": record.name,
        "FunctionArn": record.key.arn(record.version),
        "Status": str(status),
        "StartTimestamp": moment(record.started_ms),
    }
    if record.ended_ms is not None:
        shown["EndTimestamp"] = moment(record.ended_ms)
    return shown


def _page(shown: list[dict[str, Any]], last: tuple[int, str] | None) -> OperationResponse:
    answer: dict[str, Any] = {"DurableExecutions": shown}
    if last is not None:
        answer["NextMarker"] = _marker(last)
    return OperationResponse(members=answer)


def _marker(place: tuple[int, str]) -> str:
    return base64.b64encode(f"{place[0]}.{place[1]}".encode()).decode()


def _read_marker(text: str | None) -> tuple[int, str] | None:
    """Raises InvalidParameterValue."""
    if not text:
        return None
    try:
        number, _, id_ = base64.b64decode(text, validate=True).decode("ascii").partition(".")
        return int(number), id_
    except (binascii.Error, ValueError) as error:
        raise InvalidParameterValue("Invalid Marker.") from error
