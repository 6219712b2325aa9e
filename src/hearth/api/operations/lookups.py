"""Is the function there? Operations ask, and answer in words of their own when it is not."""

from typing import Protocol

from hearth.model.errors import ResourceNotFound
from hearth.model.functions import FunctionVersion
from hearth.model.ids import FunctionKey


class Functions(Protocol):
    """control's Functions."""

    async def get(self, key: FunctionKey, qualifier: str | None = None) -> FunctionVersion:
        """The version that the qualifier means. Raises ResourceNotFound."""
        ...


async def found(
    functions: Functions, key: FunctionKey, qualifier: str | None, otherwise: str
) -> FunctionVersion:
    """Raises ResourceNotFound with the text `otherwise`."""
    try:
        return await functions.get(key, qualifier)
    except ResourceNotFound as error:
        raise ResourceNotFound(otherwise) from error
