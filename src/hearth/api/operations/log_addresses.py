"""Which log group does a call mean? By name, by ARN, or by an identifier that may be either."""

import base64
import binascii
import re
from bisect import bisect_right
from typing import Final

from hearth.api.operation import OperationRequest
from hearth.model.errors import ServiceError
from hearth.model.ids import AccountId, Region
from hearth.model.logs import LogGroup

_ARN = re.compile(r"arn:[a-z-]+:logs:([a-z0-9-]+):(\d{12}):log-group:([^:*]+)(?::\*)?")
NO_GROUP: Final = "The specified log group does not exist."
NO_STREAM: Final = "The specified log stream does not exist."


class LogsInvalidParameter(ServiceError):
    code = "InvalidParameterException"
    status = 400
    blame = None


class LogsNotFound(ServiceError):
    code = "ResourceNotFoundException"
    status = 400
    blame = None


class LogsAlreadyExists(ServiceError):
    code = "ResourceAlreadyExistsException"
    status = 400
    blame = None


class LogsUnavailable(ServiceError):
    code = "ServiceUnavailableException"
    status = 503
    blame = "Service"


def group_of(request: OperationRequest) -> LogGroup:
    """Raises LogsInvalidParameter, LogsNotFound (another region's or account's)."""
    members = request.members
    name, identifier = members.get("logGroupName"), members.get("logGroupIdentifier")
    if (name is None) is (identifier is None):
        raise LogsInvalidParameter(
            "Exactly one of logGroupName and logGroupIdentifier must be specified."
        )
    return _group(request, name if name is not None else str(identifier))


def groups_of(request: OperationRequest, identifiers: list[str]) -> list[LogGroup]:
    return [_group(request, identifier) for identifier in identifiers]


def tagged_group(request: OperationRequest) -> LogGroup:
    """The group whose ARN is `resourceArn`."""
    if _ARN.fullmatch(request.members["resourceArn"]) is None:
        raise LogsInvalidParameter("The specified resource ARN is not that of a log group.")
    return _group(request, request.members["resourceArn"])


def arn_of(group: LogGroup) -> str:
    """Without the `:*` that some answers have."""
    return f"arn:aws:logs:{group.region}:{group.account}:log-group:{group.name}"


def _group(request: OperationRequest, text: str) -> LogGroup:
    caller = request.caller
    if not text.startswith("arn:"):
        return _checked(caller.account, caller.region, text)
    found = _ARN.fullmatch(text)
    if found is None:
        raise LogsInvalidParameter(f"The specified log group ARN is not valid: {text}")
    region, account, name = found.groups()
    if (region, account) != (caller.region, caller.account):
        raise LogsNotFound(NO_GROUP)
    return _checked(AccountId(account), Region(region), name)


def _checked(account: AccountId, region: Region, name: str) -> LogGroup:
    try:
        return LogGroup(account, region, name)
    except ValueError as error:
        raise LogsInvalidParameter(f"The specified log group name is not valid: {name}") from error


def page(names: list[str], token: str | None, limit: int) -> tuple[slice, str | None]:
    """Which of `names` (in order) follow the one that `token` says, and the token for the next."""
    start = 0
    if token is not None:
        try:
            after = base64.urlsafe_b64decode(token.encode()).decode()
        except (binascii.Error, UnicodeError, ValueError) as error:
            raise LogsInvalidParameter("The specified nextToken is invalid.") from error
        start = names.index(after) + 1 if after in names else bisect_right(names, after)
    end = start + limit
    more = end < len(names)
    return slice(start, end), _token(names[end - 1]) if more else None


def _token(name: str) -> str:
    return base64.urlsafe_b64encode(name.encode()).decode()
