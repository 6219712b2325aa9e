"""What does this room need of others?"""

from typing import Protocol

from hearth.model.errors import EngineUnwell
from hearth.model.invocations import InvokeCall, InvokeResult


class Invoker(Protocol):
    async def invoke(self, call: InvokeCall) -> InvokeResult:
        """Raises ServiceError when the function was not run."""
        ...


def unwell() -> EngineUnwell:
    return EngineUnwell("The durable execution could not be stored. Try again.")
