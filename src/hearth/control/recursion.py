"""May a function run in a loop? Terminate, unless it was set to Allow.

Source: https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hearth.control.documents import Documents, Kind
from hearth.model.functions import FunctionVersion


class RecursiveLoop(StrEnum):
    ALLOW = "Allow"
    TERMINATE = "Terminate"


@dataclass(frozen=True, slots=True)
class Recursion:
    loop: RecursiveLoop


RECURSIONS: Final = Kind("recursion", Recursion)


class Recursions:
    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def get(self, function: FunctionVersion) -> RecursiveLoop:
        """Of the function, whichever version is asked about."""
        recursion = self._documents.get(RECURSIONS, function)
        return RecursiveLoop.TERMINATE if recursion is None else recursion.loop

    def may_loop(self, function: FunctionVersion) -> bool:
        return self.get(function) is RecursiveLoop.ALLOW

    async def put(self, function: FunctionVersion, loop: RecursiveLoop) -> None:
        await self._documents.put(RECURSIONS, function, Recursion(loop))
