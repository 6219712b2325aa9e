"""What do all changes of functions share? Whether one may happen now, and in which words not."""

from datetime import datetime
from typing import Final

from hearth.control.store import update_in_progress
from hearth.model.errors import PreconditionFailed, ResourceConflict
from hearth.model.functions import FunctionVersion, State, UpdateStatus

LATEST_STAYS: Final = "$LATEST version cannot be deleted without deleting the function."
WRONG_REVISION: Final = (
    "The Revision Id provided does not match the latest Revision Id. "
    "Call the GetFunction/GetAlias API to retrieve the latest Revision Id"
)


def shown(moment: datetime) -> str:
    """As AWS prints LastModified: `2026-11-23T15:04:05.000+0000`."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond // 1000:03}+0000"


def instant(moment: datetime) -> str:
    """As AWS prints the times of function URLs: `2026-11-23T15:04:05.123456Z`, as Java prints an
    Instant (seen in callers' records)."""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond:06}Z"


def check_revision(actual: str, wanted: str | None) -> None:
    """Raises PreconditionFailed unless the caller knows the last write, or does not care."""
    if wanted is not None and wanted != actual:
        raise PreconditionFailed(WRONG_REVISION)


def check_open(function: FunctionVersion, revision_id: str | None) -> None:
    """May this function be changed now, by someone who believes it is at `revision_id`?"""
    check_revision(function.revision_id, revision_id)
    if function.state is State.PENDING:
        raise ResourceConflict(
            "The operation cannot be performed at this time. "
            f"The function is currently in the following state: {function.state}"
        )
    if function.update_status is UpdateStatus.IN_PROGRESS:
        raise update_in_progress(function.key)
